"""The world behind the ports: catalog, vault, key ring, ledger, watched folders."""
