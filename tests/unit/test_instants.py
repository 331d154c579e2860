"""Times outside of Python's calendar: read as they are, and harmless to whoever compares or writes them."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from secateur.cli.describing import instant
from secateur.instants import (
    EARLIEST,
    INFINITY,
    LATEST,
    OddTime,
    from_microseconds,
    in_zone,
    read_instant,
    read_rfc3339,
    readable,
    to_microseconds,
    utc,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since_2000", "text", "late"),
    [
        (INFINITY, "infinity", True),
        (-INFINITY - 1, "-infinity", False),
        (9_223_339_708_800_000_000, "294276-01-01T00:00:00Z", True),
        (-189_310_089_600_000_000, "4000-01-01T00:00:00Z BC", False),
    ],
)
def test_odd_times_are_written_as_they_are(since_2000: int, text: str, late: bool) -> None:
    odd = from_microseconds(since_2000)
    assert isinstance(odd, OddTime)
    assert {str(odd), utc(odd), f"{odd:%Y}", readable(odd), instant(odd, ZoneInfo("Asia/Tokyo"))} == {text}
    assert utc(pickle.loads(pickle.dumps(odd))) == utc(odd.replace(microsecond=0)) == text
    assert (odd > NOW) is late
    assert ((NOW - odd).total_seconds() < 0) is late


@pytest.mark.parametrize("moment", [EARLIEST, LATEST, NOW, datetime.max.replace(tzinfo=UTC)], ids=str)
def test_times_of_the_calendar_are_exact(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == read_instant(moment.isoformat()) == moment
    assert not isinstance(from_microseconds(to_microseconds(moment)), OddTime)
    for zone in ("Asia/Tokyo", "America/New_York"):
        assert in_zone(moment, ZoneInfo(zone)) == moment


@pytest.mark.parametrize(
    "text", ["infinity", "-infinity", "10000-01-01T00:00:00Z", "0044-03-15T00:00:00Z BC", "nonsense"]
)
def test_what_json_has_is_read_as_it_is(text: str) -> None:
    assert str(read_instant(text.replace("Z", "+00:00"))) == text


@pytest.mark.parametrize(
    ("text", "moment", "fraction"),
    [
        ("2024-01-21T01:02:03Z", datetime(2024, 1, 21, 1, 2, 3, tzinfo=UTC), ""),
        ("2024-01-21t01:02:03.0250z", datetime(2024, 1, 21, 1, 2, 3, tzinfo=UTC), "0250"),
        ("2024-01-21 01:02+05:30", datetime(2024, 1, 20, 19, 32, tzinfo=UTC), ""),
        ("2024-01-21T01:02:03.123456789", datetime(2024, 1, 21, 1, 2, 3), "123456789"),
    ],
)
def test_times_of_rfc_3339(text: str, moment: datetime, fraction: str) -> None:
    assert read_rfc3339(text) == (moment, fraction)


@pytest.mark.parametrize(
    "text",
    [
        *("", "2024-01-21", "2024-01-21T01", "2024-01-21T01:02.5Z", "2024-02-30T01:02:03Z", "2024-01-21T25:02:03Z"),
        *("2024-01-21T01:02:03+05:75", "2024-01-21T01:02:03+24:00", "2024-01-21T01:02:03+05", "٢024-01-21T01:02:03Z"),
    ],
)
def test_what_is_no_time_of_rfc_3339(text: str) -> None:
    """An offset of 75 minutes, say, which Python's own parser takes for one of an hour and a quarter."""
    with pytest.raises(ValueError, match=r"."):
        read_rfc3339(text)
