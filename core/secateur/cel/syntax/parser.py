"""From source text to nodes, by cel-python's grammar.

Of cel-python only the grammar file is used: importing the package costs 0.1 s and raises the interpreter's
recursion limit, its lexer accepts and refuses what the standard does not, and its errors are excerpts. Tokens
come from our own scanner and are fed to Lark's table-driven parser one by one; nodes are built bottom-up in
its reductions, so that neither the length nor the nesting of a source costs stack.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.cel import messages as say
from secateur.cel.diagnostics import Reporter
from secateur.cel.syntax import mistakes
from secateur.cel.syntax.ast import Node, Span
from secateur.cel.syntax.rewrites import foreign
from secateur.cel.syntax.scanner import Token, scan

if TYPE_CHECKING:
    from lark import Lark

MAX_LENGTH = 20_000
MAX_TOKENS = 4_000
MAX_BRACKETS = 60

_OPENING = {"(": ")", "[": "]", "{": "}"}
_CLOSING = {closing: opening for opening, closing in _OPENING.items()}
_TERMINALS = {
    "int": "INT_LIT",
    "uint": "UINT_LIT",
    "float": "FLOAT_LIT",
    "string": "STRING_LIT",
    "raw": "STRING_LIT",
    "name": "IDENT",
    "quoted": "IDENT",
}
_KEYWORDS = {"true": "BOOL_LIT", "false": "BOOL_LIT", "null": "NULL_LIT", "in": "IN"}


def parse(source: str, reporter: Reporter) -> Node | None:
    """The tree, or None after reporting why there is none."""
    tokens = _tokens(source, reporter)
    if tokens is None or not (_brackets_match(source, tokens, reporter) and _signs_alike(tokens, reporter)):
        return None
    if not tokens:
        reporter.error(Span(0, 0), say.EMPTY)
        return None
    if found := foreign(source, tokens):
        reporter.error(*found)
        return None
    return _run(source, tokens, reporter)


def _tokens(source: str, reporter: Reporter) -> list[Token] | None:
    if len(source) > MAX_LENGTH:
        reporter.error(Span(MAX_LENGTH, MAX_LENGTH + 1), say.too_long(MAX_LENGTH))
        return None
    tokens = []
    for token in scan(source):
        span = Span(token.start, token.end)
        if token.kind == "open":
            reporter.error(*mistakes.unclosed_string(token))
            return None
        if token.text == "`":
            reporter.error(span, say.BACKQUOTE_NOT_CLOSED)
            return None
        if token.kind == "wrong":
            reporter.error(*mistakes.wrong_character(source, token))
            return None
        if token.kind != "comment":
            tokens.append(token)
        if len(tokens) > MAX_TOKENS:
            reporter.error(span, say.too_many_tokens(MAX_TOKENS))
            return None
    return tokens


def _brackets_match(source: str, tokens: list[Token], reporter: Reporter) -> bool:
    stack: list[Token] = []
    for token in tokens:
        if token.kind != "operator":
            continue
        if token.text in _OPENING:
            stack.append(token)
            if len(stack) > MAX_BRACKETS:
                reporter.error(Span(token.start, token.end), say.too_deep(MAX_BRACKETS))
                return False
        elif token.text in _CLOSING:
            if not stack or stack[-1].text != _CLOSING[token.text]:
                span = Span(token.start, token.end)
                if stack:
                    reporter.error(Span(stack[-1].start, stack[-1].end), say.unclosed(stack[-1].text))
                else:
                    reporter.error(span, say.never_opened(token.text), say.leave_it_out(span))
                return False
            stack.pop()
    if stack:
        reporter.error(*mistakes.unclosed_bracket(source, stack[-1], _OPENING[stack[-1].text]))
    return not stack


def _signs_alike(tokens: list[Token], reporter: Reporter) -> bool:
    """Reports `!-a` and `-!a`, which the grammar accepts and the standard does not. In `!-1`, `-1` is a number."""
    for position, (sign, other) in enumerate(pairwise(tokens)):
        if {sign.text, other.text} != {"!", "-"} or (sign.text == "-" and _ends_operand(tokens, position - 1)):
            continue
        after = tokens[position + 2].kind if position + 2 < len(tokens) else ""
        if other.text == "!" or after not in ("int", "float"):
            reporter.error(Span(other.start, other.end), say.unexpected(other.text))
            return False
    return True


@cache
def _grammar() -> tuple[Lark, dict[str, str]]:
    """The parser and the terminal of each operator; made once, 0.15 s."""
    from lark import Lark
    from lark.lexer import PatternStr

    from secateur.cel.syntax.builder import Builder

    package = find_spec("celpy")
    if package is None or package.origin is None:
        raise ImportError("cel-python is not installed")
    grammar = Path(package.origin).with_name("cel.lark").read_text(encoding="utf-8")
    lark = Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start="expr",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=Builder(),
    )
    operators = {
        terminal.pattern.value: terminal.name for terminal in lark.terminals if isinstance(terminal.pattern, PatternStr)
    }
    return lark, operators


def _run(source: str, tokens: list[Token], reporter: Reporter) -> Node | None:
    from lark import Token as LarkToken
    from lark import UnexpectedToken

    from secateur.cel.syntax.builder import MAX_DEPTH, TooDeepError

    lark, operators = _grammar()
    state = lark.parse_interactive()
    position = 0
    trailing = _trailing_commas(tokens)
    try:
        for position, token in enumerate(tokens):
            if position not in trailing:
                terminal = _terminal(token, operators)
                state.feed_token(LarkToken(terminal, token.text, start_pos=token.start, end_pos=token.end))
        position = len(tokens)
        end = LarkToken("$END", "", start_pos=len(source), end_pos=len(source))
        built: tuple[Node, int] = state.feed_token(end)
    except UnexpectedToken:
        _report_unexpected(source, tokens, position, reporter)
        return None
    except TooDeepError as error:
        reporter.error(error.span, say.too_deep(MAX_DEPTH))
        return None
    return built[0]


def _terminal(token: Token, operators: dict[str, str]) -> str:
    if token.kind in ("string", "raw") and token.text[0] in "bB":
        return "BYTES_LIT"
    return _TERMINALS.get(token.kind) or _KEYWORDS.get(token.text) or operators[token.text]


def _trailing_commas(tokens: list[Token]) -> set[int]:
    """The commas that end list and map literals, even empty ones. The standard allows them, the grammar does not."""
    opened: list[int] = []
    found = set()
    for position, token in enumerate(tokens):
        if token.kind == "operator" and token.text in _OPENING:
            opened.append(position)
        elif token.kind == "operator" and token.text in _CLOSING:
            begin = opened.pop()
            ends_in_comma = tokens[position - 1].text == "," and tokens[position - 2].text != ","
            if ends_in_comma and token.text in ("]", "}") and not _ends_operand(tokens, begin - 1):
                found.add(position - 1)
    return found


def _ends_operand(tokens: list[Token], position: int) -> bool:
    """Whether an operand ends there, so that a bracket after it is an index and a minus takes two operands."""
    if position < 0:
        return False
    token = tokens[position]
    return token.text in _CLOSING or (token.kind != "operator" and token.text != "in")


def _report_unexpected(source: str, tokens: list[Token], position: int, reporter: Reporter) -> None:
    if position == len(tokens):
        end = tokens[-1].end
        reporter.error(Span(end, end + 1), say.UNEXPECTED_END)
        return
    token = tokens[position]
    span = Span(token.start, token.end)
    before = tokens[position - 1].text if position else ""
    if before == "." and token.kind == "keyword":
        from_the_dot = Span(tokens[position - 1].start, token.end)
        reporter.error(span, say.keyword_as_field(token.text), say.write_instead(f"['{token.text}']", from_the_dot))
    elif before in ("not", "NOT", "<"):
        culprit = tokens[position - 1]
        place = Span(culprit.start, token.end if culprit.text + token.text == "<>" else culprit.end)
        instead = mistakes.SIGNS.get(culprit.text) or mistakes.SIGNS.get(culprit.text + token.text)
        suggestion = say.write_instead(instead, place) if instead else None
        reporter.error(place, say.unexpected(culprit.text), suggestion)
    elif token.text == "." and position + 1 == len(tokens):
        reporter.error(span, say.UNEXPECTED_END)
    else:
        reporter.error(*mistakes.unexpected(source, tokens, position))
