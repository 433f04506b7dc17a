"""Nouns and decisions, without input and output, clock or randomness.

* What is kept: `ids`, `columns`, `files`, `keys`, `intake`, `team`, `instants`, `chunks`
* What is asked: `scope`, `request`, `request_fields`, `plan`, `hold`, `retention`
* What is done: `file_changes`, `replan`, `faults`, `errors`, `moderation`, `callback`
* What is recorded: `statements`, `receipt`, `ledger_codec`, `audit_log`, `processing`, `residency`, `audit`
* Who may do it: `access`, `accounts`
* What people see: `outcome`, `sentences`, `request_view`, `waiting`, `charts`, `export`
"""
