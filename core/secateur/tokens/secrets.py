"""The text of a token: `secateur_ID_SECRET`.

The id is public: it finds the token's row. The secret is 256 random bits; the database keeps only its SHA-256, which
is enough, since nobody can try out that many. A known prefix lets scanners find tokens in places where none belongs.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

_TEXT = re.compile(r"secateur_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a token's text says."""

    token_id: str
    secret_hash: str = field(repr=False)
    """SHA-256 of the secret, as hexadecimal digits."""
    proof: str = field(repr=False)
    """What shows a database that somebody has this token, and is none: it opens no server."""

    @property
    def proof_hash(self) -> str:
        """What the database keeps of the proof."""
        return _sha256(self.proof)


def new_token() -> str:
    """A token that nobody has had before."""
    return f"secateur_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def read_token(text: str) -> Credential | None:
    """None if it is not the text of a token."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    return Credential(found["id"], _sha256(found["secret"]), proof=_sha256(f"proof of {found['secret']}"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
