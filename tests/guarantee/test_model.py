"""Random histories of one queue, against a model of it; each operation's answer and every row must agree.

`SECATEUR_HISTORIES` sets how many (the default is small and always the same; more than that are different each time).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, TypeAlias, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from model import CONDITIONS, UNFINISHED, Cancellation, Model, Run, demand
from operations import COMMIT, compile_filter

HISTORIES = int(os.environ.get("SECATEUR_HISTORIES", "0"))
FEW, MANY, STEPS = 60, 500, 60

MAX_ATTEMPTS = {"f": 2, "g": 3}
FUNCTIONS = tuple(MAX_ATTEMPTS)
_apps = count(1)

COMMON = ("claims", "stopped", "restored", "cancellations complete", "cancellations stopped")
RARE = ("finished_first", "withdrawn", "handed_over", "pruned", "runs failed")
"""What comes about in a few histories, or in many; without it they would say too little."""

RUNS = """
select id, function_id, status, priority, attempt, started_at, scheduled_for, claim_token, cancellation_id,
       cancelled_from
  from secateur.runs where app_id = $1
"""
DEPTH = """
select function_id, sum(queued)::int, sum(scheduled)::int, sum(running)::int
  from (select app_id, function_id, queued, scheduled, running from secateur.depth_deltas
        union all select app_id, function_id, queued, scheduled, running from secateur.depth_totals) as summed
 where app_id = $1
 group by function_id having (sum(queued), sum(scheduled), sum(running)) <> (0, 0, 0)
"""
TALLIES = """
select rule.id, rule.state, coalesce(sum(cancelled - restored - handed_over - pruned), 0)::int as cancelled,
       coalesce(sum(requested), 0)::int as requested, coalesce(sum(stopped), 0)::int as stopped,
       coalesce(sum(finished_first), 0)::int as finished_first, coalesce(sum(withdrawn), 0)::int as withdrawn,
       coalesce(sum(restored), 0)::int as restored, coalesce(sum(handed_over), 0)::int as handed_over,
       coalesce(sum(pruned), 0)::int as pruned
  from secateur.cancellations as rule
  left join secateur.cancellation_deltas as delta on delta.app_id = rule.app_id and delta.cancellation_id = rule.id
 where rule.app_id = $1
 group by rule.id, rule.state
"""

ENQUEUE = """
select enqueued.id
  from secateur.enqueue_many(
         $1, $2, $3::jsonb[],
         array(select clock_timestamp() + later.by::interval
                 from unnest($5::text[]) with ordinality as later (by, place) order by place),
         $4::int[],
         -- No two at the same time: which of them was first would be anybody's guess.
         array(select clock_timestamp() - ago.by::interval + ago.place * interval '1 microsecond'
                 from unnest($6::text[]) with ordinality as ago (by, place) order by place)) as enqueued (id)
"""

Entry: TypeAlias = tuple[dict[str, Any], int, str | None, str | None]
"""Of a run to be enqueued: its event's data, its priority, how much later it is due, how long ago it started."""

picks = st.integers(0, 1000)
"""One of those that there are then."""
data = st.fixed_dictionaries({}, optional={"vendor": st.sampled_from("abc"), "n": st.integers(0, 3)})
entries = st.tuples(
    data, st.integers(0, 2), st.sampled_from([None, None, "1 hour"]), st.sampled_from([None, None, "2 min", "1 min"])
)


OPERATIONS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "enqueue": (3, {"function": st.sampled_from(FUNCTIONS), "entering": st.lists(entries, min_size=1, max_size=4)}),
    "become_due": (1, {"pick": picks}),
    "claim": (
        8,
        {
            "functions": st.sampled_from([None, None, ["f"], ["g"], ["f", "g"]]),
            "most": st.sampled_from([1, 1, 2, 3, 10]),
        },
    ),
    "end_lease": (1, {"pick": picks}),
    "begin_step": (2, {"pick": picks}),
    "complete": (3, {"pick": picks}),
    "fail": (3, {"pick": picks}),
    "release": (1, {"pick": picks}),
    "interrupt": (1, {"pick": picks}),
    "commit": (
        3,
        {
            "source": st.sampled_from(list(CONDITIONS)),
            "function": st.sampled_from([None, *FUNCTIONS]),
            "after": st.none() | st.none() | picks,
            "before": st.none() | st.none() | picks,
            "edge": st.sampled_from([-1, 0, 1]),
            "standing": st.sampled_from([False, False, False, True]),
        },
    ),
    "stop": (1, {"pick": picks}),
    "sweep": (4, {"pick": picks, "batch": st.sampled_from([1, 2, 100]), "times": st.sampled_from([1, 4, 30])}),
    "undo": (3, {"pick": picks, "requeue_stopped": st.sampled_from([False, False, True])}),
    "restore": (3, {"pick": picks, "batch": st.sampled_from([1, 2, 100]), "times": st.sampled_from([1, 4, 30])}),
    "cancel_run": (1, {"pick": picks}),
    "pause": (1, {"function": st.sampled_from([None, *FUNCTIONS])}),
    "resume": (2, {}),
    "limit": (1, {"function": st.sampled_from(FUNCTIONS), "limit": st.sampled_from([None, 1, 2])}),
    "compact": (1, {}),
    "age_and_prune": (1, {}),
}
"""How often, and with what."""

