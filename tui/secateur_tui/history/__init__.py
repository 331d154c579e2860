"""History: every cancellation and retry."""
