"""Looking at a queue: depth, lists, counts and what payloads look like."""
