"""TLS: a worker and commands reach a broker by it, and each fault names the setting, the certificate or the port."""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.live import servers
from tests.live.story import expected, traffic
from tests.live.test_cli import Tally
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, assert_counts, produce, topic_settings, wait_for

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificates(NamedTuple):
    """Files: a CA, one that signed nothing, and what the CA signed (key and certificate)."""

    ca: Path
    another_ca: Path
    good: Path
    expired: Path
    of_another_name: Path


def _openssl(*arguments: str | Path) -> None:
    program = servers.binary("openssl", package="openssl")
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True)


def _authority(folder: Path, name: str) -> Path:
    file = folder / f"{name}.pem"
    _openssl("req", "-x509", *_CURVE, "-keyout", folder / f"{name}.key", "-out", file, "-subj", f"/CN={name}")
    return file


def _signed(folder: Path, name: str, host: str, days: int) -> Path:
    key, asked, signed, more = (folder / f"{name}.{ending}" for ending in ("key", "csr", "crt", "ext"))
    more.write_text(f"subjectAltName={host}\n")
    _openssl("req", *_CURVE, "-keyout", key, "-out", asked, "-subj", f"/CN={name}")
    _openssl(
        "x509", "-req", "-in", asked, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
        "-days", str(days), "-extfile", more, "-out", signed,
    )  # fmt: skip
    both = folder / f"{name}.pem"
    both.write_text(key.read_text() + signed.read_text())
    return both


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca, another = _authority(folder, "ca"), _authority(folder, "another-ca")
    good, expired = (_signed(folder, name, "IP:127.0.0.1", days) for name, days in (("good", 2), ("expired", -1)))
    return Certificates(ca, another, good, expired, _signed(folder, "other", "DNS:kafka.example", 2))


@contextlib.contextmanager
def listener(certificate: Path) -> Iterator[str]:
    """Whatever shows this certificate and then says nothing; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server((servers.HOST, 0)) as server:
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
            yield f"{servers.HOST}:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def secure(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A broker's address without TLS, and that with."""
    port, controller, client = (servers.free_port() for _ in range(3))
    host = servers.HOST
    overrides = {
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},CLIENT://{host}:{client}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port},CLIENT://{host}:{client}",
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.good),
    }
    with servers.kafka(tmp_path_factory.mktemp("secure"), port=port, own=True, overrides=overrides) as server:
        try:
            socket.create_connection((host, client), timeout=5).close()
        except OSError:
            pytest.skip("the broker runs in a container, which publishes one port, and this needs two")
        yield server.bootstrap, f"{host}:{client}"


def said(address: str, protocol: str = "SSL", ca: Path | None = None) -> str:
    """What `tally topics --create` says with these settings."""
    tally = Tally(address)
    tally.settings |= {"KAFKA_SECURITY_PROTOCOL": protocol}
    if ca is not None:
        tally.settings["KAFKA_SSL_CAFILE"] = str(ca)
    if protocol.startswith("SASL"):
        tally.settings |= {"KAFKA_SASL_USERNAME": "tally", "KAFKA_SASL_PASSWORD": "sesame"}
    return tally.refuses("topics", "--create")


def test_a_worker_counts_over_tls(secure: tuple[str, str], certificates: Certificates, tmp_path: Path) -> None:
    plain, address = secure
    events = traffic(200, seed=41)
    settings = topic_settings(plain, "tls") | COMMON | {"PARTITIONS": "2"}
    by_tls = {"KAFKA_BOOTSTRAP_SERVERS": address, "KAFKA_SECURITY_PROTOCOL": "SSL"}
    with Fleet(tmp_path, settings | by_tls | {"KAFKA_SSL_CAFILE": str(certificates.ca)}) as fleet:
        wait_for("it is ready", fleet.start().ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))


def test_a_certificate_that_is_not_trusted_names_the_ca(secure: tuple[str, str], certificates: Certificates) -> None:
    _, address = secure
    last = "set TALLY_KAFKA_SSL_CAFILE to the file with the broker's CA."
    assert re.fullmatch(
        f"The certificate of {address} is not by a CA that this system trusts \\(.*\\): {last}", said(address)
    )
    assert re.fullmatch(
        f"The certificate of {address} is not by a CA that TALLY_KAFKA_SSL_CAFILE={certificates.another_ca} holds "
        f"\\(.*\\): {last}",
        said(address, ca=certificates.another_ca),
    )


def test_a_port_with_tls_that_is_asked_without_is_told_from_one_without_that_is_asked_with(
    secure: tuple[str, str], certificates: Certificates
) -> None:
    plain, address = secure
    assert said(address, "PLAINTEXT") == (
        f"{address} speaks TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=SSL, or name its port without TLS."
    )
    assert said(address, "SASL_PLAINTEXT") == (
        f"{address} speaks TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=SASL_SSL, or name its port without TLS."
    )
    assert said(plain, "SSL", certificates.ca) == (
        f"{plain} does not speak TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT, or name its port with TLS."
    )


def test_who_brings_a_user_where_none_is_asked_for_is_told_so(
    secure: tuple[str, str], certificates: Certificates
) -> None:
    plain, address = secure
    assert said(plain, "SASL_PLAINTEXT") == f"{plain} asks for no user: set TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT."
    assert said(address, "SASL_SSL", certificates.ca) == (
        f"{address} asks for no user: set TALLY_KAFKA_SECURITY_PROTOCOL=SSL."
    )


def test_a_certificate_that_has_expired_or_is_for_another_name_is_named_with_what_to_do(
    certificates: Certificates,
) -> None:
    with listener(certificates.expired) as address:
        assert said(address, ca=certificates.ca) == (
            f"The certificate of {address} has expired: whoever runs the broker must renew it."
        )
    with listener(certificates.of_another_name) as address:
        assert said(address, ca=certificates.ca) == (
            f"The certificate of {address} is not for the name 127.0.0.1: write the name that it is for into "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    with listener(certificates.good) as address:
        assert said(address, ca=certificates.ca) == (
            f"{address} takes connections, but not as a Kafka broker reached by SSL: check "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS and TALLY_KAFKA_SECURITY_PROTOCOL."
        )
