"""Review: what a commit will do."""
