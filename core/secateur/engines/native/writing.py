"""What the writing parts of the native engine share."""

from __future__ import annotations

from secateur.errors import ReadOnly
from secateur.postgres.database import Database


class Writing:
    """Writes only through the database's functions."""

    _database: Database

    def _refuse_if_read_only(self) -> None:
        if self._database.read_only:
            raise ReadOnly("this session is read-only: it cannot cancel, stop or sweep")
