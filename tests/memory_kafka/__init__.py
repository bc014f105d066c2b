"""A Kafka in memory, for tests: exact where it matters, and slow, lossy or away where a test says so.

    kafka = MemoryKafka({"inference-requests": 2})
    lane = Lane(..., open_consumer=kafka.open_consumer, open_producer=kafka.open_producer)

It runs in one process and one event loop, any loop. What a client asks for travels to the broker and back as messages
(`network`), whose delays, losses and failures a `Weather` decides; so a client can be cut off, or killed, before and
after what it asked for took effect. The broker (`broker`, `log`, `transactions`, `groups`) is a state machine without
any await: what it does at a message it does at once.

Modelled is what a Kafka 4.1 broker does to the clients of aiokafka 0.14, and what these do then: `producer` and
`consumer` name the places in aiokafka that they follow. `contract` has what is counted on, as questions: this one and,
in `tests/live`, a real one must answer them alike.
"""

from tests.memory_kafka.broker import Broker
from tests.memory_kafka.kafka import MemoryKafka
from tests.memory_kafka.network import Fate, Weather

__all__ = ["Broker", "Fate", "MemoryKafka", "Weather"]
