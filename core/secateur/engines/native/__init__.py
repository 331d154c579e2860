"""secateur's own queue: the engine, the client and the worker."""
