"""Keeps other sites' web pages away from a server that listens on loopback and needs no token.

A web page can make its visitor's browser send requests here. It cannot hide where it comes from: a domain of its own
that resolves to 127.0.0.1 shows in `Host`, a cross-site request carries its `Origin`, and the browser itself says in
`Sec-Fetch-Site` which site sent the request.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

READING = frozenset({"GET", "HEAD"})
"""Methods that change nothing. Other sites may link to them, but cannot read the answer."""

OWN_SITES = frozenset({"same-origin", "none"})
"""Accepted values of `Sec-Fetch-Site`: our own site, and a person who typed the address."""


def why_ambiguous(headers: Headers) -> str | None:
    """Why proxies and this server may disagree on where the request ends."""
    if "content-length" in headers and "transfer-encoding" in headers:
        return "Content-Length and Transfer-Encoding must not be sent together"
    return None


def why_foreign(headers: Headers, method: str) -> str | None:
    """Why the request is refused; None for a request from this machine itself."""
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    # Any port: it may be forwarded, as by `ssh -L`.
    if len(hosts) != 1 or _name(hosts[0]) not in LOOPBACK_NAMES:
        return "this server answers only to 127.0.0.1 and localhost"
    if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
        return "this server does not answer to web pages of other sites"
    if method not in READING and not OWN_SITES.issuperset(headers.getlist("sec-fetch-site")):
        return "this server accepts no changes from web pages of other sites"
    return None


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
