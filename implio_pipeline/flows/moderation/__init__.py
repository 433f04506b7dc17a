"""Moderation: queues, decisions, and the webhooks that report them to customers."""
