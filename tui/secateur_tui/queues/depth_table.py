"""The table of live depth: apps that fold, functions under them, totals at the bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.message import Message

from secateur.ledger.steps import InForce
from secateur.looking.depth import growth_of
from secateur.looking.history import Series
from secateur.runs import MOST_FUNCTIONS, FunctionDepth, Functions, Scope
from secateur.words.figures import change, number
from secateur.words.lines import cells, one_line
from secateur_tui.frame.columns import Cell, Row, ToneLayout, lay_out_cells
from secateur_tui.frame.line_table import LineTable
from secateur_tui.queues import depth_rows
from secateur_tui.queues.depth_rows import QueueKey, Stem
from secateur_tui.queues.trends import Trends
from secateur_tui.themes import toned

_FIXED_LINES = 2
"""The heading and the totals."""
_FOUND_NOTHING = "nothing is called so"


class _Entry(NamedTuple):
    """A row: of a function, or of an app or a queue, which is folded or not."""

    depth: FunctionDepth
    key: Scope | QueueKey
    folded: bool | None = None
    inner: bool = False
    """Below the row of a queue."""


class DepthTable(LineTable):
    """Shows the figures passed to `show_depth`; the cursor's key is a `Scope`.

    An app may have thousands of functions. Only those in sight become rows; the columns are as wide as the totals and
    the longest name need them, so that neither scrolling nor finding moves them.
    """

    @dataclass
    class Sorted(Message):
        """The rows have another order."""

    def __init__(self, queue_of: Callable[[str], tuple[str, str] | None], *, id: str | None = None) -> None:
        """`queue_of` gives the queue of an app, and the app's name there; None where there is only one queue."""
        super().__init__(id=id)
        self._queue_of = queue_of
        self._marked: set[Scope] = set()
        self._depths: Sequence[FunctionDepth] = ()
        self._in_force: dict[Scope, InForce] = {}
        self._scopes: dict[tuple[str, str], Scope] = {}
        """Each function's, made once: with thousands of functions, that is a part of what a look costs."""
        self._folded: set[str | QueueKey] = set()
        self._trends = Trends()
        self._widest: dict[str, int] = {}
        self._longest_name = ""
        self._has_queues = False
        self._names = 0
        self.full_height = 0
        """Lines that it needs; a search does not change that."""
        self._entries: list[_Entry] = []
        self._flooding: FunctionDepth | None = None
        self._layout = lay_out_cells(depth_rows.COLUMNS, [], 0)
        self.sort = depth_rows.SORTS[0]
        self.backwards = False
        self.find = ""

    @property
    def scope(self) -> Scope | None:
        """The scope under the cursor."""
        key = self.cursor_key
        return key if isinstance(key, Scope) else None

    @property
    def marked(self) -> Scope | Functions | None:
        """The marked functions; None without any."""
        if not self._marked:
            return None
        return Functions.of(next(iter(self._marked)).app_id, [name for scope in self._marked for name in scope.names])

    @property
    def chosen(self) -> Scope | Functions | None:
        """The marked functions or, without any, the scope under the cursor."""
        return self.marked or self.scope

    def mark(self) -> str:
        """Mark the function under the cursor, or take the mark away, and go on to the next row; or say why not."""
        if (scope := self.scope) is None:
            return ""
        if scope.function_id is None:
            return f"Marks are for functions; without any, this row is every function of {one_line(scope.app_id)}."
        if scope not in self._marked:
            if any(each.app_id != scope.app_id for each in self._marked):
                app = one_line(next(iter(self._marked)).app_id)
                return f"A filter is of one app, and functions of {app} are marked."
            if len(self._marked) == MOST_FUNCTIONS:
                return f"A filter names {MOST_FUNCTIONS} functions at most."
        self._marked ^= {scope}
        self.relist()
        self.action_down()
        return ""

    def clear_marks(self) -> None:
        self._marked.clear()
        self.relist()

    @property
    def flooding(self) -> FunctionDepth | None:
        """The figures of the flood, if there is one."""
        return self._flooding

    @property
    def depth(self) -> FunctionDepth | None:
        """The figures of the row under the cursor."""
        return self._entries[self._cursor].depth if self._entries else None

    @property
    def order(self) -> str:
        """The order in words."""
        return depth_rows.SORT_NAMES.get(self.sort, self.sort) + (", reversed" if self.backwards else "")

    @property
    def summaries(self) -> Sequence[str]:
        """What is shown, in which order, and what it adds up to; in ever fewer words."""
        marked = "" if self.marked is None else f"{len(self.marked.names)} marked ● · "
        found = f"only “{one_line(self.find)}” · " if self.find else ""
        queued = sum(depth.queued for depth in self._depths)
        grows = change(sum(map(growth_of, self._depths)))
        paused = sum(depth.paused for depth in self._depths)
        order, total = f"by {self.order}", f" · {number(queued)} queued · {grows}/s"
        held = f" · {paused} paused ‖" if paused else ""
        fewer = marked + found
        return (fewer + order + total + held, fewer + order + held, fewer.removesuffix(" · "))

    def show_depth(self, depths: Sequence[FunctionDepth], in_force: Sequence[InForce] = ()) -> None:
        """Show new figures."""
        self._depths = depths
        self._in_force = {each.scope: each for each in in_force}
        if self._marked:
            self._marked &= {each.scope for each in depths}
        self.relist()

    def remember(self, past: Sequence[Series]) -> None:
        """Let the lines begin with what the database remembers."""
        self._trends.remember(past)
        self.relist()

    def relist(self) -> None:
        """Show the rows again, after a change of order, search, folding or size."""
        depths = self._depths
        branches = depth_rows.tree(depths, self.sort, self.find, backwards=self.backwards)
        everything = depth_rows.total_of("", depths if self.find else [branch.total for branch in branches])
        if depths and not self.find:
            self._trends.see([*depths, *(branch.total for branch in branches)], everything.as_of)
        self._flooding = depth_rows.flood(depths)
        stems = depth_rows.stems(branches, self._queue_name, self.sort, backwards=self.backwards)
        self._entries = entries = [entry for stem in stems for entry in self._entries_of(stem)]
        if not self.find:
            self.full_height = _FIXED_LINES + len(entries)
        self._layout = self._lay_out(everything)
        found = [depth for branch in branches for depth in branch.functions] if self.find else depths
        total = depth_rows.total_of("", found) if self.find else everything
        footing = self._layout.line(self._total(total, len(found))) if entries else self._nothing_found()
        keys = [entry.key for entry in entries]
        self.show_rows(self._heading_of(self._layout), keys, self._row_line, footing)

    def _queue_name(self, app_id: str) -> str | None:
        return None if (found := self._queue_of(app_id)) is None else found[0]

    def _entries_of(self, stem: Stem) -> Iterator[_Entry]:
        """The rows of a queue, as far as they are not folded away."""
        inner = stem.key is not None
        if stem.key is not None:
            folded = stem.key in self._folded and not self.find
            yield _Entry(stem.total, stem.key, folded)
            if folded:
                return
        for branch in stem.branches:
            folded = branch.total.app_id in self._folded and not self.find
            yield _Entry(branch.total, depth_rows.scope_of(branch.total), folded, inner)
            if not folded:
                yield from (_Entry(each, self._scope_of(each), inner=inner) for each in branch.functions)

    def _scope_of(self, depth: FunctionDepth) -> Scope:
        key = depth.app_id, depth.function_id
        if (scope := self._scopes.get(key)) is None:
            scope = self._scopes[key] = depth.scope
        return scope

    def _lay_out(self, everything: FunctionDepth) -> ToneLayout:
        """Whatever is found, each column is as wide as the totals over everything need it."""
        marks = "".join(
            depth_rows.marks(each.scope, self._in_force, paused=False) for each in self._in_force.values()
        ) + ("‖" if any(each.paused for each in self._depths) else "")
        total = self._total(everything, len(self._depths))
        widest: Row = {**total, "marks": Cell(marks[:1]), "name": Cell(self._longest())}
        return lay_out_cells(depth_rows.columns_of(self._depths), [widest, total], self.line_width, self._widest)

    def _longest(self) -> str:
        """The longest name, looked for when there are other functions."""
        names = len(self._depths)
        if names != self._names:
            self._names = names
            self._has_queues = len({self._queue_name(each.app_id) for each in self._depths}) > 1
            self._longest_name = max((one_line(each.function_id) for each in self._depths), key=cells, default="")
        return depth_rows.STEP * self._has_queues + depth_rows.INDENT + self._longest_name

    def _heading_of(self, layout: ToneLayout) -> Content:
        return layout.heading(self.sort, "▴" if self._goes_up else "▾")

    @property
    def _goes_up(self) -> bool:
        return (self.sort == "name") != self.backwards

    def _row_line(self, index: int) -> Content:
        entry = self._entries[index]
        depth, layout, scope = entry.depth, self._layout, entry.key
        if isinstance(scope, QueueKey):
            name = depth_rows.folding_name(scope.name, folded=bool(entry.folded))
            return layout.line(depth_rows.row(depth, name, "", "", flooding=False))
        flooding = depth is self._flooding
        if entry.folded is None:
            name = depth_rows.function_name(
                depth, layout.width_of("name"), flooding=flooding, marked=scope in self._marked, inner=entry.inner
            )
        else:
            found = self._queue_of(depth.app_id) if entry.inner else None
            title = depth.app_id if found is None else found[1]
            name = depth_rows.folding_name(title, folded=entry.folded, inner=entry.inner)
        marks = depth_rows.marks(scope, self._in_force, paused=depth.paused)
        trend = self._trends.line(scope, depth.queued, layout.width_of("spark"))
        return layout.line(depth_rows.row(depth, name, marks, trend, flooding=flooding))

    def _total(self, total: FunctionDepth, count: int) -> Row:
        functions = f"{number(count)} function{'' if count == 1 else 's'}"
        row = depth_rows.row(total, Cell(functions), "", "", flooding=False)
        return {key: Cell(cell.text, "quiet") for key, cell in row.items()}

    def _nothing_found(self) -> Content | None:
        """That the search has no result; without functions at all, the place says so."""
        if not self.find:
            return None
        return toned((f"{_FOUND_NOTHING}: “{one_line(self.find)}”", "warn"))

    def next_sort(self) -> None:
        """Sort by the next column on the screen; the cursor stays with its row."""
        names = [name for name in depth_rows.SORTS if name in self._layout.keys]
        place = names.index(self.sort) if self.sort in names else -1
        self.sort_by(names[(place + 1) % len(names)])

    def sort_by(self, column: str) -> None:
        """Names from a to z, figures from the largest down."""
        self.sort, self.backwards = column, False
        self._resort()

    def reverse(self) -> None:
        self.backwards = not self.backwards
        self._resort()

    def _resort(self) -> None:
        self.relist()
        self.call_after_refresh(self._reveal)
        self.post_message(self.Sorted())

    def on_click(self, event: events.Click) -> None:
        """A click on a heading sorts by its column, or reverses the order."""
        if event.y > 0:
            return
        column = self._layout.column_at(event.x - self.gutter_width)
        if column == self.sort:
            self.reverse()
        elif column in depth_rows.SORTS:
            self.sort_by(column)

    def toggle_fold(self) -> None:
        """Fold or unfold the app or the queue under the cursor; from a function, the cursor goes to its app."""
        match self.cursor_key:
            case Scope(app_id=app_id):
                self._folded ^= {app_id}
                self.move_to(Scope(app_id))
            case QueueKey() as queue:
                self._folded ^= {queue}
        self.relist()

    def on_resize(self) -> None:
        self._widest.clear()
        self.relist()
