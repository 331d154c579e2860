"""Claims, completes and enqueues ten runs at a time, so that the backlog stays as it is, until its input ends.

python run_load.py URL      -> {"ready": true} after the first turn, then {"done": n} every second
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import asyncpg
from protocol import EVENT, say

BATCH = 10

CLAIM = "select id, claim_token from secateur.claim('bench', null, $1, 'load', interval '1 minute')"
COMPLETE = "select count(*) from secateur.complete_runs('bench', $1, $2)"
ENQUEUE = "select count(*) from secateur.enqueue_many('bench', $1, $2::jsonb[])"


async def main(url: str) -> None:
    connection = await asyncpg.connect(url)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.readline)
    turns, due = 0, 0.0
    while not ended.done():
        held = await connection.fetch(CLAIM, BATCH)
        await connection.fetch(COMPLETE, [run["id"] for run in held], [run["claim_token"] for run in held])
        await connection.fetch(ENQUEUE, f"f{turns % 3}", [json.dumps(EVENT)] * len(held))
        turns += 1
        if turns == 1:
            say(ready=True)
        if time.monotonic() > due:
            due = time.monotonic() + 1
            say(done=turns * BATCH)
    await connection.close()


asyncio.run(main(sys.argv[1]))
