"""Warnings about a request before anybody commits it: the same for the command line and the API."""

from __future__ import annotations

from secateur.cel import Diagnostic
from secateur.cel.authoring.advice import advise
from secateur.looking.reader import Reader
from secateur.requests import CancellationRequest


async def advise_request(reader: Reader, request: CancellationRequest) -> tuple[Diagnostic, ...]:
    """The warnings about the request's `if`, including those that a sample of the scopes' runs suggests.

    The sample is taken now, which may take a second. Raises `secateur.cel.ExpressionError`.
    """
    filter_ = request.compile()
    if filter_ is None:
        return ()
    return advise(filter_, await reader.shape(request.scopes))
