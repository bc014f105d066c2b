"""Why no client reaches the brokers, in a sentence. With real brokers and certificates: tests/live/test_tls.py."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from app.settings import load_settings
from app.worker.kafka.reaching import certificate_fault, why_unreachable
from tests.certificates import make, showing


def why(address: str, **settings: Any) -> str | None:
    error = asyncio.run(why_unreachable(load_settings(kafka_bootstrap_servers=address, **settings)))
    return None if error is None else str(error)


def test_where_nobody_listens_nobody_answers() -> None:
    for address in ("127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2"):
        assert str(why(address)).startswith(f"No Kafka broker answers at {address}: start one")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"])
def test_one_that_hangs_up_is_no_broker_and_the_first_that_listens_is_asked(protocol: str) -> None:
    async def test() -> str:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
            address = f"127.0.0.1:1,127.0.0.1:{server.sockets[0].getsockname()[1]}"
            user = {"kafka_sasl_username": "tally", "kafka_sasl_password": "sesame"}
            given = user if protocol.startswith("SASL") else {}
            settings = load_settings(kafka_bootstrap_servers=address, kafka_security_protocol=protocol, **given)
            error = await why_unreachable(settings)
            return str(error).replace(address.rpartition(",")[2], "SERVER")

    assert asyncio.run(test()) == (
        f"SERVER takes connections, but not as a Kafka broker reached by {protocol}: check "
        "TALLY_KAFKA_BOOTSTRAP_SERVERS and TALLY_KAFKA_SECURITY_PROTOCOL."
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_one_that_asks_for_a_certificate_is_told_from_one_that_does_not_take_it(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    files = make(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.load_cert_chain(files.good)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version

    def test(**shown: Path) -> str:
        with showing(context) as address:
            settings = load_settings(
                kafka_bootstrap_servers=address, kafka_security_protocol="SSL", kafka_ssl_cafile=files.ca, **shown
            )
            return str(asyncio.run(why_unreachable(settings))).replace(address, "SERVER")

    strange = files.another_ca
    assert test() == (
        "SERVER asks for a certificate of the client: set TALLY_KAFKA_SSL_CERTFILE, and TALLY_KAFKA_SSL_KEYFILE where "
        "the key is in a file of its own."
    )
    assert test(kafka_ssl_certfile=strange, kafka_ssl_keyfile=strange.with_suffix(".key")) == (
        f"SERVER does not take the certificate of TALLY_KAFKA_SSL_CERTFILE={strange} (unknown ca): it must be for "
        "clients, by a CA that the brokers trust."
    )


_OTHER_NAME = "write the name that it is for into TALLY_KAFKA_BOOTSTRAP_SERVERS."
_OTHER_CA = "set TALLY_KAFKA_SSL_CAFILE to the file with the broker's CA."


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (9, "is not valid yet: compare this machine's clock with the broker's."),
        (10, "has expired: whoever runs the broker must renew it."),
        (62, f"is not for the name k: {_OTHER_NAME}"),
        (18, f"is not by a CA that this system trusts (as OpenSSL says): {_OTHER_CA}"),
        (99, "cannot be used: as OpenSSL says."),
    ],
)
def test_what_is_wrong_with_a_certificate(code: int, fault: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    assert certificate_fault(load_settings(), "k:1", error) == f"The certificate of k:1 {fault}"
