"""Single runs: what is known of one, and the list of failed ones."""