operations = st.sampled_from([name for name, (weight, _) in OPERATIONS.items() for _ in range(weight)]).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(OPERATIONS[name][1]))
)


class History(RuleBasedStateMachine):
    """One app of its own. The subclass that the test makes knows the database."""

    seen: Counter[str]
    """What came about in all histories together."""
    connection: asyncpg.Connection
    wait: Callable[[Coroutine[Any, Any, Any]], Any]

    def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        return type(self).wait(self.connection.fetch(sql, *args))

    def value(self, sql: str, *args: object) -> Any:
        return type(self).wait(self.connection.fetchval(sql, *args))

    @initialize()
    def begin(self) -> None:
        self.app = f"model-{next(_apps)}"
        self.model = Model(MAX_ATTEMPTS)
        self.claims: list[tuple[Run, UUID]] = []
        self._entered = 0
        for function in FUNCTIONS:
            self._register(function, None)

    def _register(self, function: str, limit: int | None) -> None:
        self.value(
            "select secateur.register_function($1, $2, '{}', $3, $4)", self.app, function, MAX_ATTEMPTS[function], limit
        )

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        self._observe()
        depth = {row[0]: (row[1], row[2], row[3]) for row in self.fetch(DEPTH, self.app)}
        demand(depth == self.model.depth(), f"the model's depth is {self.model.depth()}, the database's {depth}")
        rows = {row["id"]: row for row in self.fetch(TALLIES, self.app)}
        demand(len(rows) == len(self.model.cancellations), "cancellations differ")
        for cancellation in self.model.cancellations:
            mine = {"state": cancellation.state, **self.model.tally(cancellation)}
            theirs = {name: rows[cancellation.id][name] for name in mine}
            demand(mine == theirs, f"cancellation {cancellation.serial}: the model has {mine}, the database {theirs}")

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        self.seen["histories"] += 1
        self.seen["claims"] += len(self.claims)
        self.seen.update(f"runs {run.status}" for run in self.model.runs.values())
        for cancellation in self.model.cancellations:
            self.seen[f"cancellations {cancellation.state}"] += 1
            self.seen.update(self.model.tally(cancellation))

    def _observe(self) -> None:
        self.model.observe({row["id"]: row for row in self.fetch(RUNS, self.app)})

    @rule(operation=operations)
    def goes_on(self, operation: tuple[str, dict[str, Any]]) -> None:
        """One rule, for of several each history lacks some; and without claims there is nothing to see."""
        name, arguments = operation
        getattr(self, name)(**arguments)

    # Runs come and go.

    def enqueue(self, function: str, entering: list[Entry]) -> None:
        columns = zip(*((json.dumps({"name": "m", "data": data}), *rest) for data, *rest in entering), strict=True)
        rows = self.fetch(ENQUEUE, self.app, function, *columns)
        ids = [row["id"] for row in rows]
        times = {row["id"]: row for row in self.fetch(RUNS, self.app)}
        for id, (data, priority, later, _) in zip(ids, entering, strict=True):
            self._entered += 1
            row = times[id]
            status = "scheduled" if later else "queued"
            self.model.enqueue(
                Run(id, self._entered, function, data, priority, row["started_at"], row["scheduled_for"], status)
            )

    def become_due(self, pick: int) -> None:
        run = _one([run for run in self.model.runs.values() if run.status == "scheduled" and not run.due], pick)
        if run is not None:
            run.scheduled_for = self.value(
                "update secateur.runs set scheduled_for = now() - interval '1 s' where id = $1 returning scheduled_for",
                run.id,
            )
            run.due = True

    def claim(self, functions: list[str] | None, most: int) -> None:
        rows = self.fetch(
            "select * from secateur.claim_batch($1, $2, $3, 'model', '1 hour')", self.app, functions, most
        )
        claimed = {row["id"]: row["claim_token"] for row in rows if row["id"] is not None}
        more = any(row["more"] for row in rows)
        self.model.claim(functions or FUNCTIONS, most, claimed, more)
        self.claims += [(self.model.runs[id], token) for id, token in claimed.items()]

    def end_lease(self, pick: int) -> None:
        run = _one([run for run in self.model.runs.values() if run.status == "running" and not run.lapsed], pick)
        if run is not None:
            self.value("update secateur.runs set lease_expires_at = now() - interval '1 s' where id = $1", run.id)
            run.lapsed = True

    def _say(self, pick: int, expect: Callable[[Run, UUID], Any], sql: str) -> Run | None:
        """Call a function with a claim: one that goes on or, now and then, one that is over; none if there is none."""
        going_on = [claim for claim in self.claims if (claim[0].status, claim[0].token) == ("running", claim[1])]
        claim = _one(going_on if pick % 5 else self.claims, pick)
        if claim is None:
            return None
        expected, answer = expect(*claim), self.value(sql, self.app, claim[0].id, claim[1])
        demand(answer == expected, f"{sql} said {answer}, not {expected}, of {claim}")
        return claim[0]

    def begin_step(self, pick: int) -> None:
        self._say(pick, self.model.begin_step, "select secateur.begin_step($1, $2, $3, 'step')")

    def complete(self, pick: int) -> None:
        self._say(pick, self.model.complete, "select secateur.complete($1, $2, $3)")

    def fail(self, pick: int) -> None:
        run = self._say(pick, self.model.fail, "select secateur.fail($1, $2, $3, 'no luck')")
        if run is not None and run.status == "scheduled" and not run.due:
            # Its back-off is over when the history says so.
            run.scheduled_for = self.value(
                "update secateur.runs set scheduled_for = now() + interval '1 hour' where id = $1"
                " returning scheduled_for",
                run.id,
            )

    def release(self, pick: int) -> None:
        self._say(pick, self.model.release, "select secateur.release($1, array[$2::uuid], array[$3::uuid])")

    def interrupt(self, pick: int) -> None:
        self._say(pick, self.model.interrupt, "select secateur.interrupt($1, $2, $3, 'the worker stops')")

    # Cancellations come and go.

    def commit(
        self,
        source: str | None,
        function: str | None,
        after: int | None,
        before: int | None,
        edge: int,
        standing: bool,
    ) -> None:
        """The ends of the window lie at runs' own times, or a microsecond beside them."""
        times = sorted(run.started_at for run in self.model.runs.values())
        beside = timedelta(microseconds=edge)
        begins = times[after % len(times)] + beside if times and after is not None else None
        ends = times[before % len(times)] + beside if times and before is not None else None
        moment = self.value("select clock_timestamp()")
        if standing:
            ends = moment + timedelta(hours=1)
        if begins is not None and begins >= min(ends or moment, moment):
            return
        condition, parameters = compile_filter(source).condition.stored() if source else (None, {})
        id = uuid4()
        statement = COMMIT.replace("$6, false,", f"$6, {str(standing).lower()},")
        self.value(
            statement,
            *(id, self.app, function, source, begins, ends, condition, json.dumps(parameters)),
            *(json.dumps({"id": str(id)}), str(id)),
        )
        [row] = self.fetch("select serial, started_before from secateur.cancellations where id = $1", id)
        self.model.commit(
            Cancellation(id, row["serial"], function, source, begins, row["started_before"], standing=standing)
        )

    def stop(self, pick: int) -> None:
        cancellation = _one(self.model.cancellations, pick)
        if cancellation is not None:
            expected = self.model.stop(cancellation)
            state = self.value(
                "select state from secateur.stop_cancellation($1, $2, 'tester')", self.app, cancellation.id
            )
            demand(state == expected, f"stop said {state} of {cancellation}")

    def sweep(self, pick: int, batch: int, times: int) -> None:
        active = [one for one in self.model.cancellations if one.state == "active"]
        self._go_on("sweep_cancellation", _one(active or self.model.cancellations, pick), batch, times)

    def restore(self, pick: int, batch: int, times: int) -> None:
        undone = [one for one in self.model.cancellations if one.state == "undone" and not one.restored]
        self._go_on("restore_cancellation", _one(undone or self.model.cancellations, pick), batch, times)

    def _go_on(self, name: str, cancellation: Cancellation | None, batch: int, times: int) -> None:
        """A sweep of what is undone says whether the restore is over."""
        for _ in range(times if cancellation else 0):
            assert cancellation is not None
            [step] = self.fetch(f"select * from secateur.{name}($1, $2, $3)", self.app, cancellation.id, batch)
            if cancellation.state == "active" and step["state"] == "complete":
                self._observe()
                self.model.completed(cancellation)
            elif cancellation.state == "undone" and step["state"] == "undone":
                self._observe()
                self.model.restored(cancellation)
            restoring = cancellation.state == "undone" and not cancellation.restored
            expected = "restoring" if restoring else cancellation.state
            demand(step["state"] == expected, f"{name} said {step['state']} of {cancellation}")

    def undo(self, pick: int, requeue_stopped: bool) -> None:
        """Of one that holds runs, if there is one: undoing the others is soon told."""
        holding = {run.owner.id for run in self.model.runs.values() if run.owner is not None}
        held = [one for one in self.model.cancellations if one.id in holding and one.state != "undone"]
        cancellation = _one(held or self.model.cancellations, pick)
        if cancellation is not None:
            expected = self.model.undo(cancellation, requeue_stopped=requeue_stopped)
            answer = self._answered(
                "select state from secateur.undo_cancellation($1, $2, 'tester', 'python', $3)",
                *(self.app, cancellation.id, requeue_stopped),
            )
            demand(answer == ("undone" if expected else "SC409"), f"undo said {answer} of {cancellation}")

    def cancel_run(self, pick: int) -> None:
        runs = list(self.model.runs.values())
        run = _one([run for run in runs if run.status in UNFINISHED] or runs, pick)
        if run is None:
            return
        id = uuid4()
        answer = self._answered(
            "select state from secateur.cancel_run($1, $2, $3, $4, null, 'python', 'tester')",
            *(id, self.app, run.id, str(id)),
        )
        if answer == "SC409":
            demand(run.status not in UNFINISHED, f"cancel_run refused {run}")
            return
        [row] = self.fetch("select serial, started_before from secateur.cancellations where id = $1", id)
        cancellation = Cancellation(id, row["serial"], run.function, None, None, row["started_before"], run_id=run.id)
        demand(self.model.cancel_run(cancellation, run), f"cancel_run cancelled {run}")

    def _answered(self, sql: str, *args: object) -> Any:
        """The answer, or the state of the error that the functions raise."""
        try:
            return self.value(sql, *args)
        except asyncpg.PostgresError as error:
            if error.sqlstate is None or not error.sqlstate.startswith("SC"):
                raise
            return error.sqlstate

    # The queue is operated.

    def pause(self, function: str | None) -> None:
        self.value("select secateur.pause($1, $2, 'tester', 'python')", self.app, function)
        self.model.paused.add(function)

    def resume(self) -> None:
        for function in sorted(self.model.paused, key=str):
            self.value("select secateur.resume($1, $2, 'tester', 'python')", self.app, function)
        self.model.paused.clear()

    def limit(self, function: str, limit: int | None) -> None:
        self._register(function, limit)
        self.model.limits.pop(function, None)
        if limit is not None:
            self.model.limits[function] = limit

    def compact(self) -> None:
        self.value("select secateur.compact_depth($1)", self.app)

    def age_and_prune(self) -> None:
        """All that has ended did so long ago; and what nobody can want any more is deleted."""
        self.model.age()
        self.value(
            "update secateur.runs set finished_at = finished_at - interval '90 days' where app_id = $1", self.app
        )
        self.value(
            "update secateur.cancellations set completed_at = completed_at - interval '90 days',"
            " stopped_at = stopped_at - interval '90 days', undone_at = undone_at - interval '90 days',"
            " restored_at = restored_at - interval '90 days' where app_id = $1",
            self.app,
        )
        while self.value("select runs from secateur.prune($1)", self.app):
            pass
        self.model.pruned(row["id"] for row in self.fetch(RUNS, self.app))


Choice = TypeVar("Choice")


def _one(choices: Sequence[Choice], pick: int) -> Choice | None:
    return choices[pick % len(choices)] if choices else None


def histories(number: int, random: bool) -> settings:
    return settings(
        max_examples=number,
        stateful_step_count=STEPS,
        derandomize=not random,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@pytest.mark.timeout(900 + HISTORIES)
def test_any_history_is_as_the_model_has_it(embedded_url: str) -> None:
    with asyncio.Runner() as runner:

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(embedded_url)

        connection = runner.run(connect())
        try:
            seen: Counter[str] = Counter()
            parts = {"connection": connection, "wait": staticmethod(runner.run), "seen": seen}
            run_state_machine_as_test(
                type("Machine", (History,), parts), settings=histories(HISTORIES or FEW, random=bool(HISTORIES))
            )
            print(dict(seen))
            expected = COMMON + RARE if HISTORIES >= MANY else COMMON
            assert all(seen[name] > 0 for name in expected), f"no history had some of these: {seen}"
        finally:
            connection.terminate()
