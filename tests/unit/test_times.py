"""Times as people type them: what they mean, and what could mean two instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from secateur.errors import UsageError
from secateur.times import TimeError, find_zone, resolve_time, time_in_words

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 1, 21, 13, 3, 22, 123456, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOW),
        (" NOW ", NOW),
        ("-2h", NOW - timedelta(hours=2)),
        ("−2h", NOW - timedelta(hours=2)),
        ("- 30m", NOW - timedelta(minutes=30)),
        ("-1h30m", NOW - timedelta(minutes=90)),
        ("-1d 2h", NOW - timedelta(hours=26)),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-1.5h", NOW - timedelta(minutes=90)),
        ("-0.000001s", NOW - timedelta(microseconds=1)),
        ("-1w", NOW - timedelta(days=7)),
        ("+5m", NOW + timedelta(minutes=5)),
        ("today", utc(2026, 1, 20, 23)),
        ("yesterday", utc(2026, 1, 19, 23)),
        ("yesterday 14:00", utc(2026, 1, 20, 13)),
        ("Yesterday at 9:05", utc(2026, 1, 20, 8, 5)),
        ("today 00:00:00.5", utc(2026, 1, 20, 23, 0, 0, 500000)),
        ("2026-01-21", utc(2026, 1, 20, 23)),
        ("2026-01-21 14:00", utc(2026, 1, 21, 13)),
        ("2026-07-21T14:00:30", utc(2026, 7, 21, 12, 0, 30)),
        ("2026-01-21T00:00:00Z", utc(2026, 1, 21)),
        ("2026-01-21t00:00z", utc(2026, 1, 21)),
        ("2026-01-21 00:00 UTC", utc(2026, 1, 21)),
        ("2026-01-21T00:00:00+02:00", utc(2026, 1, 20, 22)),
        ("2026-01-21T00:00:00-0330", utc(2026, 1, 21, 3, 30)),
        ("2026-01-21 00:00+01", utc(2026, 1, 20, 23)),
        ("2026-01-21T00:00:00.123456Z", utc(2026, 1, 21, 0, 0, 0, 123456)),
        ("2026-01-21T00:00:00.1Z", utc(2026, 1, 21, 0, 0, 0, 100000)),
        ("2024-02-29", utc(2024, 2, 28, 23)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h ago", NOW - timedelta(hours=2)),
        ("2 hours ago", NOW - timedelta(hours=2)),
        ("1 hour 30 mins ago", NOW - timedelta(minutes=90)),
        ("in 90 min", NOW + timedelta(minutes=90)),
        ("14:00", utc(2026, 1, 21, 13)),
        ("14:30", utc(2026, 1, 20, 13, 30)),
        ("14:00:30", utc(2026, 1, 21, 13, 0, 30)),
        ("3am", utc(2026, 1, 21, 2)),
        ("3 a.m.", utc(2026, 1, 21, 2)),
        ("11:30 PM", utc(2026, 1, 20, 22, 30)),
        ("12am", utc(2026, 1, 20, 23)),
        ("12pm", utc(2026, 1, 21, 11)),
        ("noon", utc(2026, 1, 21, 11)),
        ("14:00Z", utc(2026, 1, 20, 14)),
        ("13:00 UTC", utc(2026, 1, 21, 13)),
        ("yesterday 2pm", utc(2026, 1, 20, 13)),
        ("tomorrow 3am", utc(2026, 1, 22, 2)),
        ("2026-01-21 2pm", utc(2026, 1, 21, 13)),
        ("21 Jan 14:00", utc(2026, 1, 21, 13)),
        ("21 Jan 14:30", utc(2026, 1, 21, 13, 30)),
        ("27 November 03:00 UTC", utc(2025, 11, 27, 3)),
        ("27 Nov 2024", utc(2024, 11, 26, 23)),
        ("1768997002", utc(2026, 1, 21, 12, 3, 22)),
        ("1768997002.5", utc(2026, 1, 21, 12, 3, 22, 500000)),
        ("1768997002123", utc(2026, 1, 21, 12, 3, 22, 123000)),
    ],
)
def test_means(text: str, instant: datetime) -> None:
    resolved = resolve_time(text, NOW, BERLIN)
    assert resolved == instant
    assert resolved.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a valid time; use"),
        ("soon", "is not a valid time; use.*2h ago"),
        ("-2", "is not a valid time; use"),
        ("9999-12-31T23:59:59-12:00", "must be in the years 1 to 9999 in UTC"),
        ("+9999999d", "must be in the years 1 to 9999 in UTC"),
        ("-2 months", "is not a valid time; use"),
        ("25:00", "not a valid time: hour"),
        ("13pm", "with am or pm"),
        ("0am", "with am or pm"),
        ("3", "is not a valid time; use"),
        ("-2h ago", "is not a valid time; use"),
        ("in 2h ago", "is not a valid time; use"),
        ("31 feb 14:00", "not a valid time: day"),
        ("176899760", "is not a valid time; use"),
        ("21.01.2026", "is not a valid time; use"),
        ("2026-01-21T", "is not a valid time; use"),
        ("2026-01-21Z", "is not a valid time; use"),
        ("2026-02-30", "not a valid time: day"),
        ("2026-13-01", "not a valid time: month"),
        ("2026-01-21 24:00", "not a valid time: hour"),
        ("2026-01-21 12:60", "not a valid time: minute"),
        ("2026-01-21T12:00:60Z", "not a valid time: second"),
        ("2026-01-21T00:00:00.1234567Z", "at most six digits"),
        ("-0.0000001s", "at most six digits"),
        ("2026-01-21T00:00:00+24:00", "offset"),
        ("0001-01-01T00:00:00+02:00", "years 1 to 9999"),
        ("-9999999999999w", "years 1 to 9999"),
        ("٢٠٢٦-01-21", "is not a valid time; use"),
    ],
)
def test_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_time(text, NOW, BERLIN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-2h", "21 Jan 11:03:22 UTC, 2h 00m ago"),
        ("3am", "21 Jan 02:00 UTC, 11h 03m ago"),
        ("+30m", "21 Jan 13:33:22 UTC, in 30m 00s"),
        ("27 Nov 3am", "27 Nov 2025 02:00 UTC, 55d 11h ago"),
        ("now", "21 Jan 13:03:22 UTC, now"),
    ],
)
def test_is_said_in_words_that_can_be_typed(text: str, words: str) -> None:
    moment = resolve_time(text, NOW, BERLIN)
    assert time_in_words(moment, NOW) == words
    assert resolve_time(words.partition(",")[0], NOW, BERLIN) == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    "text", ["soon", "30x", "2026-02-30", "13pm", "2026-03-29 02:30", "2026-10-25 02:30", "x" * 99]
)
def test_beside_its_field_a_mistake_takes_little_room(text: str) -> None:
    with pytest.raises(TimeError) as raised:
        resolve_time(text, NOW, BERLIN)
    assert len(raised.value.why) <= 48


class TestSummerTime:
    def test_a_skipped_hour_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"does not exist.*Europe/Berlin.*2026-03-29 00:30:00Z"):
            resolve_time("2026-03-29 02:30", NOW, BERLIN)

    def test_a_repeated_hour_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"twice.*02:30:00\+02:00 or 2026-10-25 02:30:00\+01:00"):
            resolve_time("2026-10-25 02:30", NOW, BERLIN)

    @pytest.mark.parametrize(
        ("text", "instant"),
        [
            ("2026-03-29 01:59:59.999999", utc(2026, 3, 29, 0, 59, 59, 999999)),
            ("2026-03-29 03:00", utc(2026, 3, 29, 1)),
            ("2026-10-25 01:59:59", utc(2026, 10, 24, 23, 59, 59)),
            ("2026-10-25 03:00", utc(2026, 10, 25, 2)),
            ("2026-10-25 02:30+02:00", utc(2026, 10, 25, 0, 30)),
        ],
    )
    def test_its_edges_and_an_offset_are_clear(self, text: str, instant: datetime) -> None:
        assert resolve_time(text, NOW, BERLIN) == instant

    def test_a_relative_day_is_24_hours(self) -> None:
        after_the_change = utc(2026, 3, 29, 10)
        assert resolve_time("-1d", after_the_change, BERLIN) == utc(2026, 3, 28, 10)

    def test_yesterday_is_the_local_one(self) -> None:
        just_after_midnight = datetime(2026, 3, 30, 0, 30, tzinfo=BERLIN)
        assert resolve_time("yesterday", just_after_midnight, BERLIN) == utc(2026, 3, 28, 23)
        with pytest.raises(UsageError, match="does not exist"):
            resolve_time("yesterday 02:30", just_after_midnight, BERLIN)

    def test_a_day_that_begins_at_one_oclock_is_refused(self) -> None:
        """Where the clocks change at midnight, the day's name alone is no instant."""
        with pytest.raises(UsageError, match="does not exist"):
            resolve_time("2026-03-29", NOW, ZoneInfo("Asia/Beirut"))


