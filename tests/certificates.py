"""Certificates for tests, made with OpenSSL's command."""

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
PASSWORD = "sesame"  # noqa: S105 - no real one


class Certificates(NamedTuple):
    """Files: a CA, one that signed nothing, and what the CA signed (key and certificate in one).

    `key` and `certificate` are those of `good`, `locked` is the key with `PASSWORD`.
    """

    ca: Path
    another_ca: Path
    good: Path
    expired: Path
    of_another_name: Path
    certificate: Path
    key: Path
    locked: Path


def make(folder: Path) -> Certificates:
    """All of them, in this folder."""
    ca, another = _authority(folder, "ca"), _authority(folder, "another-ca")
    good, expired = (_signed(folder, name, "IP:127.0.0.1", days) for name, days in (("good", 2), ("expired", -1)))
    other = _signed(folder, "other", "DNS:kafka.example", 2)
    key, locked = folder / "good.key", folder / "locked.key"
    _openssl("pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", f"pass:{PASSWORD}")
    return Certificates(ca, another, good, expired, other, folder / "good.crt", key, locked)


@contextlib.contextmanager
def showing(context: ssl.SSLContext) -> Iterator[str]:
    """Whatever does TLS as this context says and then nothing; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    connection.settimeout(2)
                    with connection, context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _authority(folder: Path, name: str) -> Path:
    file = folder / f"{name}.pem"
    _openssl(
        "req", "-x509", *_CURVE, "-keyout", folder / f"{name}.key", "-out", file, "-subj", f"/CN={name}",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    return file


def _signed(folder: Path, name: str, host: str, days: int) -> Path:
    key, asked, signed, more = (folder / f"{name}.{ending}" for ending in ("key", "csr", "crt", "ext"))
    more.write_text(f"subjectAltName={host}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
    _openssl("req", *_CURVE, "-keyout", key, "-out", asked, "-subj", f"/CN={name}")
    _openssl(
        "x509", "-req", "-in", asked, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
        "-days", str(days), "-extfile", more, "-out", signed,
    )  # fmt: skip
    both = folder / f"{name}.pem"
    both.write_text(key.read_text() + signed.read_text())
    return both
