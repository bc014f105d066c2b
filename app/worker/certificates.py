"""The certificate that a program of ours shows: read from its files, with a sentence for each that cannot be used."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple


class CertificateError(Exception):
    """A certificate cannot be shown; the message is a sentence that names the setting and the file."""


class Names(NamedTuple):
    """The settings that name the files, and the password of the key where one can be given."""

    certificate: str
    key: str
    password: str | None = None


class Shown(NamedTuple):
    """A certificate (PEM), its key where that is not in the same file, and the key's password."""

    certificate: Path
    key: Path | None
    names: Names
    password: str | None = None


def show(context: ssl.SSLContext, shown: Shown) -> None:
    """Let a context show a certificate from its next connection on. Raises CertificateError, also where the certificate
    does not hold now.
    """
    certificate, key, names, given = shown
    _check_certificate(certificate, names.certificate)
    if key is not None:
        _read(key, names.key)
    holder = f"{names.certificate}: {certificate}" if key is None else f"{names.key}: {key}"
    asked = []

    def password() -> str:  # without it OpenSSL would ask at the terminal
        asked.append(True)
        return given or ""

    try:
        context.load_cert_chain(certificate, key, password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            what = f"is not the key of {names.certificate}={certificate}" if key else "holds another's key"
        elif asked and names.password is None:
            what = "holds a key with a password: only a key without one can be used"
        elif asked and given is None:
            what = f"holds a key with a password: set {names.password}"
        elif asked:
            what = f"holds a key that {names.password} does not open"
        elif key is None:
            what = f"holds no key: name its file in {names.key}"
        else:
            what = "holds no key in PEM"
        raise CertificateError(f"{holder} {what}.") from None


def _check_certificate(file: Path, setting: str) -> None:
    """See that a file begins with a certificate that holds now."""
    _read(file, setting)
    try:
        # Python reads a certificate's times nowhere else unless it is a peer's.
        certificate = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
    except ssl.SSLError:
        raise CertificateError(f"{setting}: {file} holds no certificate in PEM.") from None
    begins, ends = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    if time.time() > ends:
        raise CertificateError(f"{setting}: {file} has expired, {_day(ends)}: renew it, then start again.")
    if time.time() < begins:
        raise CertificateError(f"{setting}: {file} is not valid before {_day(begins)}: is this machine's clock right?")


def _read(file: Path, setting: str) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{setting}: {file} cannot be read ({reason_of(error)}).") from None


def reason_of(error: OSError) -> str:
    """Why a file cannot be used: the system's word, or OpenSSL's."""
    return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