class TestZones:
    def test_by_name(self) -> None:
        assert find_zone("UTC") is UTC
        assert find_zone("Europe/Berlin") == BERLIN

    @pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "Europe"])
    def test_unknown(self, name: str) -> None:
        with pytest.raises(UsageError, match="no time zone"):
            find_zone(name)

    def test_local_follows_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", ":Europe/Berlin")
        assert find_zone("local") == BERLIN
        monkeypatch.setenv("TZ", "")
        assert find_zone("local") is UTC
        for nonsense in ("nonsense", "CET-1CEST,nonsense", "/nowhere", "CE-1"):
            monkeypatch.setenv("TZ", nonsense)
            with pytest.raises(UsageError, match=r"TZ=.* must be a name"):
                find_zone("local")

    @pytest.mark.parametrize(
        ("name", "winter", "summer"),
        [
            ("CET-1CEST", 1, 2),
            ("EST5EDT,M3.2.0,M11.1.0", -5, -4),
            ("<+0530>-5:30", 5.5, 5.5),
            ("JST-9", 9, 9),
            ("/usr/share/zoneinfo/Europe/Berlin", 1, 2),
        ],
    )
    def test_local_follows_a_posix_rule(
        self, monkeypatch: pytest.MonkeyPatch, name: str, winter: float, summer: float
    ) -> None:
        """As `TZ=… date -d` says."""
        if name.startswith("/") and not Path(name).exists():
            pytest.skip("no time zones in files")
        monkeypatch.setenv("TZ", name)
        zone = find_zone("local")
        assert resolve_time("2024-01-10 12:00", NOW, zone) == utc(2024, 1, 10, 12) - timedelta(hours=winter)
        assert resolve_time("2024-07-01 12:00", NOW, zone) == utc(2024, 7, 1, 12) - timedelta(hours=summer)

    def test_local_without_an_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TZ", raising=False)
        zone = find_zone("local")
        if Path("/etc/localtime").exists():
            assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() is not None

    def test_an_offset_will_do(self) -> None:
        assert resolve_time("2026-01-21", NOW, timezone(timedelta(hours=-5))) == utc(2026, 1, 21, 5)
