"""A console as a process of its own: `python console_process.py DATABASE_URL`, in whatever terminal it finds."""

from __future__ import annotations

import asyncio
import os
import sys

from secateur.engines.native.engine import NativeEngine
from secateur.errors import SecateurError
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur_tui.running import run_console
from secateur_tui.session import Session


async def main(url: str) -> int:
    async with Database.connect(url) as database:
        return await run_console(
            Session(
                database=database,
                queue=OpenQueue.over(NativeEngine(database)),
                author="nadia",
                refresh_seconds=float(os.environ.get("SECATEUR_REFRESH_SECONDS", "0.2")),
            ),
            theme=os.environ.get("SECATEUR_THEME"),
        )


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1])))
    except SecateurError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
