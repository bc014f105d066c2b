"""The demo's own broker: confluent-kafka's mock cluster, a few threads in this process that speak Kafka's protocol.

It is right for a demo and wrong for anything else: its transactions are not real (readers see aborted records, nobody
is fenced), a partition keeps its last 5 MB, and all is gone with the process. So: one worker, started once, at a
bounded rate. It creates a topic when somebody first names it, always with `PARTITIONS` partitions.
"""

from collections.abc import Iterable
from typing import Any

from app.demo.broker import Broker, Client, client_library, quiet
from app.worker.kafka.client import SetupError

PARTITIONS = 4
#: From this version on the mock writes the markers of transactions, without the checksum that the workers look at.
_FIRST_UNFIT = 0x020F0000
ABOUT = (
    "a mock one in this process's memory: no real transactions, nothing survives a crash; good for this demo only "
    "(set TALLY_KAFKA_BOOTSTRAP_SERVERS for a real one)"
)


def start_broker(topics: Iterable[str]) -> Broker:
    """A broker with these topics, which lives as long as the client that is returned with it.

    The topics are made here: the mock does not know the request by which a worker would create what it misses.
    """
    library = client_library()
    version, number = library.libversion()
    if number >= _FIRST_UNFIT:
        raise SetupError(
            f"The demo's own broker needs confluent-kafka below 2.15 (this is {version}): pip install 'tally[demo]'."
        )
    client: Client = library.Producer(quiet() | {"test.mock.num.brokers": 1})
    try:
        brokers: dict[int, Any] = client.list_topics(timeout=5).brokers
        for topic in topics:
            client.list_topics(topic, timeout=5)
    except library.KafkaException as error:
        raise SetupError(f"The demo's own broker did not start ({error.args[0]}).") from None
    return Broker(",".join(f"{broker.host}:{broker.port}" for broker in brokers.values()), client, ABOUT)
