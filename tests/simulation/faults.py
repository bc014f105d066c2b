"""Faults that stay, as acts of a history: strangers in the changelogs, topics made anew, clocks that are wrong.

What a stranger writes is left out, so all that is counted stays exact. A topic is made anew when all of it has been
read; whatever is written then counts, however far the old one had been read.
"""

import logging
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from app.core.join.position import POSITION_KEY
from app.core.wire.records import Record

if TYPE_CHECKING:
    from tests.simulation.history import History

log = logging.getLogger(__name__)

_DAY: Final = 86400.0


def write_as_stranger(history: "History") -> None:
    """Somebody else writes into a changelog: another's record, or over one of ours, or the mark."""
    rng, broker = history.rng, history.broker
    topic = rng.choice((history.settings.exchanges_topic, history.settings.panes_topic))
    tp = TopicPartition(topic, rng.randrange(history.partitions))
    ours = [record.key for record in broker.log_of(tp).committed() if record.key]
    for _ in range(rng.randint(1, 3)):
        key = rng.choice((rng.randbytes(rng.randint(1, 9)), POSITION_KEY, *ours))
        value = rng.choice((None, b"", b"{}", b"[]", b"7", rng.randbytes(rng.randint(1, 30))))
        log.info("a stranger writes %r into %s", key, tp)
        broker.append(tp, [Record(0, 0, key, value)])
    history.strange.add(tp)


def make_topic_anew(history: "History") -> None:
    """A canonical topic of which all has been read and written is deleted and made anew; some is written again."""
    rng, broker = history.rng, history.broker
    topic = rng.choice(history.settings.topics)
    offsets = broker.group(history.settings.app_id).offsets
    if broker.transactions.unended() or history.expired:  # what has expired would count again
        return
    for number, old in enumerate(broker.topics[topic]):
        done = offsets.get(TopicPartition(topic, number), 0)
        if old.stable < old.end or done < old.start or old.read(done, 1000).records:
            return  # something would be lost
    log.info("%s is made anew", topic)
    history.gone += [record for old in broker.topics[topic] for record in (*old.deleted, *old.committed())]
    history.made_anew = True
    broker.delete(topic)
    broker.create(topic, history.partitions)
    again = [told for told in history.written if told.topic == topic and told.plain]
    for told in rng.sample(again, min(len(again), rng.randint(0, 3))):
        broker.append(TopicPartition(topic, told.partition), [told.record.read()])


def turn_a_clock(history: "History") -> None:
    """The clock of a worker's machine is wrong for a while."""
    living = history.living()
    if living:
        worker = history.rng.choice(living)
        worker.jump = history.rng.choice((8 * _DAY, 3.5 * 3600, 40.0, -3600.0))
        log.info("the clock of %s is %d s ahead", worker.process, worker.jump)

        def set_right() -> None:
            worker.jump = 0.0

        history.later(history.rng.choice((0.2, 1.0, 3.0)), set_right)
