"""Deletion: asking, approving, erasing, retention, legal holds, receipts."""
