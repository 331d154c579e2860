"""The public import path of the worker: `from secateur.worker import Worker`."""

from secateur.engines.native.worker import Worker

__all__ = ["Worker"]
