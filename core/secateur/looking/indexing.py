"""Which index would make the count of a filter quick, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from secateur.cel import ExpressionError
from secateur.cel import compile as compile_filter
from secateur.cel.sql.probing import probes_of
from secateur.engines.base import Selection, Source, queue_of, unsupported
from secateur.engines.index_costs import IndexAdvice, weigh
from secateur.engines.relation import RelationSource
from secateur.ledger.selections import selections
from secateur.runs import Scope

if TYPE_CHECKING:
    from secateur.requests import CancellationRequest

MOST_HOT = 3
"""The filters to advise on if the request has no `if`."""

SECONDS = 60.0
"""How long the count without an index may take."""


async def advise_index(engine: Source, request: CancellationRequest, longest: float = SECONDS) -> IndexAdvice | None:
    """The index that would help the request's filter most; None where no index can look up any part of it.

    Counts the matching runs once, which may take `longest` seconds, and reads a sample of the table. Raises
    `Unsupported` for a queue whose runs are not the rows of one table.
    """
    source = queue_of(engine, request.app_id)
    if not isinstance(source, RelationSource):
        raise unsupported(source, "tell which index would help")
    first, *others = selections(request)
    # An index has the runs of the whole app, whatever the function.
    scope = Scope(first.scope.app_id) if others else first.scope
    own = replace(scope, app_id=scope.app_id.removeprefix(f"{source.name}/"))
    selection = Selection(own, first.window, first.filter)
    probes = source.probes(selection)
    return await weigh(source, selection, probes, longest) if probes else None


def hottest(filters: Iterable[str | None]) -> list[str]:
    """Of filters, the newest first, one for each of the fields that most of them could be looked up by."""
    seen: Counter[tuple[str, ...]] = Counter()
    newest: dict[tuple[str, ...], str] = {}
    for text in filters:
        if text is None:
            continue
        try:
            probes = probes_of(compile_filter(text).folded)
        except ExpressionError:
            continue  # of another version
        for probe in probes[:1]:
            seen[(probe.kind, *probe.path)] += 1
            newest.setdefault((probe.kind, *probe.path), text)
    return [newest[field] for field, _ in seen.most_common(MOST_HOT)]
