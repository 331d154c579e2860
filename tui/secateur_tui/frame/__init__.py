"""What every place is built from."""
