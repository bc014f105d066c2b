"""How every client of this worker reaches Kafka, and what it says when it cannot."""

import asyncio
import ssl
from collections.abc import Awaitable, Coroutine
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings
from app.worker.certificates import CertificateError, Names, Shown, reason_of, show

#: Where a user may not do what is needed.
ACLS_HINT: Final = "`tally topics` lists the ACLs that are needed"
_CLOSING_SECONDS: Final = 1.0
_NAMES: Final = Names("TALLY_KAFKA_SSL_CERTFILE", "TALLY_KAFKA_SSL_KEYFILE", "TALLY_KAFKA_SSL_KEY_PASSWORD")


class SetupError(Exception):
    """The world is not as the worker needs it; the message is one sentence that says what to do."""


class BrokersError(SetupError):
    """Brokers do not answer, or refuse. That may pass: a worker that runs asks again, one that starts ends."""


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


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection of aiokafka that takes what uvloop says of a connection that is just gone for what it is."""

    def send(self, request: Any, expect_response: bool = True) -> Awaitable[Any]:
        """Send a request; what is awaited is its answer. Raises `KafkaConnectionError` where the connection is gone."""
        try:
            answer: Awaitable[Any] = super().send(request, expect_response=expect_response)
        except KafkaError:  # which is a RuntimeError too
            raise
        except RuntimeError as error:  # of uvloop, where asyncio has an `OSError` or takes it without a word
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error
        return answer


_create_conn: Final = with_globals(create_conn, AIOKafkaConnection=Connection)
_bootstrap: Final = with_globals(AIOKafkaClient.bootstrap, create_conn=_create_conn)
_get_conn: Final = with_globals(AIOKafkaClient._get_conn, create_conn=_create_conn)


def prepare_client(client: AIOKafkaClient) -> None:
    """Let a client of aiokafka create no topic, know a connection that is gone, and end in time.

    It asks for the topics that it reads and writes in a way that creates those that are missing. One that somebody has
    deleted would come back at once, with the broker's settings instead of ours.

    When it is closed it waits until its connections have ended. By TLS that takes the broker's goodbye, for which
    asyncio waits 30 seconds; and a busy broker, which reads ours together with a request, may say none.
    """
    ask = partial(MetadataRequest, allow_auto_topic_creation=False)
    client._metadata_update = MethodType(with_globals(AIOKafkaClient._metadata_update, MetadataRequest=ask), client)
    client.bootstrap = MethodType(_bootstrap, client)
    client._get_conn = MethodType(_get_conn, client)
    client.close = MethodType(_close, client)


async def ends_by_itself(stop: Coroutine[Any, Any, None]) -> bool:
    """Await what stops a part of aiokafka; whether it came to its end.

    It cancels tasks of its own then, and awaits them. One that waits to try again, as when a broker has just gone away,
    or has not begun yet, raises that it is cancelled, which would pass for a cancellation of whoever stops the part.
    """
    stopping = asyncio.get_running_loop().create_task(stop)
    try:
        await asyncio.wait([stopping])
    finally:
        stopping.cancel()
    if stopping.cancelled():
        return False
    stopping.result()
    return True


async def _close(client: AIOKafkaClient) -> None:
    """Close a client. Connections that have not ended in time are cut."""
    writers = [connection._writer for connection in client._conns.values()]
    # Never cancelled: the connections' futures would be, and who closes it again, to be sure, be cancelled by them.
    closing = asyncio.get_running_loop().create_task(AIOKafkaClient.close(client))
    await asyncio.wait([closing], timeout=_CLOSING_SECONDS)
    if not closing.done():
        for writer in writers:
            if writer is not None:
                writer.transport.abort()
    await asyncio.wait([closing], timeout=_CLOSING_SECONDS)


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """The certificates that brokers are checked with, the given ones or the system's, and the one that is shown them.

    Raises `SetupError` for a file that cannot be used, and for a certificate of ours that does not hold now.
    """
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    except OSError as error:
        raise SetupError(
            f"TALLY_KAFKA_SSL_CAFILE: {settings.kafka_ssl_cafile} cannot be used ({reason_of(error)})."
        ) from None
    if settings.kafka_ssl_certfile is not None:
        shown = Shown(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile, _NAMES, settings.kafka_ssl_key_password)
        try:
            show(context, shown)
        except CertificateError as error:
            raise SetupError(str(error)) from None
    return context


def unreachable(settings: Settings, error: Exception) -> BrokersError:
    """One sentence for a broker that does not answer, or not as it should."""
    where = settings.kafka_bootstrap_servers
    if isinstance(error, (KafkaConnectionError, OSError, TimeoutError)):
        return BrokersError(
            f"No Kafka broker answers at {where}: start one (`make services`), or set TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    name = type(error).__name__ if isinstance(error, KafkaError) else repr(error)
    return BrokersError(f"The Kafka broker at {where} refused: {name} {error}".rstrip() + ".")
