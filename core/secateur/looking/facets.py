"""Shows what the payloads of a backlog look like: which fields and values they really have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from secateur.cel.authoring.shapes import Sampler, Shape
from secateur.engines.base import Source
from secateur.runs import Scope

SAMPLED_RUNS = 10_000
_AT_ONCE = 200
"""How many payloads are summarised, in a few milliseconds, before other tasks get their turn."""


async def payload_shape(engine: Source, scopes: Scope | Sequence[Scope], limit: int = SAMPLED_RUNS) -> Shape:
    """The shape of about `limit` events of the scopes' unfinished runs; an empty shape if the engine stores no JSON.

    Cancelling the task cancels the query in the database.
    """
    each_of = [scopes] if isinstance(scopes, Scope) else scopes
    sampler = Sampler()
    for scope in each_of:
        for number, event in enumerate(await engine.sample_events(scope, -(-limit // len(each_of)))):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            sampler.add(event)
    return sampler.shape()
