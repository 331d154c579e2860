"""Job queues that secateur can read and prune; `base` holds the protocol."""
