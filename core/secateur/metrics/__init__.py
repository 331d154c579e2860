"""Figures for monitoring, as Prometheus reads them: of a queue (`queues`) and of a worker (`workers`)."""
