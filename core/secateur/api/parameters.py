"""Refuses query parameters that a path does not have.

What is ignored changes what is asked: `POST /v1/cancellations?dry_run=true` would commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from secateur.errors import Problem, RequestError
from secateur.words.lines import shorten

LONGEST_SHOWN = 60

OF_MONITORS = ("/healthz", "/metrics")
"""They add parameters of their own, and nothing that these answer depends on one."""


async def only_known_parameters(request: Request) -> None:
    """Raises `RequestError`."""
    route: APIRoute = request.scope["route"]
    if not request.query_params or route.path_format in OF_MONITORS:
        return
    known = [*_names_in(route.dependant)]
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if unknown:
        raise RequestError([_problem(name, known, route.path_format) for name in unknown])


def _names_in(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names_in(each)


def _problem(name: str, known: Sequence[str], path: str) -> Problem:
    those = f"it has {', '.join(known)}" if known else "it has none"
    close = get_close_matches(name, known, n=1)
    return Problem(
        shorten(name, LONGEST_SHOWN),
        f"is no query parameter of {path}; {those}",
        suggestion=f"did you mean `{close[0]}`?" if close else None,
    )
