"""Watches queues by rules of the configuration, and tells people what floods, and what would cancel it."""
