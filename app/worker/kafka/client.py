"""How every client of this worker reaches Kafka, and what it says when it cannot."""

import ssl
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings

#: Where a user may not do what is needed.
ACLS_HINT: Final = "`tally topics` lists the ACLs that are needed"


class SetupError(Exception):
    """The world is not as the worker needs it; the message is one sentence that says what to do."""


def client_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments that all aiokafka clients share."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "client_id": settings.app_id,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password,
        }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl_context(settings)
    return options


def with_globals(function: Any, **names: Any) -> Any:
    """The same function, seeing other objects under some of its module's names."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def forbid_topic_creation(client: AIOKafkaClient) -> None:
    """Let a client of aiokafka create no topic.

    It asks for the topics that it reads and writes in a way that creates those that are missing. One that somebody has
    deleted would come back at once, with the broker's settings instead of ours.
    """
    ask = partial(MetadataRequest, allow_auto_topic_creation=False)
    client._metadata_update = MethodType(with_globals(AIOKafkaClient._metadata_update, MetadataRequest=ask), client)


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """The certificates that brokers are checked with, the given ones or the system's, and the one that is shown them.

    Raises `SetupError` for a file that cannot be used, and for a certificate of ours that does not hold now.
    """
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    except OSError as error:
        raise SetupError(
            f"TALLY_KAFKA_SSL_CAFILE: {settings.kafka_ssl_cafile} cannot be used ({_reason(error)})."
        ) from None
    if settings.kafka_ssl_certfile is not None:
        _show_certificate(context, settings, settings.kafka_ssl_certfile)
    return context


def _show_certificate(context: ssl.SSLContext, settings: Settings, certificate: Path) -> None:
    """Let a context show our certificate to whoever asks for it."""
    key = settings.kafka_ssl_keyfile
    _check_certificate(certificate)
    if key is not None:
        _read(key, "TALLY_KAFKA_SSL_KEYFILE")
    holder = f"TALLY_KAFKA_SSL_CERTFILE: {certificate}" if key is None else f"TALLY_KAFKA_SSL_KEYFILE: {key}"
    asked = []

    def password() -> str:  # without it OpenSSL would ask at the terminal
        asked.append(True)
        return settings.kafka_ssl_key_password or ""

    try:
        context.load_cert_chain(certificate, key, password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            what = f"is not the key of TALLY_KAFKA_SSL_CERTFILE={certificate}" if key else "holds another's key"
        elif asked and settings.kafka_ssl_key_password is None:
            what = "holds a key with a password: set TALLY_KAFKA_SSL_KEY_PASSWORD"
        elif asked:
            what = "holds a key that TALLY_KAFKA_SSL_KEY_PASSWORD does not open"
        elif key is None:
            what = "holds no key: name its file in TALLY_KAFKA_SSL_KEYFILE"
        else:
            what = "holds no key in PEM"
        raise SetupError(f"{holder} {what}.") from None


def _check_certificate(file: Path) -> None:
    """See that a file begins with a certificate that holds now."""
    _read(file, "TALLY_KAFKA_SSL_CERTFILE")
    try:
        # Python reads a certificate's times nowhere else unless it is a peer's.
        certificate = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
    except ssl.SSLError:
        raise SetupError(f"TALLY_KAFKA_SSL_CERTFILE: {file} holds no certificate in PEM.") from None
    begins, ends = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    if time.time() > ends:
        raise SetupError(f"TALLY_KAFKA_SSL_CERTFILE: {file} has expired, {_day(ends)}: renew it, then start again.")
    if time.time() < begins:
        raise SetupError(
            f"TALLY_KAFKA_SSL_CERTFILE: {file} is not valid before {_day(begins)}: is this machine's clock right?"
        )


def _read(file: Path, setting: str) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise SetupError(f"{setting}: {file} cannot be read ({_reason(error)}).") from None


def _reason(error: OSError) -> str:
    """Why a file cannot be used: the system's word, or OpenSSL's."""
    return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def unreachable(settings: Settings, error: Exception) -> SetupError:
    """One sentence for a broker that does not answer, or not as it should."""
    where = settings.kafka_bootstrap_servers
    if isinstance(error, (KafkaConnectionError, OSError, TimeoutError)):
        return SetupError(
            f"No Kafka broker answers at {where}: start one (`make services`), or set TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    name = type(error).__name__ if isinstance(error, KafkaError) else repr(error)
    return SetupError(f"The Kafka broker at {where} refused: {name} {error}".rstrip() + ".")
