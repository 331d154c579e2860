"""Defaults, file, environment and flags: which wins, and what is refused."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from secateur.checked_settings import CheckedSettings, Context
from secateur.errors import SettingsError
from secateur.settings import Settings, Target
from secateur.settings_loading import load_settings
from secateur.watch_settings import Guard, WatchRule, WatchSettings, WatchTarget

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
WriteConfig = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own configuration."""
    for name in os.environ:
        if name.startswith(("SECATEUR_", "PG", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


TWO_CONTEXTS = """
default_context = "staging"
refresh_seconds = 2

[contexts.staging]
database = "postgresql://staging/billing"

[contexts.production]
database = "postgresql://pg-3/billing"
read_only = true
production = true
"""


class TestExample:
    def test_it_is_the_defaults(self) -> None:
        loaded = load_settings(EXAMPLE)
        assert loaded.watch == WatchSettings()
        assert replace(loaded, watch=None) == Settings()

    def test_it_names_every_setting_with_its_default(self) -> None:
        text = re.sub(r"^#(?=[a-z_]+ = |\[)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
        shown: dict[str, Any] = tomllib.loads(text)
        (context,) = shown.pop("contexts").values()
        assert shown.pop("keys")
        assert shown.pop("themes")
        watch = shown.pop("watch")
        (target,), (rule,) = watch.pop("targets").values(), watch.pop("rules").values()
        self.compare(shown, CheckedSettings, without={"contexts", "keys", "themes", "watch"})
        self.compare(context, Context, without=set())
        self.compare(watch, WatchSettings, without={"targets", "rules"})
        # Not all of these go together: the others are in the comments.
        for model, table in ((WatchTarget, target), (WatchRule, rule), (Guard, rule["guard"])):
            names = [field.alias or name for name, field in model.model_fields.items()]
            assert [name for name in names if not re.search(rf"\b{name} = |guard\]", text)] == []
            assert set(table) <= set(names)

    def compare(self, shown: dict[str, Any], model: type[BaseModel], without: set[str]) -> None:
        assert list(shown) == [name for name in model.model_fields if name not in without]
        for name, value in shown.items():
            default = model.model_fields[name].default
            assert default in (value, None, [], PydanticUndefined), name

    def test_uncommented_it_is_valid(self, write_config: WriteConfig) -> None:
        text = re.sub(r"^#(?=[a-z_]+ = |\[)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
        path = write_config(text.replace('default_context = "staging"', 'default_context = "production"'))
        assert load_settings(path).target().context == "production"


class TestOrder:
    def test_defaults(self) -> None:
        assert load_settings().refresh_seconds == 1.0

    def test_file_environment_flags(self, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_config("refresh_seconds = 2\nconfirm_above = 7")
        assert load_settings(path).refresh_seconds == 2
        monkeypatch.setenv("SECATEUR_REFRESH_SECONDS", "3")
        assert load_settings(path).refresh_seconds == 3
        assert load_settings(path, refresh_seconds=4.0).refresh_seconds == 4
        assert load_settings(path, refresh_seconds=None).refresh_seconds == 3
        assert load_settings(path).confirm_above == 7

    def test_an_empty_variable_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECATEUR_REFRESH_SECONDS", "")
        assert load_settings().refresh_seconds == 1.0

    def test_where_the_file_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "xdg" / "secateur").mkdir(parents=True)
        (tmp_path / "xdg" / "secateur" / "config.toml").write_text("refresh_seconds = 5")
        assert load_settings().refresh_seconds == 5
        (tmp_path / "other.toml").write_text("refresh_seconds = 6")
        monkeypatch.setenv("SECATEUR_CONFIG", str(tmp_path / "other.toml"))
        assert load_settings().refresh_seconds == 6


class TestTarget:
    def test_flags_beat_the_environment_which_beats_the_file(self, write_config: WriteConfig) -> None:
        settings = load_settings(write_config(TWO_CONTEXTS))
        full = {"DATABASE_URL": "postgresql://env/x", "SECATEUR_CONTEXT": "production", "PGHOST": "h"}
        assert settings.target(database="postgresql://flag/x", environment=full).url == "postgresql://flag/x"
        assert settings.target(context="staging", environment=full).context == "staging"
        assert settings.target(environment=full).context == "production"
        del full["SECATEUR_CONTEXT"]
        assert settings.target(environment=full) == Target("postgresql://env/x", read_only=False)
        del full["DATABASE_URL"]
        assert settings.target(environment=full).context == "staging"
        assert Settings().target(environment=full) == Target(None, read_only=False)

    def test_a_context(self, write_config: WriteConfig) -> None:
        settings = load_settings(write_config(TWO_CONTEXTS))
        assert settings.target(context="production", environment={}) == Target(
            "postgresql://pg-3/billing", read_only=True, context="production", production=True
        )

    def test_read_only_only_ever_adds_up(self, write_config: WriteConfig) -> None:
        settings = load_settings(write_config("read_only = true\n" + TWO_CONTEXTS))
        assert settings.target(context="staging", environment={}).read_only
        assert load_settings().target(database="postgresql://x", read_only=True).read_only

    @pytest.mark.parametrize("name", ["PGSERVICE", "PGHOST", "PGDATABASE", "PGUSER"])
    def test_libpqs_environment_will_do(self, name: str) -> None:
        assert Settings().target(environment={name: "x"}).url is None

    def test_no_database_at_all(self) -> None:
        with pytest.raises(SettingsError, match=r"no database is named.*--database.*secateur demo"):
            Settings().target(environment={"PGPASSWORD": "x"})

    def test_two_databases(self) -> None:
        with pytest.raises(SettingsError, match="cannot"):
            Settings().target(database="postgresql://x", context="y")
        with pytest.raises(SettingsError, match="cannot"):
            Settings().target(environment={"SECATEUR_DATABASE": "a", "SECATEUR_CONTEXT": "b"})

    def test_an_unknown_context(self, write_config: WriteConfig) -> None:
        settings = load_settings(write_config(TWO_CONTEXTS))
        with pytest.raises(SettingsError, match=r"did you mean `staging`\?; known contexts: production, staging"):
            settings.target(context="stagin")

    def test_where_there_can_be_no_file_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As for a service whose home is /dev/null."""
        monkeypatch.delenv("XDG_CONFIG_HOME")
        monkeypatch.setenv("HOME", os.devnull)
        assert load_settings() == Settings()
        monkeypatch.setenv("SECATEUR_CONFIG", f"{os.devnull}/config.toml")
        with pytest.raises(SettingsError, match=f"there is no configuration file {os.devnull}/config.toml"):
            load_settings()


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("refresh_second = 1", r"no setting `refresh_second`; did you mean `refresh_seconds`\?"),
            ("refresh_seconds = 0", r"`refresh_seconds` should be greater than or equal to 0\.1, not 0"),
            ("refresh_seconds = 'often'", r"`refresh_seconds` should be a valid number.*, not 'often'"),
            ("timezone = 'Mars/Olympus'", "no time zone 'Mars/Olympus'"),
            ("default_context = 'x'", r"no context 'x'; known contexts: none; add \[contexts\.NAME\]"),
            ("[contexts.p]\ndatabase = 'u'\nproductoin = true", r"`contexts\.p\.productoin`; did you mean"),
            ("[contexts.p]\nread_only = true", r"`contexts\.p` needs `database`"),
            ("refresh_seconds = \nconfirm_above = 1", r"not valid TOML: .*line 1"),
        ],
    )
    def test_in_the_file(self, write_config: WriteConfig, text: str, words: str) -> None:
        path = write_config(text)
        with pytest.raises(SettingsError, match=words) as caught:
            load_settings(path)
        assert str(path) in str(caught.value)

    def test_all_at_once(self, write_config: WriteConfig) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings(write_config("refresh_second = 1\nconfirm_above = -1"))
        assert len(str(caught.value).splitlines()) == 2

    def test_no_password_is_repeated(self, write_config: WriteConfig) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings(write_config("[contexts.p]\ndatabase = ['postgresql://u:secret@h/d']"))
        assert "secret" not in str(caught.value)

    def test_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECATEUR_CONFIRM_ABOVE", "many")
        with pytest.raises(SettingsError, match=r"^SECATEUR_CONFIRM_ABOVE: .*valid integer.*'many'"):
            load_settings()
        monkeypatch.delenv("SECATEUR_CONFIRM_ABOVE")
        monkeypatch.setenv("SECATEUR_CONTEXTS", "no json")
        with pytest.raises(SettingsError, match="SECATEUR_CONTEXTS is not valid JSON"):
            load_settings()

    def test_in_a_flag(self) -> None:
        with pytest.raises(SettingsError, match=r"^--refresh-seconds: "):
            load_settings(refresh_seconds=-1)

    def test_a_file_that_was_named_must_be_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SettingsError, match="there is no configuration file"):
            load_settings(tmp_path / "nowhere.toml")
        monkeypatch.setenv("SECATEUR_CONFIG", str(tmp_path / "nowhere.toml"))
        with pytest.raises(SettingsError, match="there is no configuration file"):
            load_settings()

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
            load_settings(tmp_path)


def test_author_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    assert Settings().author_name == "grace"
    assert load_settings(author="ada").author_name == "ada"
    assert load_settings(timezone="UTC").zone is UTC
    assert load_settings(timezone="Europe/Berlin").zone == ZoneInfo("Europe/Berlin")
