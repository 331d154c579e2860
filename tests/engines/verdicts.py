"""What a gate finds out about a job, without the gate."""

from __future__ import annotations

from secateur.postgres.statements import Statements, fill

_, _, _MATCH = Statements.load("secateur.engines.foreign", "gate.sql")["match_by_columns"].partition("gate_owner := ")


def verdict(number: int, known: str, job: str) -> str:
    """The expression by which a gate judges a job of these values, for a claim that has read `known`. All are SQL."""
    filled = fill(_MATCH, {"n": str(number), "columns": "{job}"})
    return filled.replace("{job}, null", job).replace("gate_known", known)
