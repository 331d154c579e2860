"""The files that make the schema, but for the numbered ones, in the order in which they are applied."""

from __future__ import annotations

TABLES = {
    "ledger": ("ledger.sql", "foreign.sql", "proposals.sql", "alerts.sql"),
    "queue": ("queue.sql", "queue_depth.sql"),
}
"""The tables of each part as they are now. The first file tells whether a database has the part."""

OF_THE_LEDGER = (
    "cel/sql/cel_boxes.sql",
    "cel/sql/cel_comparisons.sql",
    "cel/sql/cel_containers.sql",
    "cel/sql/cel_arithmetic.sql",
    "cel/sql/cel_conversions.sql",
    "cel/sql/cel_macros.sql",
    "cel/sql/cel_strings.sql",
    "cel/sql/cel_zones.sql",
    "schema/roles.sql",
    "ledger/sql/audit.sql",
    "schema/bounds.sql",
    "ledger/sql/locks.sql",
    "ledger/sql/conditions.sql",
    "ledger/sql/records.sql",
    "ledger/sql/proposing.sql",
    "ledger/sql/committing.sql",
    "ledger/sql/sweeping.sql",
    "ledger/sql/progress.sql",
    "ledger/sql/undoing.sql",
    "ledger/sql/reporting.sql",
    "engines/foreign/sql/gate_functions.sql",
    "engines/foreign/sql/gates.sql",
    "engines/foreign/sql/installations.sql",
    "engines/foreign/sql/slow_jobs.sql",
    "engines/foreign/sql/jobs.sql",
    "engines/foreign/sql/job_restores.sql",
    "tokens/sql/tokens.sql",
    "watch/sql/watching.sql",
)
"""What secateur needs to cancel in any queue: the expression language, the records, the audit, tokens, the watch."""

OF_THE_QUEUE = (
    "engines/native/sql/apps.sql",
    "engines/native/sql/attempts.sql",
    "engines/native/sql/slots.sql",
    "engines/native/sql/levels.sql",
    "engines/native/sql/due_floors.sql",
    "engines/native/sql/due.sql",
    "engines/native/sql/reaching.sql",
    "engines/native/sql/cancelling.sql",
    "engines/native/sql/enqueueing.sql",
    "engines/native/sql/keys.sql",
    "engines/native/sql/bulk.sql",
    "engines/native/sql/declaring.sql",
    "engines/native/sql/events.sql",
    "engines/native/sql/finding.sql",
    "engines/native/sql/surveying.sql",
    "engines/native/sql/claiming.sql",
    "engines/native/sql/flushing.sql",
    "engines/native/sql/performing.sql",
    "engines/native/sql/ending.sql",
    "engines/native/sql/committing_runs.sql",
    "engines/native/sql/single_runs.sql",
    "engines/native/sql/retrying.sql",
    "engines/native/sql/settling.sql",
    "engines/native/sql/walking.sql",
    "engines/native/sql/budgets.sql",
    "engines/native/sql/sweeping_runs.sql",
    "engines/native/sql/restoring.sql",
    "engines/native/sql/undoing_runs.sql",
    "engines/native/sql/undecided_runs.sql",
    "engines/native/sql/forgetting.sql",
    "engines/native/sql/history.sql",
    "engines/native/sql/depth.sql",
    "engines/native/sql/pruning.sql",
    "watch/sql/guarding.sql",
)
"""What secateur's own queue needs besides. It may replace a view of the ledger."""

LAST = (
    "schema/pins.sql",
    "schema/rights.sql",
)
"""Over everything that there is."""

DEFINITIONS = (*OF_THE_LEDGER, *OF_THE_QUEUE, *LAST)
"""Files that define functions, views and rights, in the order in which they need each other."""
