"""TLS: a worker and commands reach a broker by it, and each fault names the setting, the certificate or the port."""

import contextlib
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import pytest

from app.demo.broker import find_broker
from app.settings import load_settings
from tests.certificates import PASSWORD, Certificates, make, showing
from tests.live import servers
from tests.live.story import expected, traffic
from tests.live.test_cli import Tally
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    servers.binary("openssl", package="openssl")
    return make(tmp_path_factory.mktemp("certificates"))


def listener(certificate: Path) -> contextlib.AbstractContextManager[str]:
    """Whatever shows this certificate and then says nothing; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return showing(context)


class Secure(NamedTuple):
    """The addresses of a broker: without TLS, with it, and with it where clients must show a certificate."""

    plain: str
    tls: str
    mutual: str


@pytest.fixture(scope="module")
def secure(files: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    port, controller, client, mutual = (servers.free_port() for _ in range(4))
    host = servers.HOST
    addresses = f"PLAINTEXT://{host}:{port},CLIENT://{host}:{client},MUTUAL://{host}:{mutual}"
    overrides = {
        "listeners": f"{addresses},CONTROLLER://{host}:{controller}",
        "advertised.listeners": addresses,
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SSL,MUTUAL:SSL",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(files.ca),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files.good),
    }
    with servers.kafka(tmp_path_factory.mktemp("secure"), port=port, own=True, overrides=overrides) as server:
        try:
            socket.create_connection((host, client), timeout=5).close()
        except OSError:
            pytest.skip("the broker runs in a container, which publishes one port, and this needs three")
        yield Secure(server.bootstrap, f"{host}:{client}", f"{host}:{mutual}")


def said(address: str, protocol: str = "SSL", ca: Path | None = None, **own: str | Path) -> str:
    """What `tally topics --create` says with these settings; `own` are those of the client's certificate."""
    tally = Tally(address)
    tally.settings |= {"KAFKA_SECURITY_PROTOCOL": protocol}
    tally.settings |= {f"KAFKA_SSL_{name.upper()}": str(value) for name, value in own.items()}
    if ca is not None:
        tally.settings["KAFKA_SSL_CAFILE"] = str(ca)
    if protocol.startswith("SASL"):
        tally.settings |= {"KAFKA_SASL_USERNAME": "tally", "KAFKA_SASL_PASSWORD": "sesame"}
    return tally.refuses("topics", "--create")


def test_a_worker_counts_over_tls(secure: Secure, files: Certificates, tmp_path: Path) -> None:
    plain, address, _ = secure
    events = traffic(200, seed=41)
    settings = topic_settings(plain, "tls") | COMMON | {"PARTITIONS": "2"}
    by_tls = {"KAFKA_BOOTSTRAP_SERVERS": address, "KAFKA_SECURITY_PROTOCOL": "SSL"}
    with Fleet(tmp_path, settings | by_tls | {"KAFKA_SSL_CAFILE": str(files.ca)}) as fleet:
        wait_for("it is ready", fleet.start().ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))


def test_a_worker_and_the_demo_show_a_certificate_where_brokers_ask_for_one(
    secure: Secure, files: Certificates, tmp_path: Path
) -> None:
    events = traffic(200, seed=42)
    settings = topic_settings(secure.plain, "mutual") | COMMON | {"PARTITIONS": "2"}
    by_tls = {
        "KAFKA_BOOTSTRAP_SERVERS": secure.mutual,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(files.ca),
        "KAFKA_SSL_CERTFILE": str(files.certificate),
        "KAFKA_SSL_KEYFILE": str(files.locked),
        "KAFKA_SSL_KEY_PASSWORD": PASSWORD,
    }
    with Fleet(tmp_path, settings | by_tls) as fleet:
        wait_for("it is ready", fleet.start().ready)
        produce(settings, events)
        assert_counts(fleet, expected(events))
    for own in (by_tls, by_tls | {"KAFKA_SSL_CERTFILE": str(files.good), "KAFKA_SSL_KEYFILE": ""}):
        broker = find_broker(load_settings(**{name.lower(): value for name, value in own.items() if value}))
        assert broker.address == secure.mutual


def is_known(worker: Worker, puid: str) -> bool:
    """Whether a worker gives the answers to a puid; while its partition moves none does."""
    try:
        return bool(json.loads(worker.get(f"/api/exchanges/{puid}"))["legs"])
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return False


