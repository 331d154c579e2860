"""Messages without passwords: whatever text somebody has put in the wrong place may be the URL of a database."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"(?is)((?<![\w/])postgres\w*[+\w]*:|postgres\w*[+\w]*:(?!\s)|\w+://(?=.*@)).*")
"""To the text's end: a password may contain anything, also what looks like the end of a URL.

`pg-3/postgres: the reason` is no URL.
"""
_PARAMETER = re.compile(r"(?is)(\w*pass(?:word|phrase|wd)\w*)[\"']?\s*[=:]\s*\S.*")
_LOGIN = re.compile(r"[^\s'\"`]*:[^\s'\"`]*@[^\s'\"`]*")


URL_SHAPE = "a database URL must start with postgresql://, as in postgresql://user@host/database"
"""A text with a URL in it that stays as it is."""

_kept = [URL_SHAPE]
_HOSTS = re.compile(r"(?:(?:\[[^\]@]*\]|[^:@\[\]]*)(?::\d*)?(?:,|$))*")


def keep(url: str | None) -> None:
    """Let this URL, which has no password, stay in messages; in the place of the one before."""
    _kept[1:] = [] if url is None else [url]


def redact(text: str) -> str:
    """The text without URLs, logins such as `ada:secret@host`, and values of parameters named like a password."""
    kept = re.split("(?<![^\\s'`])(" + "|".join(map(re.escape, _kept)) + ")(?![^\\s'`])", text)
    return "".join(part if place % 2 else _redacted(part) for place, part in enumerate(kept))


def _redacted(text: str) -> str:
    return _LOGIN.sub("…", _PARAMETER.sub(r"\1=…", _URL.sub(r"\1…", text)))


def without_password(url: str) -> str:
    """The URL of a database without its passwords; `URL` where one might still be in it."""
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
    """What somebody gave as a name, for a message that says what is wrong with it."""
    return repr(redact(text))
