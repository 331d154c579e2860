"""Each known way to get the protocol wrong, built in on purpose: a named scenario must notice."""

from __future__ import annotations

import pytest
from arena import Mutation, build_in
from scenarios import (
    Scenario,
    a_running_run_is_undecided,
    a_waiting_run_is_undecided,
    bulk_stays_open,
    cancelled_while_it_is_retried,
    claim_in_an_old_snapshot,
    claim_of_another_app,
    claimed_before_it_is_on_disk,
    claims_find_all,
    confirmed_while_a_claim_is_open,
    dead_worker_comes_back,
    dead_worker_comes_back_to_a_cancelled_run,
    enqueue_stays_open,
    enqueue_takes_its_time,
    handed_over_while_pruned,
    leases_that_end_are_seen,
    meeting,
    newer_of_two_sweeps_first,
    old_transaction_commits,
    older_of_two_is_stopped,
    one_at_a_time,
    prune_after_a_completion_in_a_commit,
    prune_before_the_restore,
    pruned_within_a_commit,
    restored_what_another_means,
    retried_while_it_is_cancelled,
    retry_slips_past_the_sweep,
    run_behind_the_matches_is_held,
    runs_at_the_bounds,
    stop_during_a_sweep,
    undo_at_the_last_moment,
    undo_during_a_sweep,
    undo_of_the_older_during_a_sweep,
    what_is_due_is_found,
    what_is_queued_is_on_the_list,
    whoever_queues_is_found_or_tells,
)
from scene import GuaranteeBroken, Stage


class Mutant:
    """A fault, and the scenario that must notice it, in that situation."""

    def __init__(self, name: str, mutations: list[Mutation], scenario: Scenario, situation: str = "before") -> None:
        self.name, self.mutations, self.scenario, self.situation = name, mutations, scenario, situation


LOCK = "  if not secateur.share_app({0}) then\n    return{1};\n  end if;\n"
TOKENS = "((run.id, run.claim_token) in (select * from unnest(run_ids, claim_tokens))) is true\n"
LATE_TOKENS = TOKENS.replace("run.claim_token", "coalesce(run.last_token, run.claim_token)", 1)
SHARED = "pg_try_advisory_xact_lock_shared(1396917317, hashtext(wake.app_id))"
IDLE = "(select state.idle from secateur.idle as state where state.app_id = wake.app_id)"
READ = "  state := secateur.survey(app, case when many then '{}' else candidates end);\n"
CANDIDATES = """  if candidates is null then
    -- One more tells that there are many.
    candidates := array(select one.function_id from secateur.functions as one
                         where one.app_id = app limit few + 1);
  end if;
  many := cardinality(candidates) > few;
"""

