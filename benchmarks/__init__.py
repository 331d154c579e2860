"""What proves the performance figures: every comparison within one run, on one server, as ratios."""
