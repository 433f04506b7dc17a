"""Vault files taken apart into encrypted modules, so that an erasure decodes only the pages that it changes."""
