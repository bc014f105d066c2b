"""How clients reach Kafka by TLS: the certificate that is shown, the sentence for each that cannot be; how they end."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings, load_settings
from app.worker.kafka.client import Connection as KafkaConnection
from app.worker.kafka.client import SetupError, client_options, prepare_client, ssl_context
from tests.certificates import PASSWORD, Certificates, make
from tests.worker.kafka.scripted import in_no_time


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def settings_of(certificate: Path, key: Path | None = None, password: str | None = None) -> Settings:
    return load_settings(
        kafka_security_protocol="SSL",
        kafka_ssl_certfile=certificate,
        kafka_ssl_keyfile=key,
        kafka_ssl_key_password=password,
    )


def test_key_and_certificate_in_one_file_or_two_with_a_password_or_without(files: Certificates) -> None:
    for settings in (
        settings_of(files.good),
        settings_of(files.certificate, files.key),
        settings_of(files.certificate, files.locked, PASSWORD),
    ):
        assert client_options(settings)["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda files: settings_of(files.ca / "none"), r"CERTFILE: .*none cannot be read \(not a directory\)"),
        (lambda files: settings_of(files.ca.parent), r"CERTFILE: .* cannot be read \(is a directory\)"),
        (lambda files: settings_of(files.key), r"CERTFILE: .*good\.key holds no certificate in PEM"),
        (
            lambda files: settings_of(files.expired),
            r"CERTFILE: .*expired\.pem has expired, 2\d{3}-.* UTC: renew it, .*",
        ),
        (
            lambda files: settings_of(files.certificate),
            r"CERTFILE: .*good\.crt holds no key: name its file in TALLY_KAFKA_SSL_KEYFILE",
        ),
        (
            lambda files: settings_of(files.certificate, files.ca.parent / "none.key"),
            r"KEYFILE: .*none\.key cannot be read \(no such file or directory\)",
        ),
        (lambda files: settings_of(files.certificate, files.certificate), r"KEYFILE: .*good\.crt holds no key in PEM"),
        (
            lambda files: settings_of(files.certificate, files.of_another_name),
            r"KEYFILE: .*other\.pem is not the key of TALLY_KAFKA_SSL_CERTFILE=.*good\.crt",
        ),
        (
            lambda files: settings_of(files.certificate, files.locked),
            r"KEYFILE: .*locked\.key holds a key with a password: set TALLY_KAFKA_SSL_KEY_PASSWORD",
        ),
        (
            lambda files: settings_of(files.certificate, files.locked, "open"),
            r"KEYFILE: .*locked\.key holds a key that TALLY_KAFKA_SSL_KEY_PASSWORD does not open",
        ),
        (
            lambda files: settings_of(files.certificate, files.locked, "x" * 2000),
            r"KEYFILE: .*locked\.key holds a key that TALLY_KAFKA_SSL_KEY_PASSWORD does not open",
        ),
    ],
)
def test_a_certificate_that_cannot_be_shown_is_named(
    files: Certificates, wrong: Callable[[Certificates], Settings], sentence: str
) -> None:
    with pytest.raises(SetupError) as caught:
        ssl_context(wrong(files))
    assert re.fullmatch(rf"TALLY_KAFKA_SSL_{sentence}\.", str(caught.value))


def test_a_certificate_of_the_future_is_named(files: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.worker.certificates.time.time", lambda: 86400.0)
    with pytest.raises(
        SetupError, match=r"good\.pem is not valid before 2\d{3}-.* UTC: is this machine's clock right\?"
    ):
        ssl_context(settings_of(files.good))


@pytest.mark.parametrize(
    ("name", "why"), [("none.pem", "no such file or directory"), ("good.key", "no certificate .*")]
)
def test_a_file_of_cas_that_cannot_be_used_is_named(files: Certificates, name: str, why: str) -> None:
    file = files.ca.parent / name
    with pytest.raises(SetupError) as caught:
        ssl_context(load_settings(kafka_security_protocol="SSL", kafka_ssl_cafile=file))
    assert re.fullmatch(rf"TALLY_KAFKA_SSL_CAFILE: {file} cannot be used \({why}\)\.", str(caught.value))


class Connection:
    """One that ends when it is cut, and not before."""

    def __init__(self) -> None:
        self._writer = SimpleNamespace(transport=SimpleNamespace(abort=self._abort))
        self._ended = asyncio.get_running_loop().create_future()
        self.cut = False

    def _abort(self) -> None:
        self.cut = True
        if not self._ended.done():
            self._ended.set_result(None)

    def close(self, reason: object) -> "asyncio.Future[None]":
        return self._ended


@pytest.mark.parametrize("ends", [True, False])
def test_a_client_whose_broker_says_no_goodbye_is_closed_in_time(ends: bool) -> None:
    async def closed() -> tuple[bool, float]:
        client = AIOKafkaClient()
        prepare_client(client)
        connection = client._conns["broker"] = Connection()
        if ends:
            connection._ended.set_result(None)
        began = asyncio.get_running_loop().time()
        await client.close()
        return connection.cut, asyncio.get_running_loop().time() - began

    cut, seconds = in_no_time(closed())
    assert cut is not ends
    assert seconds < 2


def test_a_client_whose_closing_is_cut_short_is_closed_by_the_next_call() -> None:
    async def closed() -> bool:
        client = AIOKafkaClient()
        prepare_client(client)
        connection = client._conns["broker"] = Connection()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.close()
        await client.close()
        return connection.cut

    assert in_no_time(closed())


async def refused_by_a_transport_that_is_gone() -> bool:
    """What becomes of a connection whose other end is gone, when something is sent before the loop has told it."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = KafkaConnection("127.0.0.1", port)
    connection._reader, connection._writer = await asyncio.open_connection("127.0.0.1", port)
    connection._read_task = asyncio.create_task(asyncio.sleep(0))
    connection._closed_fut = asyncio.get_running_loop().create_future()
    with pytest.raises(IncompatibleBrokerVersion):  # what aiokafka says itself stays as it is
        connection.send(MetadataRequest([]))
    connection._versions = {3: (0, 1)}
    connection._writer.transport.abort()
    await asyncio.sleep(0)
    with pytest.raises(KafkaConnectionError, match="broken"):
        connection.send(MetadataRequest([]))
    server.close()
    return bool(connection.connected())


def test_a_connection_that_is_just_gone_is_no_defect() -> None:
    """uvloop says of it what it says of a mistake."""
    assert uvloop.run(refused_by_a_transport_that_is_gone()) is False
