"""Removes passwords from messages: any text that was put in the wrong place may be a database URL."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"(?is)((?<![\w/])postgres\w*[+\w]*:|postgres\w*[+\w]*:(?!\s)|\w+://(?=.*@)).*")
"""Matches to the end of the text: a password may contain anything, even what looks like the end of a URL.

`pg-3/postgres: the reason` is not a URL.
"""
_PARAMETER = re.compile(r"(?is)(\w*pass(?:word|phrase|wd)\w*)[\"']?\s*[=:]\s*\S.*")
_LOGIN = re.compile(r"[^\s'\"`]*:[^\s'\"`]*@[^\s'\"`]*")


URL_SHAPE = "a database URL must start with postgresql://, as in postgresql://user@host/database"
"""A text that contains a URL and is never redacted."""

_kept = [URL_SHAPE]
_HOSTS = re.compile(r"(?:(?:\[[^\]@]*\]|[^:@\[\]]*)(?::\d*)?(?:,|$))*")


def keep(url: str | None) -> None:
    """Allow this URL, which has no password, in messages; it replaces the previous one."""
    _kept[1:] = [] if url is None else [url]


def redact(text: str) -> str:
    """The text without URLs, logins such as `ada:secret@host`, and values of parameters named like a password."""
    kept = re.split("(?<![^\\s'`])(" + "|".join(map(re.escape, _kept)) + ")(?![^\\s'`])", text)
    return "".join(part if place % 2 else _redacted(part) for place, part in enumerate(kept))


def _redacted(text: str) -> str:
    return _LOGIN.sub("…", _PARAMETER.sub(r"\1=…", _URL.sub(r"\1…", text)))


def without_password(url: str) -> str:
    """The database URL without its passwords; `URL` if it might still contain one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "URL"
    login, at, hosts = parts.netloc.rpartition("@")
    rest = parts.path + parts.query + parts.fragment
    if not parts.scheme.startswith("postgres") or "@" in rest or parts.fragment or not _HOSTS.fullmatch(hosts):
        return "URL"
    query = "&".join(one for one in parts.query.split("&") if not _names_a_password(one))
    # Without a host, urlunsplit would leave out the slashes.
    return f"{parts.scheme}://{login.partition(':')[0]}{at}{hosts}{parts.path}{'?' + query if query else ''}"


def _names_a_password(parameter: str) -> bool:
    return unquote(parameter).partition("=")[0].strip().lower() in {"password", "sslpassword"}


def quoted(text: str) -> str:
    """A name as it was given, quoted and redacted, for a message that says what is wrong with it."""
    return repr(redact(text))