MUTANTS = [
    Mutant(
        "claim takes no lock",
        [Mutation("  known := secateur.share_app(app);\n", "  known := true;\n", "complete_and_claim")],
        meeting("claim", "complete_and_claim", "surveyed", "commit"),
    ),
    Mutant(
        "sharing an app's lock takes no lock",
        [
            Mutation(
                "  if not secateur.take_lock(share_app.app_id, 'app', 'row share') then\n",
                "  if not exists (select from secateur.apps where apps.app_id = share_app.app_id) then\n",
                "share_app",
            )
        ],
        meeting("claim", "complete_and_claim", "surveyed", "commit"),
    ),
    Mutant(
        "sharing takes another lock than a commit",
        [Mutation("'app', 'row share'", "'sweeps', 'row share'", "share_app")],
        meeting("begin_step", "begin_step", "not cancelled", "commit"),
    ),
    Mutant(
        "begin_step finds runs of other apps, under their lock",
        [
            Mutation(
                "run.app_id = begin_step.app_id and run.id = begin_step.run_id and",
                "run.id = begin_step.run_id and",
                "begin_step",
            )
        ],
        claim_of_another_app,
    ),
    Mutant(
        "complete finds runs of other apps",
        [
            Mutation(
                "run.app_id = complete_runs.app_id and run.id = any (run_ids)\n",
                "run.id = any (run_ids)\n",
                "complete_runs",
                times=2,
            )
        ],
        claim_of_another_app,
    ),
    Mutant(
        "commit takes no lock",
        [
            Mutation(
                "  held := secateur.try_lock_app(draft.app_id, '250 ms');\n",
                "  held := true;\n",
                "commit_draft",
            )
        ],
        meeting("claim", "complete_and_claim", "surveyed", "commit"),
    ),
    Mutant(
        "claim reads the cancellations before the lock",
        [
            Mutation(READ, "", "complete_and_claim"),
            Mutation(
                "  -- point: before the lock\n",
                CANDIDATES + READ + "  -- point: before the lock\n",
                "complete_and_claim",
            ),
        ],
        meeting("claim", "complete_and_claim", "before the lock", "commit"),
    ),
    Mutant(
        "claim runs in any isolation level",
        [Mutation("    perform secateur.require_read_committed();\n", "    null;\n", "complete_and_claim")],
        claim_in_an_old_snapshot,
    ),
    Mutant(
        "begin_step takes no lock",
        [Mutation(LOCK.format("begin_step.app_id", " false"), "", "begin_step")],
        meeting("begin_step", "begin_step", "not cancelled", "commit"),
    ),
    Mutant(
        "commit asks nobody to stop",
        [Mutation("      perform secateur.request_running(committed);\n", "", "commit_draft")],
        meeting("commit", "commit_draft", "before the lock", "begin_step"),
    ),
    Mutant(
        "a newer cancellation does not ask those that were asked before",
        [
            Mutation(
                "run.id = any (running) and run.status || '' = 'running'",
                "run.id = any (running) and run.status || '' = 'running' and not exists"
                " (select from secateur.cancel_requests as asked"
                "   where asked.app_id = app and asked.run_id = run.id)",
                "request_running",
            )
        ],
        older_of_two_is_stopped,
        "committed",
    ),
    Mutant(
        "a sweep looks at its own cancellation only",
        [Mutation("active.serial < rule.serial", "false", "older_active")],
        newer_of_two_sweeps_first,
        "committed",
    ),
    Mutant(
        "complete ignores the horizon",
        [Mutation(" and place.pass_xmin >= place.horizon", "", "end_pass")],
        enqueue_stays_open,
    ),
    Mutant(
        "complete does not wait for a bulk",
        [Mutation(" and place.pass_xmin >= place.horizon", "", "end_pass")],
        bulk_stays_open,
    ),
    Mutant(
        "the horizon is the end of a snapshot",
        [
            Mutation("    raise exception using errcode = 'SC000';\n", "", "horizon"),
            Mutation(
                "    perform from secateur.sweeps as place\n"
                "      where place.app_id = horizon.app_id and place.cancellation_id = horizon.cancellation_id\n"
                "        for update;\n",
                "",
                "horizon",
            ),
        ],
        enqueue_stays_open,
    ),
    Mutant(
        "the horizon is the commit's own id",
        [
            Mutation(
                "  return pg_snapshot_xmax(pg_current_snapshot());\n", "  return pg_current_xact_id();\n", "horizon"
            )
        ],
        old_transaction_commits,
    ),
    Mutant(
        "complete ignores the claim's token",
        [Mutation(f"and {LATE_TOKENS}", "", "complete_runs", times=2)],
        dead_worker_comes_back,
    ),
    Mutant(
        "complete takes a run from whoever has begun it again",
        [Mutation("           last_token = null,\n", "", "grant_runs")],
        dead_worker_comes_back,
    ),
    Mutant(
        "complete brings back what was cancelled",
        [Mutation("in ('queued', 'failed'))", "in ('queued', 'failed', 'cancelled'))", "complete_runs")],
        dead_worker_comes_back_to_a_cancelled_run,
    ),
    Mutant(
        "a step that finishes late is kept for a run that was cancelled",
        [Mutation("in ('queued', 'failed'))", "in ('queued', 'failed', 'cancelled'))", "finish_steps")],
        dead_worker_comes_back_to_a_cancelled_run,
    ),
    Mutant(
        "interrupt ignores the claim's token",
        [
            Mutation(" and run.claim_token = interrupt.claim_token", "", "interrupt"),
            Mutation(f"and {TOKENS}", "", "release"),
        ],
        dead_worker_comes_back,
    ),
    Mutant(
        "begin_step ignores the claim's token",
        [Mutation(" and run.claim_token = begin_step.claim_token", "", "begin_step")],
        dead_worker_comes_back,
    ),
    Mutant(
        "the window includes its start",
        [Mutation("run.started_at > rule.started_after", "run.started_at >= rule.started_after", "sift")],
        runs_at_the_bounds,
    ),
    Mutant(
        "the window includes its end",
        [Mutation("run.started_at < rule.started_before", "run.started_at <= rule.started_before", "sift")],
        runs_at_the_bounds,
    ),
    Mutant(
        "the sweep cancels what has left the backlog",
        [
            Mutation(" and run.status || '' in ('queued', 'scheduled')", "", "cancel_backlog"),
            Mutation("cancelled_from = run.status", "cancelled_from = 'queued'", "cancel_backlog"),
        ],
        meeting("sweep", "walk_backlog", "batch evaluated", "claim"),
        "committed",
    ),
    Mutant(
        "the sweep does not enter the gate",
        [Mutation("if not secateur.enter_sweeps(app) then", "if false then", "sweep_batch")],
        stop_during_a_sweep,
        "committed",
    ),
    Mutant(
        "stop does not take the lock",
        [
            Mutation(
                "  held := locked.alone and secateur.try_lock_app(stopped.app_id, deadline - clock_timestamp());\n",
                "  held := true;\n",
                "stop_cancellation",
            )
        ],
        meeting("claim", "complete_and_claim", "surveyed", "stop"),
        "committed",
    ),
    Mutant(
        "undo does not take the lock",
        [
            Mutation(
                "  -- point: before the lock\n"
                "  held := locked.alone and secateur.try_lock_app(undone.app_id, deadline - clock_timestamp());\n",
                "  held := true;\n",
                "undo_cancellation",
            )
        ],
        meeting("claim", "complete_and_claim", "surveyed", "undo"),
        "committed",
    ),
    Mutant(
        "the sweep does not wait for an undo",
        [Mutation("if not secateur.enter_sweeps(app) then", "if false then", "sweep_batch")],
        undo_during_a_sweep,
        "committed",
    ),
    Mutant(
        "undo does not enter the gate",
        [Mutation("    perform secateur.take_lock(lock_ending.app_id, 'sweeps', 'exclusive');\n", "", "lock_ending")],
        undo_of_the_older_during_a_sweep,
        "overlapping",
    ),
    Mutant(
        "restore does not take the lock",
        [Mutation("  perform secateur.share_app(app);\n", "", "restore_cancellation")],
        meeting("restore", "restore_batch", "owners known", "overlap"),
        "undone",
    ),
    Mutant(
        "restore ignores other owners",
        [
            Mutation(
                "secateur.other_owners(undone.app_id, run_ids, '500 ms') as other;",
                "secateur.other_owners(undone.app_id, run_ids, '500 ms') as other where false;",
                "find_owners",
            )
        ],
        restored_what_another_means,
        "undone",
    ),
    Mutant(
        "restore knows only one kind of owner",
        [Mutation("one.state in ('active', 'complete')", "one.state = 'active'", "other_owners")],
        restored_what_another_means,
        "undone late",
    ),
    Mutant(
        "a pending cancellation is put in force without the lock",
        [
            Mutation(
                "  if not secateur.try_lock_app(rule.app_id, '50 ms') then\n    return false;\n  end if;\n",
                "",
                "confirm_cancellation",
            )
        ],
        confirmed_while_a_claim_is_open,
    ),
    Mutant(
        "a commit says that it is in force when it is pending",
        [Mutation("case when held then moment end", "moment", "commit_draft")],
        confirmed_while_a_claim_is_open,
    ),
    Mutant(
        "putting in force asks nobody to stop",
        [Mutation("    perform secateur.request_running(pending);\n", "", "put_in_force")],
        confirmed_while_a_claim_is_open,
    ),
    Mutant(
        "a single run is cancelled without the lock",
        [Mutation("  if not secateur.share_app(cancel_run.app_id) then\n", "  if false then\n", "cancel_run")],
        meeting("cancel_waiting", "cancel_run", "owner known", "stop"),
        "committed",
    ),
    Mutant(
        "pause does not take the lock",
        [Mutation("  held := secateur.try_lock_app(pause.app_id, '4.5 seconds');\n", "  held := true;\n", "pause")],
        meeting("claim", "complete_and_claim", "surveyed", "pause"),
    ),
    Mutant(
        "fail ignores the claim's token",
        [Mutation(" and run.claim_token = fail.claim_token", "", "fail")],
        dead_worker_comes_back,
    ),
    Mutant(
        "heartbeat ignores the claim's token",
        [Mutation(f"and {TOKENS}", "", "heartbeat")],
        dead_worker_comes_back,
    ),
    Mutant(
        "release ignores the claim's token",
        [Mutation(f"and {TOKENS}", "", "release")],
        dead_worker_comes_back,
    ),
    Mutant(
        "enqueue takes its time before its transaction's id",
        [
            Mutation("  perform pg_current_xact_id();\n", "  entered := clock_timestamp();\n", "enter_runs"),
            Mutation("  -- point: id taken\n  entered := clock_timestamp();\n", "  -- point: id taken\n", "enter_runs"),
        ],
        enqueue_takes_its_time,
    ),
    Mutant(
        "floors are raised past what waits",
        [Mutation("least(coalesce(lowest.id, newest), newest)", "newest", "raise_floors")],
        claims_find_all,
    ),
    Mutant(
        "who queues runs does not note their function",
        [
            Mutation(
                "    perform secateur.note_due(enter_runs.app_id, enter_runs.function_id, due_at);\n",
                "    null;\n",
                "enter_runs",
            )
        ],
        what_is_queued_is_on_the_list,
    ),
    Mutant(
        "a function that is marked counts as noted",
        [Mutation("                    and noted.empty_since is null\n", "", "note_due")],
        what_is_queued_is_on_the_list,
    ),
    Mutant(
        "a search takes functions off the list that are not marked",
        [
            Mutation(
                "(noted.empty_since < begun - interval '900 ms' or",
                "((noted.function_id in (select unnest(ready))) is not true or",
                "search_due",
            )
        ],
        what_is_queued_is_on_the_list,
    ),
    Mutant(
        "a search believes the list",
        [
            Mutation(
                "   where not exists (select from secateur.due_functions as noted\n",
                "   where false and not exists (select from secateur.due_functions as noted\n",
                "search_due",
            )
        ],
        what_is_queued_is_on_the_list,
    ),
    Mutant(
        "what falls due is not looked into",
        [Mutation("  here := seen;\n", "  here := '{}';\n", "find_due")],
        what_is_queued_is_on_the_list,
    ),
    Mutant(
        "who queues runs holds nothing while its transaction is open",
        [Mutation(f"known := {SHARED};\n", "known := true;\n", "wake")],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "who queues runs looks first whether the app is idle",
        [
            Mutation(f"known := {SHARED};\n", f"known := not {IDLE};\n", "wake"),
            Mutation("if current and known then\n", f"if current and (not known or {SHARED}) then\n", "wake"),
            Mutation(f"    if {IDLE} is not true then\n", "    if known then\n", "wake"),
        ],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "who queues runs while a claim is marking the app as idle tells nobody",
        [Mutation("if current and known then\n", "if current then\n", "wake")],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "who queues runs trusts an old snapshot",
        [
            Mutation(
                "current_setting('transaction_isolation') in ('read committed', 'read uncommitted')", "true", "wake"
            )
        ],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "a claim that finds nothing does not ask who is queueing",
        [Mutation("pg_try_advisory_xact_lock(1396917317, hashtext(mark_idle.app_id))", "true", "mark_idle")],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "a claim does not look again after it has marked the app as idle",
        [Mutation("    share := null;\n  end loop;\n", "    exit;\n  end loop;\n", "complete_and_claim")],
        whoever_queues_is_found_or_tells,
    ),
    Mutant(
        "flush does not wait for the disk",
        [Mutation("  perform pg_logical_emit_message(true, 'secateur', ''::text);\n", "", "flush")],
        claimed_before_it_is_on_disk,
    ),
    Mutant(
        "a worker's claim does not wait for the disk",
        [
            Mutation(
                "    perform pg_catalog.pg_logical_emit_message(true, 'secateur', ''::pg_catalog.text);\n",
                "    null;\n",
                "claim_and_flush",
            )
        ],
        claimed_before_it_is_on_disk,
    ),
    Mutant(
        "flush says of every claim that it stands",
        [Mutation("\n             and flush.claim_token in (run.claim_token, run.last_token)", "", "flush")],
        claimed_before_it_is_on_disk,
    ),
    Mutant(
        "due floors are raised past what is due",
        [Mutation("coalesce(first.at, newest)", "newest", "raise_due_floors")],
        what_is_due_is_found,
    ),
    Mutant(
        "due floors are raised past what another holds",
        [Mutation("     limit 1;\n", "     limit 1 for update skip locked;\n", "raise_due_floors")],
        what_is_due_is_found,
    ),
    Mutant(
        "nobody looks below a due floor",
        [Mutation("coalesce(first_at, one.floor_at)", "one.floor_at", "walk_below_due")],
        what_is_due_is_found,
    ),
    Mutant(
        "an undo does not lower the due floor",
        [Mutation("  perform secateur.lower_due_floors(lower_floors.app_id, run_ids);\n", "", "lower_floors")],
        what_is_due_is_found,
    ),
    Mutant(
        "the floor of leases is raised past those that have ended",
        [Mutation("coalesce(first, newest)", "newest", "raise_lease_floor")],
        leases_that_end_are_seen,
    ),
    Mutant(
        "looking ahead raises the floor past runs that others hold",
        [Mutation("coalesce(missed, place)", "place", "look_ahead")],
        run_behind_the_matches_is_held,
        "committed",
    ),
    Mutant(
        "prune takes runs whose requests are open",
        [
            Mutation(
                "       and not exists (select from secateur.cancel_requests as open\n"
                "                        where open.app_id = lock_finished.app_id and open.run_id = run.id\n"
                "                          and coalesce(open.outcome, '') = ''\n"
                "                       offset 0)\n",
                "",
                "lock_finished",
            )
        ],
        prune_after_a_completion_in_a_commit,
    ),
    Mutant(
        "the sweep waits for a run that is pruned",
        [Mutation("left join lateral", "join lateral", "settle_requests")],
        pruned_within_a_commit,
    ),
    Mutant(
        "prune does not hold the record against an undo",
        [Mutation("       for update skip locked\n  loop", "  loop", "prune_cancelled")],
        undo_at_the_last_moment,
        "ended",
    ),
    Mutant(
        "prune does not hold the record against a restore",
        [
            Mutation(
                "       for update skip locked\n  loop",
                "       for no key update skip locked\n  loop",
                "prune_cancelled",
            )
        ],
        handed_over_while_pruned,
        "undone late",
    ),
    Mutant(
        "prune takes what has yet to be restored",
        [
            Mutation("       and (rule.state <> 'undone' or rule.restored_at is not null)\n", "", "prune_cancelled"),
            Mutation(
                "greatest(rule.completed_at, rule.stopped_at, rule.restored_at)",
                "greatest(rule.completed_at, rule.stopped_at, rule.undone_at)",
                "prune_cancelled",
                times=2,
            ),
        ],
        prune_before_the_restore,
        "undone",
    ),
    Mutant(
        "claims ignore limits",
        [Mutation("array_agg(known.limited)", "array_agg(false)", "survey")],
        one_at_a_time,
    ),
    Mutant(
        "two claims take the same slot",
        [Mutation("                      for update skip locked) as locked\n", ") as locked\n", "lock_slots")],
        one_at_a_time,
    ),
    Mutant(
        "an undecided run is claimed",
        [Mutation("run_ids := hit_runs || slow_runs;", "run_ids := hit_runs;", "hold_back")],
        a_waiting_run_is_undecided,
        "committed",
    ),
    Mutant(
        "an undecided run counts as one that does not match",
        [Mutation("slow.verdict, slow.verdict is null from", "slow.verdict, false from", "ask_conditions")],
        a_waiting_run_is_undecided,
        "committed",
    ),
    Mutant(
        "a cancellation is complete with runs undecided",
        [Mutation("and slow.verdict is not false)", "and false)", "awaits_runs")],
        a_waiting_run_is_undecided,
        "committed",
    ),
    Mutant(
        "an undecided run begins its next step",
        [
            Mutation(
                "  if secateur.is_undecided(begin_step.app_id, begin_step.run_id) then", "  if false then", "begin_step"
            )
        ],
        a_running_run_is_undecided,
    ),
    Mutant(
        "a run that goes back to the backlog is forgotten",
        [
            Mutation("  place.clean := place.clean and requeued = 0;\n", "", "begin_pass"),
            Mutation("  place.found := place.found + requeued;\n", "", "begin_pass"),
        ],
        retry_slips_past_the_sweep,
    ),
    Mutant(
        "a retry takes no lock",
        [Mutation("  perform secateur.share_app(app);\n", "", "retry_batch")],
        cancelled_while_it_is_retried,
    ),
    Mutant(
        "a retry queues what an active cancellation means",
        [Mutation("except select unnest(barred)", "", "retry_batch")],
        retried_while_it_is_cancelled,
    ),
]


async def play(url: str, mutant: Mutant) -> None:
    stage = Stage(url)
    try:
        async with stage.scene(mutant.situation) as here:
            await mutant.scenario(here)
            await here.settle()
            await here.verify()
    finally:
        stage.close()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_is_noticed(own_arena_url: str, mutant: Mutant) -> None:
    await build_in(own_arena_url, mutant.mutations)
    with pytest.raises(GuaranteeBroken):
        await play(own_arena_url, mutant)


SCENARIOS = {(mutant.scenario.__name__, mutant.situation): mutant for mutant in MUTANTS}


@pytest.mark.parametrize(
    "mutant",
    [mutant for (name, _), mutant in SCENARIOS.items() if " at " not in name],  # those are among the interleavings
    ids=lambda mutant: f"{mutant.situation}: {mutant.scenario.__name__}",
)
async def test_its_scenario_passes_without_it(embedded_arena_url: str, mutant: Mutant) -> None:
    await play(embedded_arena_url, mutant)
