"""The tree as Python."""
