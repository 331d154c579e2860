"""The table of live depth: apps that fold, functions under them, totals at the bottom."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.runs import FunctionDepth, Scope
from secateur.words.figures import number
from secateur_tui.frame.columns import Cell, Row, lay_out_cells
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.queues import depth_rows


class DepthTable(LineTable):
    """Shows the figures passed to `show_depth`; the cursor's key is a `Scope`."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._depths: Sequence[FunctionDepth] = ()
        self._folded: set[str] = set()
        self._trends = depth_rows.Trends()
        self._widest: dict[str, int] = {}
        self.sort = depth_rows.SORTS[0]
        self.find = ""

    @property
    def scope(self) -> Scope | None:
        """The scope under the cursor."""
        key = self.cursor_key
        return key if isinstance(key, Scope) else None

    def show_depth(self, depths: Sequence[FunctionDepth]) -> None:
        """Show new figures."""
        self._depths = depths
        self._trends.add(depths)
        self.relist()

    def relist(self) -> None:
        """Show the rows again, after a change of order, search, folding or size."""
        branches = depth_rows.tree(self._depths, self.sort, self.find)
        flooding = depth_rows.flood(self._depths)
        rows: list[tuple[Scope, Row]] = []
        for branch in branches:
            folded = branch.total.app_id in self._folded and not self.find
            rows.append(self._row(branch.total, depth_rows.app_name(branch, folded=folded), flooding=False))
            for depth in () if folded else branch.functions:
                is_flood = depth is flooding
                name = depth_rows.function_name(depth, flooding=is_flood)
                rows.append(self._row(depth, name, flooding=is_flood))
        total = self._total([depth for branch in branches for depth in branch.functions])
        layout = lay_out_cells(depth_rows.COLUMNS, [*(row for _, row in rows), total], self.line_width, self._widest)
        self.show_lines(
            layout.heading(),
            [TableRow(scope, layout.line(row)) for scope, row in rows],
            layout.line(total) if rows else None,
        )

    def _row(self, depth: FunctionDepth, name: Cell, *, flooding: bool) -> tuple[Scope, Row]:
        scope = depth_rows.scope_of(depth)
        trend = self._trends.line(scope)
        return scope, depth_rows.row(depth, name, depth.as_of, trend, flooding=flooding)

    def _total(self, depths: Sequence[FunctionDepth]) -> Row:
        total = depth_rows.total_of("", depths)
        functions = f"{number(len(depths))} function{'' if len(depths) == 1 else 's'}"
        row = depth_rows.row(total, Cell(functions), total.as_of, "", flooding=False)
        return {key: Cell(cell.text, "quiet") for key, cell in row.items() if key != "spark"}

    def next_sort(self) -> None:
        """Sort by the next column; the cursor stays with its row."""
        names = depth_rows.SORTS
        self.sort = names[(names.index(self.sort) + 1) % len(names)]
        self.relist()

    def toggle_fold(self) -> None:
        """Fold or unfold the app under the cursor; the cursor goes to the app."""
        if (scope := self.scope) is not None:
            self._folded ^= {scope.app_id}
            self.move_to(Scope(scope.app_id))
            self.relist()

    def on_resize(self) -> None:
        self._widest.clear()
        self.relist()
