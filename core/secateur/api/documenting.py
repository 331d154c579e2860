"""What `/openapi.json` says beyond the paths themselves: how to show a token, and an example of every answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute

from secateur.api.access import OPEN_PATHS
from secateur.api.answers import Answer

_TOKEN: dict[str, list[str]] = {"bearerToken": []}
_SCHEMES = {
    "bearerToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "Of `secateur token create`. A server without any token needs none, and answers only "
        "the machine that it runs on. A token of scope `viewer` may read and preview; all else needs scope `operator`.",
    }
}


def documented(api: FastAPI) -> Callable[[], dict[str, Any]]:
    """The application's own document, with these; made once, when somebody first asks."""
    plain = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = plain()
            document["components"]["securitySchemes"] = _SCHEMES
            document["security"] = [_TOKEN, {}]
            examples = json.loads(files("secateur.api").joinpath("examples.json").read_text(encoding="utf-8"))
            for route in api.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    _exemplify(document["paths"][route.path_format], route, examples)
        return plain()

    return openapi


def _exemplify(path: dict[str, Any], route: APIRoute, examples: dict[str, Any]) -> None:
    for method in route.methods or ():
        operation = path[method.lower()]
        if route.path in OPEN_PATHS:
            operation["security"] = [{}, _TOKEN]
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if media_type != "application/json":
                    content["example"] = examples[media_type][route.path]
                elif not status.startswith("2"):
                    content["example"] = examples["Failure"][status]
                else:
                    form = route.responses.get(int(status), {}).get("model", route.response_model)
                    content["examples"] = {name: {"value": value} for name, value in _answers(form, examples).items()}


def _answers(form: Any, examples: dict[str, Any]) -> dict[str, Any]:
    """An answer of that form by what it contains; one for each form of a union."""
    if not isinstance(form, type) or not issubclass(form, Answer):
        return {name: value for each in get_args(form) for name, value in _answers(each, examples).items()}
    (data,) = form.__pydantic_generic_metadata__["args"]
    of_list = get_args(data)
    name = (of_list[0] if of_list else data).__name__.removesuffix("Form")
    shown = examples[name]
    metadata = {"fetched_at": examples["fetched_at"]}
    return {f"{name}s" if of_list else name: {"data": [shown] if of_list else shown, "metadata": metadata}}
