"""Files of the vault: bringing items in, finding, replacing and merging files, their keys."""
