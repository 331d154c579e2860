"""Cancellations and retries as records: commit, follow, stop, undo, audit."""
