"""Queues: the first place."""
