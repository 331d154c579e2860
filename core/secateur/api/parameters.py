"""Refuses query parameters that a path does not have, and what is said twice.

What is ignored changes what is asked: `POST /v1/cancellations?dry_run=true` would commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from secateur.errors import Problem, RequestError
from secateur.words.lines import shorten

LONGEST_SHOWN = 60

OF_MONITORS = ("/healthz", "/metrics")
"""They add parameters of their own, and nothing that these answer depends on one."""


SINGLE_HEADERS = ("Idempotency-Key", "X-Author")


async def require_unambiguous(request: Request) -> None:
    """Raises `RequestError`. A body has checks of its own."""
    route: APIRoute = request.scope["route"]
    problems = [Problem(name, "must be sent once") for name in SINGLE_HEADERS if len(request.headers.getlist(name)) > 1]
    if request.query_params and route.path_format not in OF_MONITORS:
        known = dict(_parameters(route.dependant))
        for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
            if name not in known:
                problems.append(_problem(name, [*known], route.path_format))
            elif times > 1 and not known[name]:
                problems.append(Problem(name, "must be given once"))
    if problems:
        raise RequestError(problems)


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """The names of a route's query, each with whether it may be given several times."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        yield field.alias, any(get_origin(part) is list for part in (annotation, *get_args(annotation)))
    for each in dependant.dependencies:
        yield from _parameters(each)


def _problem(name: str, known: Sequence[str], path: str) -> Problem:
    those = f"it has {', '.join(known)}" if known else "it has none"
    close = get_close_matches(name, known, n=1)
    return Problem(
        shorten(name, LONGEST_SHOWN),
        f"is no query parameter of {path}; {those}",
        suggestion=f"did you mean `{close[0]}`?" if close else None,
    )
