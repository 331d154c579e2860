"""A token in JSON."""

from __future__ import annotations

from secateur.forms import Instant, JsonForm


class TokenForm(JsonForm):
    token_id: str
    """The public half of its text."""
    name: str
    scope: str
    """`viewer` or `operator`."""
    state: str
    """`valid`, `expired` or `revoked`."""
    created_at: Instant
    created_by: str
    """The author, as claimed by the client, not verified."""
    created_role: str
    """The database role that created it, which is proven."""
    expires_at: Instant | None
    revoked_at: Instant | None
    revoked_by: str | None
    last_used_at: Instant | None
    """To the minute."""
