"""Partitions side by side: one process folds one partition at a time, so that memory holds few of them at once."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from app.replay.fold import Counting, Fold, Folded, quick
from app.replay.processes import Progress, spread
from app.replay.reading import open_reader, read
from app.replay.store import spilling_store
from app.replay.stretch import Stretch, StretchError
from app.worker.kafka.client import unreachable

if TYPE_CHECKING:
    from app.replay.copying import Copies


class Share(NamedTuple):
    """One partition to fold."""

    counting: Counting
    partition: int
    partitions: int
    stretch: Stretch
    copies: "Copies | None" = None  # where its documents are written, if anywhere


def fold_all(shares: Sequence[Share], processes: int, progress: Progress) -> list[Folded]:
    """Fold partitions, the largest first, in so many processes at most; with one, in this one."""
    ordered = sorted(shares, key=lambda share: -share.stretch.records)
    return spread(fold_share, ordered, processes, progress)


def fold_share(share: Share, progress: Progress) -> Folded:
    """Fold one partition."""
    settings = share.counting.settings
    with quick(), spilling_store(settings.data_dir) as store, spilling_store(settings.data_dir, 20_000) as bodies:
        expected = None
        if share.copies is not None:
            from app.replay.documents import Expected

            expected = Expected(share.counting.rulebook, settings, bodies)
        joined = None if expected is None else expected.take
        fold = Fold(share.counting, share.partition, share.partitions, store=store, joined=joined)
        in_loop(lambda: _fold(fold, share, progress), share.counting)
        folded = fold.finish()
        if expected is None or share.copies is None:
            return folded
        from app.replay.copying import write_documents

        copies = share.copies
        return folded._replace(documents=in_loop(lambda: write_documents(settings, expected, copies), share.counting))


async def _fold(fold: Fold, share: Share, progress: Progress) -> None:
    stretch = share.stretch
    consumer = await open_reader(share.counting.settings)
    try:
        fold.expect({tp.topic for tp, start in stretch.starts.items() if start < stretch.ends[tp]})
        last = dict(stretch.starts)
        async with aclosing(read(consumer, stretch)) as lists:
            async for tp, records in lists:
                fold.take(tp.topic, records)
                place = consumer.next_offset(tp) or 0
                if place >= stretch.ends[tp]:
                    fold.end(tp.topic)
                progress(min(place, stretch.ends[tp]) - last[tp])
                last[tp] = min(place, stretch.ends[tp])
        progress(sum(stretch.ends[tp] - place for tp, place in last.items() if place < stretch.ends[tp]))
    finally:
        await consumer.stop()


def in_loop(work: Callable[[], Any], counting: Counting) -> Any:
    """Run work that reads Kafka in a loop of its own. What goes wrong there becomes one sentence."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())
    except OffsetOutOfRangeError as error:
        tp, offset = next(iter(error.args[0].items()))
        raise StretchError(
            f"Offset {offset} of {tp.topic}, partition {tp.partition}, was deleted while it was being read: begin "
            "later, or raise the topic's retention.ms."
        ) from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(counting.settings, error) from None
