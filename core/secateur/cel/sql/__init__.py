"""The tree as SQL."""