def test_workers_with_a_certificate_are_asked_over_tls_by_each_other_and_by_commands(
    secure: Secure, files: Certificates, tmp_path: Path
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.good.read_bytes() + files.ca.read_bytes())
    events = traffic(60, seed=43, broken=0)
    settings = topic_settings(secure.plain, "page") | COMMON | {"PARTITIONS": "4", "WEB_CERT_FILE": str(chain)}
    with Fleet(tmp_path, settings) as fleet:
        first, second = fleet.start(), fleet.start()
        wait_for("both have partitions", lambda: all(worker.readiness()[1] for worker in (first, second)))
        wait_for("both are ready", lambda: first.ready() and second.ready())
        produce(settings, events)
        assert_counts(fleet, expected(events))
        for worker in (first, second):  # of some puids the other one knows
            for puid in {event.key.decode() for event in events[:40] if event.key}:
                wait_for(f"{puid} is known", partial(is_known, worker, puid))
        tally = Tally(secure.plain)
        tally.settings = settings | {"WEB_PORT": str(first.port)}
        checked = tally.says("check")
        assert first.url in checked
        assert second.url in checked
        assert tally.says("verify", "--url", first.url).rstrip().endswith("difference 0")
        with pytest.raises(OSError, match=r"refused|reset|closed|disconnect|EOF"):
            urllib.request.urlopen(first.url.replace("https", "http") + "/live", timeout=PATIENCE)  # noqa: S310 - as made above


def test_a_broker_that_asks_for_a_certificate_is_told_from_one_that_does_not_take_it(
    secure: Secure, files: Certificates
) -> None:
    assert said(secure.mutual, ca=files.ca) == (
        f"{secure.mutual} asks for a certificate of the client: set TALLY_KAFKA_SSL_CERTFILE, and "
        "TALLY_KAFKA_SSL_KEYFILE where the key is in a file of its own."
    )
    strange = files.another_ca
    assert re.fullmatch(
        f"{secure.mutual} does not take the certificate of TALLY_KAFKA_SSL_CERTFILE={strange} \\(.*certificate.*\\): "
        "it must be for clients, by a CA that the brokers trust\\.",
        said(secure.mutual, ca=files.ca, certfile=strange, keyfile=strange.with_suffix(".key")),
    )


def test_a_certificate_that_is_not_trusted_names_the_ca(secure: Secure, files: Certificates) -> None:
    address = secure.tls
    last = "set TALLY_KAFKA_SSL_CAFILE to the file with the broker's CA."
    assert re.fullmatch(
        f"The certificate of {address} is not by a CA that this system trusts \\(.*\\): {last}", said(address)
    )
    assert re.fullmatch(
        f"The certificate of {address} is not by a CA that TALLY_KAFKA_SSL_CAFILE={files.another_ca} holds "
        f"\\(.*\\): {last}",
        said(address, ca=files.another_ca),
    )


def test_a_port_with_tls_that_is_asked_without_is_told_from_one_without_that_is_asked_with(
    secure: Secure, files: Certificates
) -> None:
    plain, address, _ = secure
    assert said(address, "PLAINTEXT") == (
        f"{address} speaks TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=SSL, or name its port without TLS."
    )
    assert said(address, "SASL_PLAINTEXT") == (
        f"{address} speaks TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=SASL_SSL, or name its port without TLS."
    )
    assert said(plain, "SSL", files.ca) == (
        f"{plain} does not speak TLS: set TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT, or name its port with TLS."
    )


def test_who_brings_a_user_where_none_is_asked_for_is_told_so(secure: Secure, files: Certificates) -> None:
    plain, address, _ = secure
    assert said(plain, "SASL_PLAINTEXT") == f"{plain} asks for no user: set TALLY_KAFKA_SECURITY_PROTOCOL=PLAINTEXT."
    assert said(address, "SASL_SSL", files.ca) == (
        f"{address} asks for no user: set TALLY_KAFKA_SECURITY_PROTOCOL=SSL."
    )


def test_a_certificate_that_has_expired_or_is_for_another_name_is_named_with_what_to_do(
    files: Certificates,
) -> None:
    with listener(files.expired) as address:
        assert said(address, ca=files.ca) == (
            f"The certificate of {address} has expired: whoever runs the broker must renew it."
        )
    with listener(files.of_another_name) as address:
        assert said(address, ca=files.ca) == (
            f"The certificate of {address} is not for the name 127.0.0.1: write the name that it is for into "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    with listener(files.good) as address:
        assert said(address, ca=files.ca) == (
            f"{address} takes connections, but not as a Kafka broker reached by SSL: check "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS and TALLY_KAFKA_SECURITY_PROTOCOL."
        )
