"""Operations: audit, restore, key rotation, housekeeping, the record of processing."""
