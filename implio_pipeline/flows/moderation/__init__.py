"""Moderation: decisions, queues, and the webhooks that tell customers."""
