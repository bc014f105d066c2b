"""Why no client can reach the brokers: asked once, and told in a sentence that names the setting to look at."""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings
from app.worker.kafka.client import BrokersError, client_options, unreachable

#: How long one server may take to answer one question.
_SECONDS: Final = 5
#: A server that does not take a client says so as soon as it has seen its certificate.
_ALERT_SECONDS: Final = 2
#: What OpenSSL says of a certificate, by its numbers (x509_vfy.h).
_NOT_YET: Final = 9
_EXPIRED: Final = 10
_NOT_KNOWN: Final = frozenset({18, 19, 20, 21})  # by itself, or by a CA that nobody here trusts
#: The alerts that a server may send about a client's certificate, or about none, as OpenSSL names them.
_OF_CERTIFICATES: Final = frozenset(
    {
        "ACCESS_DENIED",
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REQUIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "HANDSHAKE_FAILURE",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    }
)
_OTHER_NAME: Final = frozenset({62, 64})


async def why_unreachable(settings: Settings) -> BrokersError | None:
    """Why the brokers cannot be reached, by the first of them that takes a connection; None where one can be."""
    for server, host, port in _servers(settings):
        try:
            writer = await _opened(host, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        fault = await _fault(settings, server, host, port)
        return None if fault is None else BrokersError(fault)
    return unreachable(settings, TimeoutError())


def _servers(settings: Settings) -> Iterator[tuple[str, str, int]]:
    for server in settings.kafka_bootstrap_servers.split(","):
        host, _, port = server.rpartition(":")
        yield server.strip(), host.strip("[] "), int(port)


async def _opened(host: str, port: int, **options: Any) -> asyncio.StreamWriter:
    async with asyncio.timeout(_SECONDS):
        _, writer = await asyncio.open_connection(host, port, **options)
        return writer


async def _fault(settings: Settings, server: str, host: str, port: int) -> str | None:
    """What keeps a client of these settings from this server, which takes connections."""
    options = client_options(settings)
    del options["bootstrap_servers"]
    protocol = settings.kafka_security_protocol
    secure = protocol.endswith("SSL")
    connection = AIOKafkaConnection(host, port, **options, request_timeout_ms=_SECONDS * 1000)
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    except ssl.SSLCertVerificationError as error:
        return certificate_fault(settings, server, error)
    except (SaslAuthenticationFailed, AuthenticationFailedError) as error:
        return (
            f"{server} refuses the user {settings.kafka_sasl_username!r} ({_words(error)}): "
            "check TALLY_KAFKA_SASL_USERNAME, TALLY_KAFKA_SASL_PASSWORD and TALLY_KAFKA_SASL_MECHANISM."
        )
    except UnsupportedSaslMechanismError:
        return (
            f"{server} does not take the mechanism {settings.kafka_sasl_mechanism}: set TALLY_KAFKA_SASL_MECHANISM to "
            "one that it takes."
        )
    except IllegalSaslStateError:
        without = "SSL" if secure else "PLAINTEXT"
        return f"{server} asks for no user: set TALLY_KAFKA_SECURITY_PROTOCOL={without}."
    except (KafkaError, OSError, TimeoutError) as error:
        if secure and await _speaks_kafka_plainly(host, port):
            plain = "SASL_PLAINTEXT" if protocol.startswith("SASL") else "PLAINTEXT"
            return f"{server} does not speak TLS: set TALLY_KAFKA_SECURITY_PROTOCOL={plain}, or name its port with TLS."
        if secure and (alert := await _alert(options["ssl_context"], host, port)) is not None:
            return _refused_certificate(settings, server, alert)
        if not secure and await _speaks_tls(host, port):
            return (
                f"{server} speaks TLS: set TALLY_KAFKA_SECURITY_PROTOCOL={protocol.replace('PLAINTEXT', 'SSL')}, "
                "or name its port without TLS."
            )
        if not protocol.startswith("SASL") and connection._versions:
            with_user = "SASL_SSL" if secure else "SASL_PLAINTEXT"
            return (
                f"{server} is a Kafka broker that hangs up on a client without a user: set "
                f"TALLY_KAFKA_SECURITY_PROTOCOL={with_user}, TALLY_KAFKA_SASL_MECHANISM, …_USERNAME and …_PASSWORD."
            )
        if isinstance(error, ssl.SSLError):
            return f"{server} and Tally do not agree on TLS ({error.reason or error}): ask who runs the broker."
        return (
            f"{server} takes connections, but not as a Kafka broker reached by {protocol}: "
            "check TALLY_KAFKA_BOOTSTRAP_SERVERS and TALLY_KAFKA_SECURITY_PROTOCOL."
        )
    else:
        return None
    finally:
        connection.close()


def _words(error: KafkaError) -> str:
    """What a broker said, without aiokafka's numbers."""
    return str(error.args[0]).rstrip(".") if error.args and error.args[0] else type(error).__name__


def certificate_fault(settings: Settings, server: str, error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the certificate that a server shows, and what to do."""
    host = server.rpartition(":")[0]
    if error.verify_code == _EXPIRED:
        return f"The certificate of {server} has expired: whoever runs the broker must renew it."
    if error.verify_code == _NOT_YET:
        return f"The certificate of {server} is not valid yet: compare this machine's clock with the broker's."
    if error.verify_code in _OTHER_NAME:
        return (
            f"The certificate of {server} is not for the name {host}: write the name that it is for into "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    if error.verify_code in _NOT_KNOWN:
        file = settings.kafka_ssl_cafile
        trusted = "this system trusts" if file is None else f"TALLY_KAFKA_SSL_CAFILE={file} holds"
        return (
            f"The certificate of {server} is not by a CA that {trusted} ({error.verify_message}): set "
            "TALLY_KAFKA_SSL_CAFILE to the file with the broker's CA."
        )
    return f"The certificate of {server} cannot be used: {error.verify_message}."


def _refused_certificate(settings: Settings, server: str, alert: str) -> str:
    """What to do where a broker has hung up over our certificate."""
    file = settings.kafka_ssl_certfile
    if file is None:
        return (
            f"{server} asks for a certificate of the client: set TALLY_KAFKA_SSL_CERTFILE, and TALLY_KAFKA_SSL_KEYFILE "
            "where the key is in a file of its own."
        )
    return (
        f"{server} does not take the certificate of TALLY_KAFKA_SSL_CERTFILE={file} ({alert}): it must be for clients, "
        "by a CA that the brokers trust."
    )


async def _alert(context: ssl.SSLContext, host: str, port: int) -> str | None:
    """The alert about our certificate with which a server ends TLS, None where it does not.

    By TLS 1.3 the client is through before the server has looked at its certificate: the first read tells.
    """
    try:
        async with asyncio.timeout(_ALERT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                await reader.read(1)  # a server that is content waits for us
            finally:
                writer.close()
    except ssl.SSLError as error:
        reason = (error.reason or "").partition("_ALERT_")[2]
        return reason.replace("_", " ").lower() if reason in _OF_CERTIFICATES else None
    except (OSError, TimeoutError):
        return None
    return None


async def _speaks_tls(host: str, port: int) -> bool:
    """Whether TLS can be begun there, whatever certificate is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        writer = await _opened(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _speaks_kafka_plainly(host: str, port: int) -> bool:
    """Whether a Kafka broker answers there without TLS."""
    connection = AIOKafkaConnection(host, port, request_timeout_ms=_SECONDS * 1000)
    try:
        await connection.connect()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        connection.close()
    return True
