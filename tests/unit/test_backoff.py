"""Attempts are repeated as often as the backoff says, and only what may pass is repeated."""

from __future__ import annotations

from itertools import islice

import pytest

from secateur.backoff import Backoff, persist

AT_ONCE = Backoff(0, 0)


class Flaky:
    """Raises each of the errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


def test_pauses_double_up_to_the_longest() -> None:
    pauses = list(islice(Backoff(1, 4).pauses(), 5))
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, [1, 2, 4, 4, 4], strict=True))


def test_there_is_a_pause_after_each_attempt_but_the_last() -> None:
    assert [len(list(Backoff(1, 1, attempts).pauses())) for attempts in (1, 2, 5)] == [0, 1, 4]


async def test_it_goes_on_until_an_attempt_succeeds() -> None:
    noted: list[OSError] = []
    flaky = Flaky(*[OSError(str(number)) for number in range(20)])
    assert await persist(flaky, AT_ONCE, OSError, noted.append) == "done"
    assert (flaky.calls, len(noted)) == (21, 20)


async def test_the_last_attempt_raises_and_is_not_noted() -> None:
    noted: list[OSError] = []
    with pytest.raises(OSError, match="third"):
        await persist(
            Flaky(OSError("first"), OSError("second"), OSError("third")), Backoff(0, 0, 3), OSError, noted.append
        )
    assert [str(error) for error in noted] == ["first", "second"]


async def test_other_errors_are_raised_at_once() -> None:
    flaky = Flaky(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await persist(flaky, AT_ONCE, OSError)
    assert flaky.calls == 1


async def test_whoever_is_told_of_a_failure_may_give_up() -> None:
    def give_up(error: OSError) -> None:
        raise error

    flaky = Flaky(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        await persist(flaky, AT_ONCE, OSError, give_up)
    assert flaky.calls == 1
