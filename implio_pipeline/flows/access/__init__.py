"""Access: who may read which columns, and exports."""
