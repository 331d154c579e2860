"""TLS: checks the certificates for a connection first, because the driver's own errors do not name the cause."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from secateur.errors import SettingsError

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SYSTEM = "system"
"""The value of `sslrootcert` for the authorities that the machine trusts."""

Parameter = Callable[[str], str | None]
"""Gets a parameter by libpq's name, from the URL, the service or the environment."""


def prepare_encryption(parameter: Parameter) -> ssl.SSLContext | None:
    """The context for `sslrootcert=system`; None for anything else, for which the driver creates one.

    Raises `SettingsError` for an unknown mode, and for a file that is missing or not a certificate.
    """
    mode = parameter("sslmode")
    if mode and mode not in MODES:
        raise SettingsError(f"sslmode must be one of {', '.join(MODES)}")
    root = parameter("sslrootcert")
    if root == SYSTEM:
        return _trusting_the_system(mode, parameter)
    if mode == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if mode in {"require", "verify-ca", "verify-full"}:
        _load_authorities(context, "sslrootcert", root)
        _load_authorities(context, "sslcrl", parameter("sslcrl"))
        if not root and mode != "require":
            default = _home_file("root.crt")
            if default is None or not default.is_file():
                raise SettingsError(
                    f"sslmode={mode} needs the certificate of the authority that signed the server's: give "
                    f"sslrootcert=FILE, or sslrootcert={SYSTEM} for the authorities that this machine trusts "
                    "(there is no ~/.postgresql/root.crt)"
                )
    _load_own(context, parameter)
    return None


def _trusting_the_system(mode: str | None, parameter: Parameter) -> ssl.SSLContext:
    if mode not in {None, "", "verify-full"}:
        raise SettingsError(
            f"sslrootcert={SYSTEM} needs sslmode=verify-full: a public authority gives a certificate to anybody"
        )
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])
    _load_own(context, parameter)
    return context


def _load_authorities(context: ssl.SSLContext, name: str, path: str | None) -> None:
    if path:
        _require_file(name, path)
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(f"{name}: {path} is not a certificate in PEM form ({_reason(error)})") from None


def _load_own(context: ssl.SSLContext, parameter: Parameter) -> None:
    certificate, key = parameter("sslcert"), parameter("sslkey")
    if not certificate:
        default = _home_file("postgresql.crt")
        if default is None or not default.is_file():
            return
        certificate = str(default)
    _require_file("sslcert", certificate)
    if key:
        _require_file("sslkey", key)
    else:
        default = _home_file("postgresql.key")
        key = str(default) if default is not None and default.is_file() else None
    password = parameter("sslpassword") or ""
    try:
        context.load_cert_chain(certificate, key, password=lambda: password)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"sslcert: {certificate} and its key {key or '(in the same file)'} cannot be used: they are not in PEM "
            f"form, do not belong together, or sslpassword is not the key's password ({_reason(error)})"
        ) from None


def _require_file(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror or error}") from None


def _home_file(name: str) -> Path | None:
    try:
        return Path.home() / ".postgresql" / name
    except RuntimeError:
        return None


def _reason(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or "no reason given"
