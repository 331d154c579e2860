"""The `if` of a filter: the editor, what the compiler says of the text, and what the grey text in it offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from secateur.cel import Declarations, Diagnostic, ExpressionError, Filter, Fix, compile
from secateur.cel.authoring.advice import advise
from secateur.cel.authoring.completion import Completion, complete
from secateur.cel.authoring.shapes import Shape
from secateur.errors import SecateurError
from secateur.looking.suggestions import Suggestions
from secateur.looking.wording import shares
from secateur_tui.filter.check_line import CheckLine
from secateur_tui.filter.completing import READING, CompletionList
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import display_of
from secateur_tui.session import why_none
from secateur_tui.themes import toned

_MARKED = 20
"""Mistakes that are underlined at once."""
_FIX_KEY = display_of("filter.fix")
_GREY_KEY = display_of("editor.take_grey")
_REVIEW_KEY = display_of("filter.review")
_NO_SUGGESTION = f"no suggestion to take: {_REVIEW_KEY} reviews every run of the window"
_NO_CONDITION = f"There is no suggestion, so there is no condition: {_REVIEW_KEY} again reviews every run."


class ConditionField(Vertical):
    """An editor under a rule, and over a line that says what is wrong.

    The editor posts `Changed`; whoever hears it calls `check`, because a long text is not checked at every keystroke.
    The list of `candidates` lies over other parts of the screen, which therefore shows it.
    """

    def __init__(
        self, text: str, declarations: Declarations, candidates: CompletionList, is_looking: Callable[[], bool]
    ) -> None:
        """`is_looking` says whether a suggestion may still come, because what stands out is being looked for."""
        super().__init__(id="if", classes="section")
        self.filter: Filter | None = None
        """What was compiled last; None where there is no text, or an invalid one."""
        self.fix: Fix | None = None
        """What the message suggests."""
        self.shape: Shape | None = None
        """The fields and values of a sample of the backlog; None until it is there."""
        self._declarations = declarations
        self._offer = ""
        """What the suggested filter would do."""
        self._rule = Rule("if")
        self._told = CheckLine(id="verdict")
        self._candidates = candidates
        self._candidates.reading = READING
        self.editor = ExpressionEditor(
            text, complete=self._complete, candidates=candidates, is_looking=is_looking, id="expression"
        )

    def compose(self) -> ComposeResult:
        yield self._rule
        yield self.editor
        yield self._told

    def on_mount(self) -> None:
        self.editor.move_cursor(self.editor.document.end)

    @property
    def has_text(self) -> bool:
        return bool(self.editor.text.strip())

    def check(self) -> Sequence[Diagnostic]:
        """Compile the text, underline its errors, and show what is to be said about it; returns the errors."""
        errors: Sequence[Diagnostic] = ()
        self.filter = None
        if not self.has_text:
            self._say((), toned(("no condition: every run of the window matches", "warn")))
        else:
            try:
                self.filter = compile(self.editor.text, self._declarations)
            except ExpressionError as error:
                errors = error.diagnostics
                self._say(errors[:1], Content(""))
            else:
                doubts = advise(self.filter, self.shape)
                sign = ("! valid, but see below", "warn") if doubts else ("✓ valid", "good")
                self._say(doubts[:2], toned(sign))
        self.editor.mark([(problem.span.start, problem.span.end) for problem in errors[:_MARKED]])
        return errors

    def not_sampled(self, error: SecateurError) -> None:
        """There is no sample yet: why is told by the list of candidates."""
        self._candidates.reading = f"the backlog was not read: {why_none(error)}"
        self.editor.sampled()

    def sampled(self, shape: Shape | None) -> None:
        """Use this sample for completion and warnings. None means that there is none; they then do without."""
        self.shape = shape
        self._candidates.reading = ""
        self.editor.sampled()
        if shape is not None:
            self.check()

    def suggested(self, found: Suggestions | None) -> None:
        """Offer the first suggestion as grey text, as long as there is no text. None means that there will be none."""
        self.screen.refresh_bindings()
        if found is None:
            self.editor.no_longer_wait()
            self._say_again()
            return
        first = found.suggestions[0] if found.suggestions else None
        self._offer = "" if first is None else shares(first, found)
        self.editor.suggested_filter = "" if first is None else first.if_
        self._say_again()

    def begins_to_wait(self) -> bool:
        """The key that takes a suggestion found none: whether it waits for one now. Pressed again, it does not; where
        none will come, it may have been meant for one all the same.
        """
        if self.editor.is_waiting:
            return False
        self.editor.is_waiting = self.editor.can_wait
        self.editor.missed = not self.editor.is_waiting
        self._say_again()
        return self.editor.is_waiting

    def opens_review(self) -> None:
        """Say at once that the key was heard: on a busy machine a review takes seconds to appear."""
        self._rule.note(toned(("opening the review…", "count")))

    def is_under_review(self) -> None:
        """The review lies over it."""
        self._rule.note(toned(("in review", "quiet")))

    def tell_of_none(self) -> str:
        """What to say, once, to whoever wanted a suggestion and goes on without one; empty for everybody else."""
        if self.has_text or not self.editor.missed:
            return ""
        self.editor.missed = False
        return _NO_CONDITION

    @on(ExpressionEditor.Waiting)
    def _say_again(self) -> None:
        if not self.has_text:
            self.check()

    def apply_fix(self) -> bool:
        """Do what the message suggests; False if it suggests nothing."""
        if self.fix is None:
            return False
        self.editor.rewrite(self.fix.apply(self.editor.text))
        return True

    def _complete(self, source: str, offset: int) -> Completion:
        return complete(source, offset, self._declarations, self.shape)

    def _say(self, diagnostics: Sequence[Diagnostic], otherwise: Content) -> None:
        """Show the diagnostics and the key that does what the first suggests or, in the rule, that there are none."""
        if diagnostics and self._is_being_typed(diagnostics[0]):
            # The grey text says what is meant: a message that guesses otherwise would contradict it.
            diagnostics = ()
            otherwise = toned(
                ("… ", "quiet"), (self.editor.unfinished, "field"), (f": {_GREY_KEY} completes it", "key")
            )
        self.fix = diagnostics[0].fix if diagnostics else None
        offer = Content("") if self.has_text else self._about_grey_text()
        self._told.show(self.editor.text, diagnostics, offer, _FIX_KEY if self.fix is not None else "")
        self._rule.note(otherwise)

    def _is_being_typed(self, problem: Diagnostic) -> bool:
        """Whether the word at the cursor is what is wrong, and grey text would complete it."""
        offset = self.editor.offset_in_text
        self.editor.update_suggestion()
        return bool(self.editor.unfinished) and problem.span.start <= offset <= problem.span.end

    def _about_grey_text(self) -> Content:
        """What the grey text in the place of an expression is, or will be."""
        if self.editor.is_waiting:
            told = ("looking for what stands out, to take it as the filter; ", "plain")
            return toned(told, (f"{_GREY_KEY} again does not wait", "key"))
        if not self.editor.suggestion:
            return toned((_NO_SUGGESTION, "warn")) if self.editor.missed else Content("")
        # The key first: where the line wraps, what is in it stays together.
        return toned((f"{_GREY_KEY} takes it", "key"), (f": {self._offer}", "plain"))
