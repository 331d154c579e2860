"""Filter: which runs are meant."""
