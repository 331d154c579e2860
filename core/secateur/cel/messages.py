"""Every message about an expression, in one file.

Constants and functions are grouped by what is wrong: the text, the meaning, a pattern, or a value at run time.
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.cel.diagnostics import Fix, Suggestion
from secateur.cel.syntax.ast import Span
from secateur.cel.types import Type

# What to write instead.


def did_you_mean(word: str, fix: Fix | None) -> Suggestion:
    return Suggestion(f"did you mean `{word}`?", fix)


def write_instead(text: str, span: Span, means: str | None = None) -> Suggestion:
    """`means` says which of several possible meanings the text has."""
    return Suggestion(f"write `{text}`{f' if you mean {means}' if means else ''}", Fix(span, text))


def compare_it(text: str, span: Span) -> Suggestion:
    return Suggestion(f"compare it, such as `{text}`", Fix(span, text))


def write_the_whole(text: str, source: str, means: str | None = None) -> Suggestion:
    """For a text that replaces the whole source, not only the marked place."""
    told = f"write the whole expression as `{text}`{f' if you mean {means}' if means else ''}"
    return Suggestion(told, Fix(Span(0, len(source)), text))


def in_the_event(name: str, span: Span) -> Suggestion:
    path = f"event.{name}" if name in EVENT_FIELDS else f"event.data.{name}"
    return write_instead(path, span, "that field of the event")


def in_our_words(word: str, span: Span) -> Suggestion:
    """`word` is what the queue's own users call the event's data."""
    return write_instead("event.data", span, f"the job's `{word}`")


def of_the_run(name: str, span: Span) -> Suggestion:
    return write_instead(name, span, "that of the run")


EVENT_FIELDS = ("id", "name", "data", "user", "ts")


def quote_it(word: str, span: Span) -> Suggestion:
    return Suggestion(f"write '{word}' if you mean the text", Fix(span, f"'{word}'"))


def such_as(text: str) -> Suggestion:
    return Suggestion(f"such as `{text}`")


def list_characters(characters: str) -> Suggestion:
    return Suggestion(f"list the characters you mean, such as `[{characters}]`")


def close_bracket(bracket: str, end: int) -> Suggestion:
    return Suggestion(f"add `{bracket}`", Fix(Span(end, end), bracket))


def leave_it_out(span: Span) -> Suggestion:
    return Suggestion("leave it out", Fix(span, ""))


def close_string(quote: str, end: int) -> Suggestion:
    return Suggestion("add the closing quote", Fix(Span(end, end), quote))


EXISTS_INSTEAD = Suggestion("use `exists` to ask whether there is such an element")
LOOP_OVER_LESS = Suggestion("make the literals here smaller; loops over lists of the event can be nested two deep")


# What can be wrong with the text.

EMPTY = "the expression is empty"
UNEXPECTED_END = "the expression is not finished"
STRING_NOT_CLOSED = "this string is not closed"
TYPOGRAPHIC = "this quotation mark is one of typography; strings are in `'` or `\"`"
SINGLE_EQUALS = "`=` is not a comparison"
BACKQUOTE_NOT_CLOSED = "this backquote does not enclose a field name: use letters, digits and `_ . - /`"
BACKQUOTES = "backquotes can only enclose a field name after a dot"
NAME_A_FIELD = "`has` takes one field, such as `has(event.data.amount)` or `has(event.data['unit price'])`"
NO_OPTIONALS = "optional values are not supported; write `has(a.b) ? a.b : c` for `a.?b.orValue(c)`"
ELEMENTS = "the elements of a list"
KEYS_AND_VALUES = "the keys and values of a map"
LITERALS = {
    "out_of_range_int": "this number does not fit into 64 bits",
    "out_of_range_uint": "this number does not fit into 64 unsigned bits",
    "unknown_escape": "unknown escape in a string; write two backslashes for one",
    "no_character": "this escape is not a valid character",
    "character_in_bytes": "`\\u` and `\\U` name characters; bytes take `\\x` and octal escapes",
}


def too_long(limit: int) -> str:
    return f"the expression is longer than {limit:,} characters"


def too_many_tokens(limit: int) -> str:
    return f"the expression has more than {limit:,} words and signs"


def too_deep(limit: int) -> str:
    return f"the expression is nested more than {limit} levels deep"


def unexpected(text: str) -> str:
    return f"`{text}` is not expected here"


def unclosed(bracket: str) -> str:
    return f"`{bracket}` is not closed"


def never_opened(bracket: str) -> str:
    return f"`{bracket}` has no opening bracket"


def no_such_character(text: str) -> str:
    return f"`{text}` cannot appear in an expression"


def one_variable(macro: str) -> str:
    return f"`{macro}` takes one name here: for an element of a list, or for a key of a map"


def reserved_word(word: str) -> str:
    return f"`{word}` is a reserved word and cannot name a variable"


def reserved_function(word: str) -> str:
    return f"`{word}` is a reserved word and cannot name a function"


def keyword_as_field(word: str) -> str:
    return f"`{word}` is a keyword and cannot follow a dot"


# What can be wrong with the meaning.

RESULT_NOT_BOOL = "the expression must be true or false"
MESSAGES_NOT_SUPPORTED = "typed messages are not part of this language"


def unknown_variable(name: str) -> str:
    return f"there is no variable `{name}`"


def namespace(name: str) -> str:
    return f"`{name}` is not a value by itself; use one of its fields"


def unknown_field(variable: str, field: str) -> str:
    return f"`{variable}` has no field `{field}`"


def unknown_function(name: str) -> str:
    return f"there is no function `{name}`"


def macro_usage(name: str, usage: Sequence[str]) -> str:
    return f"`{name}` is used as {' or '.join(usage)}"


def name_the_element(macro: str) -> str:
    return f"the first argument of `{macro}` is a name for the element, such as `x`"


def not_iterable(macro: str, given: Type) -> str:
    return f"`{macro}` takes a list or a map, not {article(given)}"


def hidden(name: str) -> str:
    return f"`{name}` means the element here; rename the element to use the variable `{name}`"


def macros_too_deep(limit: int) -> str:
    return f"all, exists, exists_one, map and filter can be nested at most {limit} deep"


def changes_while_waiting(name: str) -> str:
    return (
        f"a cancellation cannot depend on `{name}`: it changes while a run waits, "
        "so a condition that is true now could be false when the run is claimed"
    )


def not_in_this_queue(name: str, queue: str, has: Sequence[str], elsewhere: Sequence[str]) -> str:
    own = f"; {queue} has {_listed([f'`{each}`' for each in has])}" if has else ""
    return f"{queue} has no `{name}`: {_listed(elsewhere)} {'has' if len(elsewhere) == 1 else 'have'} it{own}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*[", ".join(names[:-1])] * (len(names) > 1), *names[-1:]])


NEWLY_ARRIVED = "only a function's cancel_on has `async`, the event that has just arrived"


def operands(operator: str, left: Type, right: Type) -> str:
    return f"`{operator}` does not take {article(left)} and {article(right)}"


def operand(operator: str, given: Type) -> str:
    return f"`{operator}` does not take {article(given)}"


def no_overload(function: str, given: Sequence[Type], usage: Sequence[str]) -> str:
    taken = ", ".join(map(article, given)) or "no arguments"
    return f"`{function}` does not take {taken}; usage: {' or '.join(usage)}"


def no_field_on(given: Type, field: str) -> str:
    return f"{article(given)} has no fields, so there is no `{field}`"


def not_indexable(given: Type) -> str:
    return f"{article(given)} cannot be indexed"


def bad_index(container: Type, index: Type) -> str:
    return f"{article(container)} cannot be indexed by {article(index)}"


def bad_key(given: Type) -> str:
    return f"{article(given)} cannot be the key of a map"


def not_boolean(operator: str, given: Type) -> str:
    return f"`{operator}` takes true or false, not {article(given)}"


def never_equal(left: Type, right: Type) -> str:
    return f"{article(left)} never equals {article(right)}"


def result_is(given: Type) -> str:
    return f"{RESULT_NOT_BOOL}, but this is {article(given)}"


def article(given: Type) -> str:
    name = str(given)
    if name == "dyn":
        return "any value"
    return name if name == "null" else f"{'an' if name[0] in 'aeio' else 'a'} {name}"


TOO_LARGE = "the expression is too large for the database"


def takes_too_long(seconds: float) -> str:
    return f"this would take about {seconds:,.0f} s for each run, and the runs behind it would wait; the limit is 2 s"


def makes_too_much(characters: float) -> str:
    return f"this would build {characters:,.0f} characters for each run; the limit is 10,000,000"


# What can be wrong with a pattern.

NUL_CHARACTER = "Postgres has no character U+0000"
NOT_STORABLE = "Postgres cannot store this text: it contains U+0000 or half of a surrogate pair"
ZONE_NOT_LITERAL = "the time zone must be a string literal"
PATTERN_NOT_LITERAL = "the pattern must be a string literal"
PATTERN_TOO_LARGE = "the pattern is too large"
PATTERN_REPEATS_POSITION = "the pattern repeats a position, such as `^*` or `\\b+`"
PATTERN_DOUBLE_REPEAT = "the pattern repeats a repetition"
PATTERN_QUOTED_REPEAT = "the pattern repeats a `\\Q…\\E` text"
PATTERN_FOLDS = "`(?i)` works on ASCII letters only"


def pattern_too_long(limit: int) -> str:
    return f"the pattern is longer than {limit:,} characters"


def pattern_repeats(limit: int) -> str:
    return f"the pattern repeats something more than {limit} times"


def not_a_pattern(reason: str) -> str:
    return f"this is not a regular expression: {reason}"


def pattern_escape(text: str) -> str:
    return f"`{text}` is not supported in a pattern"


def pattern_class(text: str) -> str:
    return f"`{text}` is not supported in a pattern: its characters depend on the version of Unicode"


# What can go wrong at run time.

NOT_TRUE_OR_FALSE = "the result is not true or false"
NOT_UTF8 = "the bytes are not UTF-8"
DIVISION_BY_ZERO = "division by zero"
OVERFLOW = "the result does not fit into 64 bits"
TIME_RANGE = "the time is out of range (years 1 to 9999)"
DURATION_RANGE = "the duration is out of range (about 10,000 years)"
SUB_MICROSECOND = "fractions of a second finer than microseconds are not supported"


def no_value(name: str) -> str:
    return f"`{name}` has no value"


def compared_too_deep(limit: int) -> str:
    return f"lists and maps can be compared only {limit} levels deep"


def no_time_zone(name: str) -> str:
    return f"there is no time zone '{_short(name)}'; write a name such as Europe/Paris, or an offset such as +05:30"


def no_such_place(place: int, length: int) -> str:
    return f"position {place} is outside a text of {length} characters"


def ends_before(start: int, end: int) -> str:
    return f"a substring that starts at position {start} cannot end at position {end}"


def text_too_long(limit: int) -> str:
    return f"the text would be longer than {limit:,} characters"


def list_too_long(limit: int) -> str:
    return f"the list would have more than {limit:,} elements"


def no_such_field(path: str) -> str:
    return f"no such field `{path}`"


def no_such_key(key: str) -> str:
    return f"no such key {key}"


def out_of_bounds(index: int, size: int) -> str:
    return f"index {index} is outside a list of {size}"


def no_operation(operator: str, left: Type, right: Type) -> str:
    return f"cannot {OPERATIONS.get(operator, f'apply `{operator}` to')} {article(left)} and {article(right)}"


OPERATIONS = {"<": "compare", "<=": "compare", ">": "compare", ">=": "compare", "+": "add"}


def no_negation(operator: str, given: Type) -> str:
    return f"cannot apply `{operator}` to {article(given)}"


def no_call(function: str, given: Sequence[Type]) -> str:
    return f"cannot apply `{function}` to {' and '.join(map(article, given))}"


def not_a_time(text: str) -> str:
    return f"'{_short(text)}' is not a timestamp such as 2024-01-21T00:00:00Z"


def not_a_duration(text: str) -> str:
    return f"'{_short(text)}' is not a duration such as 1h30m"


def cannot_convert(text: str, target: str) -> str:
    return f"cannot convert {_short(text)} to {target}"


def repeated_key(key: str) -> str:
    return f"the key {key} occurs twice in a map"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
