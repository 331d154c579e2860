"""Loads what `MODULE:OBJECT` names: apps, or a worker."""

from __future__ import annotations

import importlib
import os
import sys

from secateur.engines.native.functions import App
from secateur.engines.native.worker import Worker
from secateur.errors import UsageError


def load_worker(spec: str) -> Worker | list[App]:
    """The `Worker` that `MODULE:OBJECT` names, or a list of apps (a single `App` gives a list of one).

    The working directory is searched too. Raises `UsageError`; exceptions raised by the module itself
    pass through.
    """
    module_name, colon, path = spec.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"{spec!r} must have the form MODULE:OBJECT, as in shop.jobs:billing")
    found: object = _import(module_name)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"{module_name} has no {path}") from None
    if isinstance(found, Worker):
        return found
    listed = list(found) if isinstance(found, list | tuple) else [found]
    apps = [app for app in listed if isinstance(app, App)]
    if len(apps) < len(listed) or not apps:
        raise UsageError(f"{spec} must be an App, a Worker or a list of apps, not {found!r}")
    return apps


def _import(name: str) -> object:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name} (also searched {os.getcwd()})") from None
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name!r} is not a module name: {error}") from None
