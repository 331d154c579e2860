"""Pictures of the running console."""
