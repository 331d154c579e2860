"""The roles that `secateur install` creates, as logins of the tests."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

ROLES = ("secateur_viewer", "secateur_worker", "secateur_operator")
LOGINS = {role: f"a_{role.removeprefix('secateur_')}" for role in ROLES}
NOBODY = "a_stranger"
"""May log in, and is in none of the roles: what PUBLIC may."""

FLOOD = {"app_id": "billing", "function_id": "sync", "if": "event.data.vendor_id == 'acme'"}


def url_of(role: str, url: str) -> str:
    """The database for the login in that role."""
    assert "postgres@" in url
    return url.replace("postgres@", f"{LOGINS.get(role, role)}@")


def events(*vendors: str) -> list[dict[str, Any]]:
    return [{"name": "sync", "data": {"vendor_id": vendor}} for vendor in vendors]


async def refused(connection: asyncpg.Connection, sql: str) -> None:
    """By the want of a right, and nothing else; a statement that is not refused is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(sql)
            pytest.fail(f"not refused: {sql}")
    finally:
        await transaction.rollback()
