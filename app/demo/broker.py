"""What the demo's traffic is written to: a client of confluent-kafka, and the address that the workers are given."""

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.settings import Settings
from app.worker.kafka.client import SetupError

#: The options of `quiet` that a consumer does not know.
_OF_PRODUCERS = ("partitioner", "linger.ms")

Client = Any  # confluent_kafka.Producer, of a library that publishes no types


class Broker(NamedTuple):
    """A broker that answers."""

    address: str
    client: Client
    about: str


def client_library() -> Any:
    """confluent-kafka, which comes with an extra of the package."""
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise SetupError("The demo needs confluent-kafka: pip install 'tally[demo]'.") from None


def quiet() -> dict[str, Any]:
    """The options of all clients: the canonical topics' partitioner, and no log of the library's own."""
    return {"partitioner": "murmur2_random", "linger.ms": 5, "log_level": 0, "error_cb": lambda _: None}


def find_broker(settings: Settings) -> Broker:
    """The broker of the settings. Raises `SetupError` where it does not answer."""
    library, where = client_library(), settings.kafka_bootstrap_servers
    client = library.Producer(_options(settings) | {"enable.idempotence": True})
    try:
        client.list_topics(timeout=5)
    except library.KafkaException:
        raise SetupError(
            f"No Kafka broker answers at {where}: start one (`make services`), "
            "or leave TALLY_KAFKA_BOOTSTRAP_SERVERS unset, and the demo brings its own."
        ) from None
    return Broker(where, client, where)


def count_records(broker: Broker, settings: Settings, topics: Sequence[str]) -> int:
    """How many records have ever been written to these topics, by whomever."""
    library = client_library()
    options = _options(settings) | {"bootstrap.servers": broker.address, "group.id": settings.app_id}
    consumer = library.Consumer({name: value for name, value in options.items() if name not in _OF_PRODUCERS})
    try:
        return sum(
            consumer.get_watermark_offsets(library.TopicPartition(topic, number), timeout=5)[1]
            for topic in topics
            for number in broker.client.list_topics(topic, timeout=5).topics[topic].partitions
        )
    finally:
        consumer.close()


def remove_traces(settings: Settings, topics: Sequence[str]) -> bool:
    """Delete these topics, and the group of these settings where it can be. Returns whether the topics are gone."""
    library = client_library()
    admin = importlib.import_module("confluent_kafka.admin").AdminClient(_options(settings))
    groups = admin.delete_consumer_groups([settings.app_id], request_timeout=10)
    refused = (library.KafkaException, TimeoutError)
    for deletion in groups.values():
        with contextlib.suppress(*refused):  # a member that was killed is in it until its session ends
            deletion.result(15)
    try:
        for deletion in admin.delete_topics(list(topics), operation_timeout=10).values():
            deletion.result(15)
    except refused:
        return False
    return True


def _options(settings: Settings) -> dict[str, Any]:
    key = settings.kafka_ssl_keyfile or settings.kafka_ssl_certfile
    given = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "ssl.ca.location": settings.kafka_ssl_cafile and str(settings.kafka_ssl_cafile),
        "ssl.certificate.location": settings.kafka_ssl_certfile and str(settings.kafka_ssl_certfile),
        "ssl.key.location": key and str(key),
        "ssl.key.password": settings.kafka_ssl_key_password,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        given |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password,
        }
    return quiet() | {name: value for name, value in given.items() if value}
