"""Where programs import the worker from: `from secateur.worker import Worker`."""

from secateur.engines.native.worker import Worker

__all__ = ["Worker"]
