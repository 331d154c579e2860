"""Messages without passwords: whatever text somebody has put in the wrong place may be the URL of a database."""

from __future__ import annotations

import re

_URL = re.compile(r"(?is)((?<![\w/])postgres\w*[+\w]*:|postgres\w*[+\w]*:(?!\s)|\w+://(?=.*@)).*")
"""To the text's end: a password may contain anything, also what looks like the end of a URL.

`pg-3/postgres: the reason` is no URL.
"""
_PARAMETER = re.compile(r"(?is)(\w*pass(?:word|phrase|wd)\w*)[\"']?\s*[=:]\s*\S.*")
_LOGIN = re.compile(r"[^\s'\"`]*:[^\s'\"`]*@[^\s'\"`]*")


URL_SHAPE = "a database URL must start with postgresql://, as in postgresql://user@host/database"
"""The only text with a URL in it that stays as it is."""


def redact(text: str) -> str:
    """The text without URLs, logins such as `ada:secret@host`, and values of parameters named like a password."""
    return URL_SHAPE.join(map(_redacted, text.split(URL_SHAPE)))


def _redacted(text: str) -> str:
    return _LOGIN.sub("…", _PARAMETER.sub(r"\1=…", _URL.sub(r"\1…", text)))


def quoted(text: str) -> str:
    """What somebody gave as a name, for a message that says what is wrong with it."""
    return repr(redact(text))
