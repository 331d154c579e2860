"""Other engines' queues in the same database: one generic engine, and one SQL file for each kind of queue."""
