"""Keys and themes of the user's own, from the configuration."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from console_driver import Start

from secateur.errors import SettingsError
from secateur.settings_loading import load_settings
from secateur_tui.own_keys import with_own_keys
from secateur_tui.themes import LIGHT, themes_for, themes_of

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_keys_replace_those_of_the_table() -> None:
    keys = {action.id: action.keys for action in with_own_keys({"queues": {"pause": "P", "find": ["/", "ctrl+g"]}})}
    assert keys["queues.pause"] == ("P",)
    assert keys["queues.find"] == ("/", "ctrl+g")
    assert keys["queues.sort"] == ("s",)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"queues": {"puase": "P"}}, "there is no `keys.queues.puase`; did you mean `keys.queues.pause`"),
        ({"nowhere": {"xyz": "P"}}, "there is no `keys.nowhere.xyz`; there are "),
        ({"queues": {"pause": "ctlr+p"}}, "'ctlr\\+p' is no key"),
        ({"queues": {"pause": ""}}, "'' is no key"),
        ({"queues": {"pause": []}}, "needs a key"),
        ({"queues": {"pause": "ctrl+q"}}, "cannot be given away"),
        ({"queues": {"pause": "s"}}, "s is the key of `queues.sort` already"),
        ({"queues": {"pause": "q"}}, "q is the key of `console.quit` already"),
        ({"console": {"help": "j"}}, "j is the key of `.*` already"),
        ({"queues": {"pause": "P", "sort": "P"}}, "P is the key of `queues"),
    ],
)
def test_keys_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        with_own_keys(keys)


def test_two_actions_can_exchange_their_keys() -> None:
    keys = {action.id: action.keys for action in with_own_keys({"queues": {"pause": "s", "sort": "p"}})}
    assert (keys["queues.pause"], keys["queues.sort"]) == (("s",), ("p",))


def test_the_screens_are_bound_to_them(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[keys.queues]\npause = "f5"\n')
    program = f"""
        from pathlib import Path
        from secateur.settings_loading import load_settings
        from secateur_tui import keymap
        from secateur_tui.own_keys import with_own_keys
        keymap.use(with_own_keys(load_settings(Path({str(config)!r})).keys))
        from secateur_tui.queues.screen import QueuesScreen
        print([binding.key for binding in QueuesScreen.BINDINGS if binding.id == "queues.pause"])
        print(keymap.display_of("queues.pause"))
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert told.stdout == "['f5']\nF5\n"


def test_the_example_is_valid(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    lines = text[text.index("#[keys.queues]") : text.index("# Databases by name")].splitlines()
    config = tmp_path / "config.toml"
    config.write_text("\n".join(line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")))
    settings = load_settings(config)
    assert with_own_keys(settings.keys)
    assert [theme.name for theme in themes_of(settings.themes)][-1] == "mine"


def test_a_theme_takes_what_it_does_not_say_from_its_base() -> None:
    mine = themes_of({"mine": {"base": LIGHT.name, "primary": "#112233", "line": "#445566"}})[-1]
    assert (mine.primary, mine.variables["line"]) == ("#112233", "#445566")
    assert (mine.error, mine.variables["bar"], mine.dark) == (LIGHT.error, LIGHT.variables["bar"], False)
    assert LIGHT.variables["line"] != "#445566"
    assert "mine" in themes_for("truecolor", colourless=False, themes=[mine])
    assert "mine" not in themes_for("standard", colourless=False, themes=[mine])


@pytest.mark.parametrize(
    ("theme", "message"),
    [
        ({"base": "nord"}, "there is no theme 'nord'; choose from secateur-dark"),
        ({"primry": "#112233"}, "there is no colour 'primry'; choose from primary"),
        ({"primary": "bluish"}, "'bluish' is no colour"),
        ({"primary": ""}, "'' is no colour"),
    ],
)
def test_themes_that_cannot_be(theme: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        themes_of({"mine": theme})


async def test_an_own_theme_is_offered_and_shown(start: Start, incident_url: str) -> None:
    themes = themes_of({"mine": {"primary": "#ff0000"}, "contrast": {"base": "secateur-16", "primary": "ansi_red"}})
    async with start(incident_url, themes=themes, theme="contrast") as console:
        await console.shows("flood")
        assert console.app.theme == "contrast"
