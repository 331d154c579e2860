"""Every colour of the console.

Screens name a *tone* (what a text means), never a colour. A tone that matters always comes with a sign or
a word as well, so that the console reads the same in 16 colours and in none.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.content import Content
from textual.filter import LineFilter
from textual.theme import Theme

from secateur.errors import SettingsError

TONES = {
    "plain": "$foreground",
    "strong": "bold $foreground",
    "quiet": "$text-quiet",
    "title": "bold $primary",
    "key": "bold $primary",
    "good": "$success",
    "warn": "$warning",
    "count": "bold $warning",
    "danger": "bold $error",
    "error": "$error",
    "badge-danger": "bold reverse $error",
    "badge-good": "bold reverse $success",
    "field": "$secondary",
    "chart": "$text-quiet",
    "chart-main": "$secondary",
    "chart-in": "$warning",
    "chart-out": "$success",
    "chart-danger": "$error",
    "chosen": "bold reverse $foreground",
    "sweep": "$warning",
    "line": "$line",
}
"""What a text means → how it looks, in Textual's style notation; see `Content` and `LineTable`."""

_STRENGTHS = (" 60%", " 80%", "")
PLOT_SHADES = len(_STRENGTHS)
"""Of each colour of a plot, from the bottom to the top. With 16 colours they are one."""


def shaded(tone: str, shade: int) -> str:
    """The tone of that part of a plot; shade 0 is the bottom."""
    return f"{tone}-{shade}"


TONES |= {
    shaded(tone, shade): TONES[tone] + strength
    for tone in ("chart-main", "chart-in", "chart-out", "chart-danger")
    for shade, strength in enumerate(_STRENGTHS)
}

SYNTAX = {
    "string": "$success",
    "number": "$syntax-number",
    "boolean": "$syntax-number",
    "keyword": "bold $accent",
    "function": "$primary",
    "variable": "$foreground",
    "field": "$secondary",
    "operator": "$accent",
    "comment": "italic $text-quiet",
    "error": "bold underline $error",
}
"""Kinds of `secateur.cel.highlight` → how they look."""

DARK = Theme(
    name="secateur-dark",
    dark=True,
    primary="#7aa2f7",
    secondary="#7dcfff",
    accent="#bb9af7",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#c0caf5",
    background="#1a1b26",
    surface="#1a1b26",
    panel="#16161e",
    variables={
        "block-cursor-text-style": "none",
        "input-selection-background": "#7aa2f7 35%",
        "text-quiet": "#8089b3",
        "line": "#3e4566",
        "row-cursor": "#2a2f50",
        "syntax-number": "#ff9e64",
        "bar": "#16161e",
    },
)

LIGHT = Theme(
    name="secateur-light",
    dark=False,
    primary="#1d4ed8",
    secondary="#0e7490",
    accent="#7e22ce",
    warning="#92400e",
    error="#b91c1c",
    success="#166534",
    foreground="#1f2937",
    background="#fafafa",
    surface="#fafafa",
    panel="#e5e7eb",
    variables={
        "block-cursor-text-style": "none",
        "input-selection-background": "#1d4ed8 25%",
        "text-quiet": "#535c69",
        "line": "#b6bdc9",
        "row-cursor": "#dbe4ff",
        "syntax-number": "#9a3412",
        "bar": "#e5e7eb",
    },
)

SIXTEEN = Theme(
    name="secateur-16",
    ansi=True,
    dark=True,
    primary="ansi_bright_blue",
    secondary="ansi_bright_cyan",
    accent="ansi_bright_magenta",
    warning="ansi_bright_yellow",
    error="ansi_bright_red",
    success="ansi_bright_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    variables={
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_white",
        "block-cursor-text-style": "none",
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border-blurred": "ansi_bright_black",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
        "text-quiet": "ansi_white",
        "line": "ansi_bright_black",
        "row-cursor": "ansi_default",
        "syntax-number": "ansi_yellow",
        "bar": "ansi_default",
    },
)

THEMES = (DARK, LIGHT, SIXTEEN)


_NAMED = (
    "primary",
    "secondary",
    "accent",
    "warning",
    "error",
    "success",
    "foreground",
    "background",
    "surface",
    "panel",
)
_COLOURS = (*_NAMED, *DARK.variables)
"""What a theme of the configuration may set."""


def themes_of(own: Mapping[str, Mapping[str, str]]) -> tuple[Theme, ...]:
    """Ours, and those of the configuration: name → `base` and the colours that differ. Raises `SettingsError`."""
    return (*THEMES, *(_own_theme(name, colours) for name, colours in own.items()))


def _own_theme(name: str, colours: Mapping[str, str]) -> Theme:
    bases = {theme.name: theme for theme in THEMES}
    wanted = dict(colours)
    base = wanted.pop("base", DARK.name)
    if name in bases:
        raise SettingsError(f"themes.{name}: this is the name of a theme of secateur; choose another")
    if base not in bases:
        raise SettingsError(f"themes.{name}.base: there is no theme {base!r}; choose from {', '.join(bases)}")
    for colour, value in wanted.items():
        if colour not in _COLOURS:
            raise SettingsError(f"themes.{name}: there is no colour {colour!r}; choose from {', '.join(_COLOURS)}")
        try:
            Color.parse(value.split()[0] if value.strip() else value)
        except ColorParseError:
            raise SettingsError(f"themes.{name}.{colour}: {value!r} is no colour; write #7aa2f7 or ansi_blue") from None
    theme = replace(bases[base], name=name, variables={**bases[base].variables})
    for colour, value in wanted.items():
        if colour in _NAMED:
            setattr(theme, colour, value)
        else:
            theme.variables[colour] = value
    return theme


def is_colourless(environment: MutableMapping[str, str]) -> bool:
    """Whether colours are off. An empty NO_COLOR has no effect (no-color.org), and is hidden from Textual."""
    if environment.get("NO_COLOR") == "":
        del environment["NO_COLOR"]
    return "NO_COLOR" in environment


def themes_for(color_system: str | None, *, colourless: bool, themes: Sequence[Theme] = THEMES) -> tuple[str, ...]:
    """The names of the themes that the terminal can show, best first.

    With 16 colours, only the terminal's own palette is readable; without colours, any theme will do.
    """
    if colourless or color_system not in ("truecolor", "256"):
        return tuple(theme.name for theme in themes if theme.ansi)
    return tuple(theme.name for theme in themes)


class HighlightsReversed(LineFilter):
    """Without colours, shows a background (such as the cursor's row or a focused button) by reverse video."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style if style is None else _reversed_where_highlighted(style), control)
            for text, style, control in segments
        ]


@lru_cache(1024)
def _reversed_where_highlighted(style: Style) -> Style:
    is_plain = style.bgcolor is None or style.bgcolor.is_default
    return style + Style(reverse=bool(style.reverse) or not is_plain)


def toned(*parts: tuple[str, str]) -> Content:
    """Text in tones, never read as markup: `toned(("61,902", "count"), (" runs", "plain"))`."""
    return Content.assemble(*((text, TONES[tone]) for text, tone in parts if text))
