"""Posts messages: to a webhook, or to a program. What it raises and logs never contains a URL, nor what was posted."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from secateur import __version__
from secateur.errors import SettingsError
from secateur.watch.forms import MessageForm
from secateur.watch.slack import slack_form
from secateur.watch_settings import TargetKind, WatchTarget, is_web_address

# They would log each URL, which is a secret.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

HEADERS = {"User-Agent": f"secateur/{__version__}"}


class NotPosted(Exception):
    """Why a message could not be posted; `retry_after` is what the receiver asks for, in seconds."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Poster:
    """Posts to the targets of one configuration."""

    def __init__(self, targets: Mapping[str, WatchTarget], environment: Mapping[str, str]) -> None:
        """Raises `SettingsError` for a URL that the environment does not have."""
        self._targets = dict(targets)
        self._trusted: ssl.SSLContext | None = None
        self._urls = {name: _url(name, each, environment) for name, each in self._targets.items()}

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        """Raises `NotPosted`."""
        target = self._targets[name]
        # The database keeps the fields of an object in an order of its own.
        known = [each for each in MessageForm.model_fields if each in message]
        message = {each: message[each] for each in dict.fromkeys([*known, *message])}
        try:
            async with asyncio.timeout(target.timeout_seconds):
                if target.kind is TargetKind.COMMAND:
                    await _run(target.command or [], message)
                else:
                    await self._send(name, target, message)
        except TimeoutError:
            raise NotPosted(f"it did not answer within {target.timeout_seconds:g} s") from None

    async def _send(self, name: str, target: WatchTarget, message: Mapping[str, Any]) -> None:
        try:
            body = slack_form(message) if target.kind is TargetKind.SLACK else message
        except (KeyError, TypeError, AttributeError):
            raise NotPosted("this is no message that this version can read") from None
        # By the key a receiver can tell a message that it gets again, because this process died before it noted it.
        headers = HEADERS | {"Idempotency-Key": str(message.get("id", ""))}
        try:
            if self._trusted is None:  # reading the certificates of all authorities takes a while
                self._trusted = await asyncio.to_thread(httpx.create_ssl_context)
            async with (
                httpx.AsyncClient(verify=self._trusted, timeout=target.timeout_seconds, headers=headers) as client,
                client.stream("POST", self._urls[name], json=body) as response,
            ):
                _check(response)
        except httpx.TimeoutException:
            raise NotPosted(f"it did not answer within {target.timeout_seconds:g} s") from None
        except httpx.ConnectError as error:
            refused = "CERTIFICATE" in str(error)
            raise NotPosted("its certificate is not trusted" if refused else "it cannot be reached") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            # Not the error's own text, which may have the URL.
            raise NotPosted(f"it failed ({type(error).__name__})") from None


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    said = f"it answered {response.status_code}"
    if response.is_redirect:
        raise NotPosted(f"{said}, a redirect: configure the address that it leads to")
    after = response.headers.get("Retry-After", "")
    raise NotPosted(said, float(after) if after.isascii() and after.isdecimal() and len(after) < 7 else None)


async def _run(command: list[str], message: Mapping[str, Any]) -> None:
    """Its output is nobody's business; its exit code says whether it worked."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise NotPosted(f"it cannot be started ({type(error).__name__})") from None
    try:
        await process.communicate(json.dumps(message).encode())
    finally:
        if process.returncode is None:
            # Also what it has started itself.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise NotPosted(f"it ended with exit code {process.returncode}")


def _url(name: str, target: WatchTarget, environment: Mapping[str, str]) -> str:
    if target.kind is TargetKind.COMMAND:
        return ""
    if target.url is not None:
        return target.url
    variable = target.url_from or ""
    found = environment.get(variable, "")
    if not is_web_address(found):
        problem = "does not contain a URL" if found else "is not set"
        raise SettingsError(f"`watch.targets.{name}.url_from`: the environment variable {variable} {problem}")
    return found
