"""django-tasks-db, from PyPI: Django's migrations make its table, its backend enqueues, its command `db_worker` works.

Django has one configuration a process, so that a bed asks it in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.processes import Api, Job, python_environment, worker_process

PACKAGES = {"django": "django", "django_tasks_db": "django-tasks-db", "psycopg": "psycopg"}


class DjangoTasks(Bed):
    engine: ClassVar[str] = "django-tasks-db"
    missing: ClassVar[str | None] = next(
        (f"the package {package} is not installed" for module, package in PACKAGES.items() if not find_spec(module)),
        None,
    )
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    path: ClassVar[str] = "beds.django_tasks_db."
    cancelled_as: ClassVar[str] = "scheduled"
    tables: ClassVar[tuple[str, ...]] = ("django_tasks_database_dbtaskresult",)
    has_keys: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {**python_environment(), "BED_URL": url, "BED_SCHEMA": self.schema}
        self.api = Api([sys.executable, "-m", __name__, "answer"], self.environment)

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.execute(f"create schema if not exists {quoted(self.schema)}")
        await connection.close()
        await self.api.call("install")

    async def enqueue(
        self,
        payloads: Sequence[dict[str, Any]],
        *,
        task: str = "sync",
        queue: str = "default",
        priority: int = 0,
        delay: timedelta | None = None,
        key: str | None = None,
    ) -> list[str]:
        seconds = None if delay is None else delay.total_seconds()
        ids: list[str] = await self.api.call(
            "enqueue", task=task, payloads=payloads, queue_name=queue, priority=priority, seconds=seconds
        )
        return ids

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, "work", queue, environment=self.environment)

    async def state(self, run_id: str) -> str | None:
        state: str | None = await self.api.call("state", run=run_id)
        return state

    async def cancel(self, run_id: str) -> None:
        """There is no such thing."""


class DjangoTasksElsewhere(DjangoTasks):
    schema: ClassVar[str] = "Back office"


BEDS = (DjangoTasks, DjangoTasksElsewhere)


def configure() -> None:
    import django
    from django.conf import settings
    from psycopg.conninfo import conninfo_to_dict

    given = conninfo_to_dict(os.environ["BED_URL"])
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=["django_tasks_db"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": given["dbname"],
                "USER": given.get("user", ""),
                "HOST": given.get("host", ""),
                "PORT": given.get("port", ""),
                "OPTIONS": {"options": f"-c search_path={_escaped(os.environ['BED_SCHEMA'])}"},
            }
        },
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}},
    )
    django.setup()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _escaped(schema: str) -> str:
    """The quoted schema, as libpq's `options` takes it."""
    return quoted(schema).replace("\\", "\\\\").replace(" ", "\\ ")


def sync(**payload: Any) -> None:
    asyncio.run(Job(os.environ["BED_URL"]).run(payload))


def mail(**payload: Any) -> None:
    asyncio.run(Job(os.environ["BED_URL"]).run(payload))


def install() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(task: str, payloads: list[dict[str, Any]], seconds: float | None, **options: Any) -> list[str]:
    from beds import django_tasks_db as tasks

    if seconds is not None:
        options["run_after"] = datetime.now(UTC) + timedelta(seconds=seconds)
    using = getattr(tasks, task).using(**options)
    return [using.enqueue(**payload).id for payload in payloads]


def state(run: str) -> str | None:
    from django_tasks_db.compat import TaskResultDoesNotExist, task_backends

    try:
        return str(task_backends["default"].get_result(run).status.name)
    except TaskResultDoesNotExist:
        return None


def answer() -> None:
    functions = {"install": install, "enqueue": enqueue, "state": state}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answered = {"value": functions[request.pop("what")](**request)}
        except Exception as error:
            answered = {"error": repr(error)}
        print(json.dumps(answered), flush=True)


if __name__ == "__main__":
    configure()
    if sys.argv[1] == "work":
        from django.core.management import call_command

        call_command("db_worker", "--interval=0.1", "--no-startup-delay", f"--queue-name={sys.argv[2]}")
    else:
        answer()
elif DjangoTasks.missing is None:
    from django.conf import settings

    if settings.configured:
        if find_spec("django.tasks"):
            from django.tasks import task
        else:
            from django_tasks import task
        sync, mail = task()(sync), task()(mail)
