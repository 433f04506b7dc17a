"""Accounts: teams, members, sign-in, API keys, and the audit log."""
