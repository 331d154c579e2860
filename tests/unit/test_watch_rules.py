"""The rules of the watch: what the configuration may say, when an episode begins and ends, which fields may be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secateur.errors import SettingsError
from secateur.runs import Scope
from secateur.settings_loading import load_settings
from secateur.watch.episodes import Episode, EpisodeState, EpisodeStep, step
from secateur.watch.fields import may_be_told, read_fields
from secateur.watch.figures import RuleReading
from secateur.watch_settings import Metric, WatchRule

SYNC = Scope("billing", "syncs")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
RULE = WatchRule.model_validate({"metric": "claimable_age", "threshold": "10m", "for": "2m", "clears_after": "5m"})
OVER, BETWEEN, CLEAR = (
    RuleReading(SYNC, 700, True, False, ()),
    RuleReading(SYNC, 400, False, False, ()),
    RuleReading(SYNC, 0, False, True, ()),
)
UNKNOWN = RuleReading(SYNC, None, False, False, ())


def story(*readings: RuleReading, rule: WatchRule = RULE) -> list[str]:
    """One reading a minute: what each does."""
    episode: Episode | None = None
    steps = []
    for minute, reading in enumerate(readings):
        done, episode = step(episode, reading, rule, BEGAN + timedelta(minutes=minute))
        steps.append(str(done))
        if episode is not None:
            assert Episode.read(episode.document()) == episode
    return steps


@pytest.mark.parametrize(
    ("readings", "steps"),
    [
        # Below the threshold nothing begins.
        ([CLEAR, BETWEEN, UNKNOWN], ["nothing"] * 3),
        # It fires when it has been over for two minutes, once.
        ([OVER] * 5, ["kept", "nothing", "fired", "nothing", "nothing"]),
        # A short peak tells nobody; one reading that is not known does not end it.
        ([OVER, BETWEEN, OVER, OVER], ["kept", "forgotten", "kept", "nothing"]),
        ([OVER, UNKNOWN, OVER], ["kept", "nothing", "fired"]),
        # It is over when it has been clear for five minutes without a break.
        ([OVER] * 3 + [CLEAR] * 6, ["kept", "nothing", "fired", "kept", *["nothing"] * 4, "resolved"]),
        ([OVER] * 3 + [CLEAR] * 3 + [BETWEEN] + [CLEAR] * 6,
         ["kept", "nothing", "fired", "kept", "nothing", "nothing", "kept", "kept", *["nothing"] * 4, "resolved"]),
        # Around the threshold it does not flap.
        ([OVER] * 3 + [BETWEEN, OVER] * 20, ["kept", "nothing", "fired", *["nothing"] * 40]),
        ([OVER] * 3 + [CLEAR] * 5 + [UNKNOWN], ["kept", "nothing", "fired", "kept", *["nothing"] * 5]),
    ],
)  # fmt: skip
def test_an_episode_begins_late_and_ends_later(readings: list[RuleReading], steps: list[str]) -> None:
    assert story(*readings) == steps


def test_without_waiting_it_fires_and_ends_at_once() -> None:
    rule = WatchRule.model_validate({"metric": "claimable_age", "threshold": "10m", "clears_after": "0s"})
    assert story(OVER, OVER, BETWEEN, CLEAR, CLEAR, rule=rule) == ["fired", "nothing", "nothing", "resolved", "nothing"]
    done, episode = step(None, OVER, rule, BEGAN)
    assert done is EpisodeStep.FIRED
    assert episode is not None
    assert (episode.state, episode.fired_at) == (EpisodeState.FIRING, BEGAN)


ALLOWED = read_fields(["event.data.vendor_id", "event.data.address", "event.data['odd key']", "event.name"])


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("event.data.vendor_id == 'acme'", True),
        ("event['data']['vendor_id'] == 'acme'", True),
        ("event.data.address.city == 'Paris' && event.name == 'x'", True),
        ("event.data.address.lines.exists(l, l == 'x')", True),
        ("event.data['odd key'] == 1", True),
        ("!has(event.data.vendor_id)", True),
        ("run.priority > 5", True),
        ("true", True),
        ("event.data.vendor_id == 'acme' && event.data.card == '4111'", False),
        ("event.data.vendor == 'acme'", False),
        ("event.data.vendor_ids == ['acme']", False),
        ("has(event.data.secret)", False),
        ("event.data['4111 1111'] == 1", False),
        ("event.data == {'card': '4111'}", False),
        ("event == {'card': '4111'}", False),
        ("size(event) > 3", False),
        ("event.exists(k, k == '4111')", False),
        ("event.data.exists(k, k == '4111')", False),
        ("event.data.vendor_id == event.data.card", False),
        ("event.data.address[event.data.card] == 1", False),
        ("'4111' in event.data", False),
        ("[event].exists(e, e.data.card == '4111')", False),
        ("this is no expression", False),
    ],
)
def test_an_expression_is_told_only_if_all_its_fields_are_allowed(source: str, told: bool) -> None:
    assert may_be_told(source, ALLOWED) is told


def test_nothing_is_allowed_that_is_no_field() -> None:
    with pytest.raises(SettingsError) as caught:
        read_fields(["event", "data.vendor_id", "event.data.x == 1 || event.data.y", "run.id", "event.data.ok", ""])
    said = str(caught.value).splitlines()
    assert len(said) == 5
    assert all(one.startswith("`watch.allowed_fields` must name fields of events") for one in said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[watch.rules.a]\nmetric = "growht"\nthreshold = 1', "`watch.rules.a.metric` should be 'growth'"),
        ('[watch.rules.a]\nmetric = "growth"', "`watch.rules.a` needs `threshold`"),
        (
            '[watch.rules.a]\nmetric = "growth"\nthreshold = "10m"',
            "`watch.rules.a` needs a `threshold` that is a number",
        ),
        (
            '[watch.rules.a]\nmetric = "growth"\nthreshold = true',
            "`watch.rules.a` needs a `threshold` that is a number",
        ),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = nan', "`watch.rules.a` needs a `threshold` that is a number"),
        ('[watch.rules.a]\nmetric = "claimable_age"\nthreshold = 10', "that is a span such as"),
        ('[watch.rules.a]\nmetric = "failing_share"\nthreshold = 20', "from 0 to 1"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nclears_below = 2', "not above its `threshold`"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nfor = "5"', "`watch.rules.a.for` must be a span"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nfor = "5w"', "`watch.rules.a.for` must be a span"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nfro = "5s"', "`watch.rules.a.fro`; did you mean `for`?"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nfunction = "f"', "`watch.rules.a` needs `app`"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\nif = "true"', "must not have an `if`"),
        ('[watch.rules.a]\nmetric = "match_rate"\napp = "b"\nthreshold = 1', "needs `if`"),
        ('[watch.rules.a]\nmetric = "match_rate"\nif = "true"\nthreshold = 1', "needs `app`"),
        ('[watch.rules.a]\nmetric = "growth"\nthreshold = 1\ntargets = ["x"]', "has no target 'x'"),
        ('[watch.rules."A B"]\nmetric = "growth"\nthreshold = 1', "`watch.rules.A B` must be a name of lower-case"),
        (
            '[watch.rules.a]\nmetric = "growth"\nthreshold = 1\n[watch.rules.a.guard]\naction = "pause"\nlasts = "1h"',
            "needs `app`, because it has a guard",
        ),
        (
            '[watch.rules.a]\nmetric = "growth"\napp = "b"\nthreshold = 1\n'
            '[watch.rules.a.guard]\naction = "cancel"\nlasts = "1h"',
            "`watch.rules.a.guard` needs `if`",
        ),
        (
            '[watch.rules.a]\nmetric = "growth"\napp = "b"\nthreshold = 1\n'
            '[watch.rules.a.guard]\naction = "pause"\nlasts = "8d"',
            "`watch.rules.a.guard.lasts` must be from",
        ),
        ('[watch.targets.t]\nkind = "json"', "`watch.targets.t` needs either `url`"),
        ('[watch.targets.t]\nkind = "json"\nurl = "https:///S3CRET"', "`watch.targets.t` needs a `url`"),
        ('[watch.targets.t]\nkind = "json"\nurl = ["S3CRET"]', "`watch.targets.t.url` should be a valid string"),
        (
            '[watch.targets.t]\nkind = "command"\ncommand = "page S3CRET"',
            "`watch.targets.t.command` should be a valid list",
        ),
        ('[watch.targets.t]\nkind = "slack"\ncommand = ["S3CRET"]', "`watch.targets.t` needs either `url`"),
        ('[watch]\nlink = "https://x/{vendor}"', "`watch.link` must be a URL"),
        ('[watch]\nlink = "https://x/{app.__class__}"', "`watch.link` must be a URL"),
        ("[watch]\nevery_seconds = 0", "`watch.every_seconds` should be greater than or equal to 0.1"),
    ],
)
def test_what_is_wrong_is_said_with_its_key_and_without_a_secret(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "S3CRET" not in str(caught.value)


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[watch.rules.a]\nmetric = "claimable_age"\nthreshold = "10m"')
    rule = load_settings(file).watch.rules["a"]
    assert (rule.metric, rule.threshold, rule.clears_below) == (Metric.CLAIMABLE_AGE, 600.0, 300.0)
