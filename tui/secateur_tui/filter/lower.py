"""The lower area of Filter: examples in tabs and, beside them or as a tab of its own, what stands out."""

from __future__ import annotations

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from secateur.runs import Run
from secateur.words.lines import one_line
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.stands_out import StandsOut
from secateur_tui.filter.tabs import EXAMPLES, Tab, TabStrip
from secateur_tui.frame.payload_tree import PayloadTree


class LowerArea(Container):
    """Shows the examples of the chosen tab and, of the one under the cursor, the payload.

    On a wide screen there is a right half: what stands out while its tab is chosen, else the payload. On a narrow one
    they take the place of the examples. The tab follows the condition until somebody chooses: what stands out without
    one, the matches with one. `stands_out` is None where that is not known.
    """

    def __init__(self, examples: Examples, stands_out: StandsOut | None = None) -> None:
        super().__init__(id="lower")
        self._examples, self._stands_out = examples, stands_out
        self.payload = PayloadTree(id="payload")
        self._strip = TabStrip(id="tabs")
        self._listing = Vertical(self._strip, examples, id="listing", classes="section")
        self._beside_strip = TabStrip()
        panes = [*([stands_out] if stands_out else []), self.payload]
        self._beside = Vertical(self._beside_strip, *panes, id="beside", classes="section")
        self._counts: Mapping[Tab, str] = {}
        self._chosen: Tab | None = None
        """None until somebody chooses."""
        self._has_condition = False
        self._is_wide = False
        self._read_run: Run | None = None
        self._reads_payload = False
        """On a narrow screen: the payload is open in the place of the examples."""

    def compose(self) -> ComposeResult:
        yield self._listing
        yield self._beside

    def on_mount(self) -> None:
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    @property
    def tabs(self) -> tuple[Tab, ...]:
        return EXAMPLES if self._stands_out is None else (Tab.STANDS_OUT, *EXAMPLES)

    @property
    def _beside_tabs(self) -> tuple[Tab, ...]:
        return (Tab.PAYLOAD,) if self._stands_out is None else (Tab.STANDS_OUT, Tab.PAYLOAD)

    @property
    def tab(self) -> Tab:
        """The one that is shown."""
        if self._chosen is not None:
            return self._chosen
        return self.tabs[0] if not self._has_condition else Tab.MATCH

    def conditioned(self, has_condition: bool) -> None:
        """Whether there is a condition."""
        if has_condition != self._has_condition:
            self._has_condition = has_condition
            self._arrange()

    def count(self, counts: Mapping[Tab, str]) -> None:
        """The figures of the tabs, as they are shown; a tab without one is still being looked for."""
        self._counts = counts
        self._arrange()
        self.show_payload()

    def show_payload(self) -> None:
        """That of the example under the cursor; one that somebody reads stays, whatever the expression is by now."""
        if not self.payload.has_focus:
            self._read_run = self._examples.chosen
        if self._read_run is None:
            self.payload.clear()
        else:
            self.payload.show(self._read_run.event, self._examples.lit)
        self._arrange()

    def choose(self, tab: Tab | None) -> None:
        """Show that tab from now on; with None, the one that belongs to the condition."""
        self._chosen, self._reads_payload = tab, False
        had_focus = self._beside.has_focus_within or self._examples.has_focus
        self._arrange()
        if had_focus and tab is not None:
            self._focus_tab()
        self.show_payload()

    def step(self, by: int) -> None:
        """Choose the tab so many to the right."""
        tabs = self.tabs
        self.choose(tabs[(tabs.index(self.tab) + by) % len(tabs)])

    def focus_stands_out(self) -> None:
        """Give the focus to what stands out, as far as it is there."""
        if self._stands_out is not None:
            self.choose(Tab.STANDS_OUT)
            self._stands_out.focus_rows()

    def open_payload(self) -> None:
        """Go to the payload of the chosen example."""
        if self._examples.chosen is None:
            return
        self._reads_payload = True
        if self.tab is Tab.STANDS_OUT:
            self._chosen = Tab.MATCH
        self._arrange()
        self.payload.focus()

    @property
    def run(self) -> Run | None:
        """The example under the cursor, or the one whose payload somebody reads."""
        return self._read_run if self.payload.has_focus else self._examples.chosen

    def close_payload(self) -> bool:
        """Go back to the examples; False if nobody was at the payload."""
        if not self.payload.has_focus:
            return False
        self._reads_payload = False
        self._arrange()
        self._examples.focus()
        return True

    @on(TabStrip.Clicked)
    def _clicked(self, event: TabStrip.Clicked) -> None:
        event.stop()
        self.choose(Tab.MATCH if event.tab is Tab.PAYLOAD else event.tab)

    def _focus_tab(self) -> None:
        if self.tab is Tab.STANDS_OUT and self._stands_out is not None:
            self._stands_out.focus_rows()
        else:
            self._examples.focus()

    def _arrange(self) -> None:
        self._is_wide = self.screen.has_class("-wide")
        tab = self.tab
        stands_out = tab is Tab.STANDS_OUT
        if self._stands_out is not None:
            self._stands_out.display = stands_out
        lists = self._is_wide or not (stands_out or self._reads_payload)
        self.payload.display = not stands_out and (self._is_wide or self._reads_payload)
        self._beside.display = self._is_wide or not lists
        self._listing.set_class(not lists, "-closed")
        self._examples.display = lists
        listed = Tab.MATCH if stands_out else tab
        self._examples.show_tab(listed)
        if self._is_wide:
            self._strip.show_tabs(EXAMPLES, listed, self._counts)
            self._beside_strip.show_tabs(self._beside_tabs, Tab.STANDS_OUT if stands_out else Tab.PAYLOAD, {})
            self._beside_strip.note(f"of {one_line(self._read_run.id)}" if self._read_run and not stands_out else "")
        else:
            self._strip.show_tabs(self.tabs, tab, self._counts)
