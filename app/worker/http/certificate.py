"""The certificate that the port shows. It is read again when its files change, so that a renewal needs no restart."""

import ssl
from pathlib import Path
from typing import Final

from app.settings import Settings
from app.worker.certificates import CertificateError, Names, Shown, show
from app.worker.kafka.client import SetupError

_NAMES: Final = Names("TALLY_WEB_CERT_FILE", "TALLY_WEB_KEY_FILE")


class PortCertificate:
    """A certificate in force. Raises SetupError where it cannot be used at the start."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._shown = Shown(certificate, key, _NAMES)
        self._seen = self._state()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            show(self.context, self._shown)
        except CertificateError as error:
            raise SetupError(str(error)) from None

    def look(self) -> str | None:
        """Read changed files again, for connections from now on. Returns what is wrong with them, None where nothing
        is: then the certificate of before stays.
        """
        state = self._state()
        if state != self._seen:
            try:
                show(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self._shown)  # half a pair is not taken over
                show(self.context, self._shown)
            except CertificateError as error:
                return f"{error} The one before stays in force."
            self._seen = state
        return None

    def _state(self) -> list[tuple[int, int, int]]:
        """What tells whether a file is another one: a mounted Secret is a link that changes."""
        found = []
        for file in (self._shown.certificate, self._shown.key):
            try:
                stat = None if file is None else file.stat()
            except OSError:
                stat = None
            found.append((0, 0, 0) if stat is None else (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return found


def certificate_of(settings: Settings) -> PortCertificate | None:
    """What the port shows by the settings, None where it speaks plain HTTP."""
    if settings.web_cert_file is None:
        return None
    return PortCertificate(settings.web_cert_file, settings.web_key_file)
