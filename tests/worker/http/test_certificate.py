"""The port's certificate: shown to who connects, read again when it changes, and a sentence for what cannot be used."""

import asyncio
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings
from app.worker.asking import session
from app.worker.http.certificate import PortCertificate, certificate_of
from app.worker.kafka.client import SetupError
from tests.certificates import Certificates, make


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def with_port(certificate: PortCertificate, story: Callable[[int], Awaitable[None]]) -> None:
    """Tell a story of a port that answers all requests with an empty object."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def play() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificate.context)
        async with server:
            await story(server.sockets[0].getsockname()[1])

    asyncio.run(play())


async def trusts(ca: Path, port: int) -> bool:
    """Whether who trusts this CA alone can connect."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context(cafile=ca))
    except ssl.SSLCertVerificationError:
        return False
    writer.close()
    return True


def replace(file: Path, by: Path) -> None:
    """Put another file in the place of one, at once, as Kubernetes does with a Secret."""
    new = file.with_suffix(".new")
    shutil.copy(by, new)
    new.replace(file)


def test_without_one_the_port_speaks_plainly() -> None:
    assert certificate_of(load_settings()) is None
    assert load_settings().url == "http://127.0.0.1:6066"


def test_a_certificate_is_shown_and_the_workers_url_says_so(files: Certificates) -> None:
    settings = load_settings(web_cert_file=files.certificate, web_key_file=files.key)
    assert settings.url == "https://127.0.0.1:6066"
    certificate = certificate_of(settings)
    assert certificate is not None

    async def story(port: int) -> None:
        assert await trusts(files.ca, port)
        assert not await trusts(files.another_ca, port)

    with_port(certificate, story)


def test_a_renewed_certificate_is_shown_from_then_on_and_a_broken_one_never(
    files: Certificates, tmp_path: Path
) -> None:
    file = tmp_path / "port.pem"
    replace(file, files.of_another_name)
    certificate = PortCertificate(file, None)

    async def story(port: int) -> None:
        assert not await trusts(files.ca, port), "it is for another name"
        replace(file, files.good)
        assert certificate.look() is None
        assert await trusts(files.ca, port)
        replace(file, files.certificate)  # its key is not there yet
        said = f"TALLY_WEB_CERT_FILE: {file} holds no key: name its file in TALLY_WEB_KEY_FILE."
        assert certificate.look() == f"{said} The one before stays in force."
        assert await trusts(files.ca, port)
        file.unlink()
        assert certificate.look() == (
            f"TALLY_WEB_CERT_FILE: {file} cannot be read (no such file or directory). The one before stays in force."
        )
        replace(file, files.good)
        assert certificate.look() is None

    with_port(certificate, story)


def test_workers_and_commands_trust_what_they_show_themselves(files: Certificates, tmp_path: Path) -> None:
    """A chain that ends with the CA's own certificate is enough; the token is brought along."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(files.good.read_bytes() + files.ca.read_bytes())
    trusting = load_settings(web_cert_file=chain, http_token="secret")  # noqa: S106
    certificate = certificate_of(trusting)
    assert certificate is not None

    async def answers(settings: Settings, port: int) -> bool:
        async with session(settings, 5) as asks:
            assert asks.headers["Authorization"] == "Bearer secret"
            try:
                async with asks.get(f"https://127.0.0.1:{port}/ready") as reply:
                    return reply.status == 200
            except OSError:
                return False

    async def story(port: int) -> None:
        assert await answers(trusting, port)
        assert not await answers(load_settings(http_token="secret"), port)  # noqa: S106

    with_port(certificate, story)


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("good.crt", "other.pem", "KEY_FILE: .*other.pem is not the key of TALLY_WEB_CERT_FILE=.*good.crt"),
        ("good.crt", None, "CERT_FILE: .*good.crt holds no key: name its file in TALLY_WEB_KEY_FILE"),
        ("good.crt", "good.crt", "KEY_FILE: .*good.crt holds no key in PEM"),
        ("good.crt", "locked.key", "KEY_FILE: .*holds a key with a password: only a key without one can be used"),
        ("good.key", None, "CERT_FILE: .*good.key holds no certificate in PEM"),
        ("none.pem", None, r"CERT_FILE: .*none.pem cannot be read \(no such file or directory\)"),
        ("good.pem", "none.key", r"KEY_FILE: .*none.key cannot be read \(no such file or directory\)"),
    ],
)  # fmt: skip
def test_a_certificate_that_cannot_be_shown_is_one_sentence(
    files: Certificates, certificate: str, key: str | None, sentence: str
) -> None:
    folder = files.ca.parent
    with pytest.raises(SetupError, match=rf"^TALLY_WEB_{sentence}\.$"):
        PortCertificate(folder / certificate, None if key is None else folder / key)


def test_an_expired_certificate_is_said_with_its_day(files: Certificates) -> None:
    with pytest.raises(SetupError, match=r"TALLY_WEB_CERT_FILE: .* has expired, 20..-..-.. ..:.. UTC: renew it"):
        PortCertificate(files.expired, None)


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="TALLY_WEB_KEY_FILE needs TALLY_WEB_CERT_FILE"):
        load_settings(web_key_file="key.pem")
