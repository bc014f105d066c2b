"""What `tally plan` says of the changelog of panes, beside what a partition writes of an even load."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from random import Random
from typing import Final

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from app.cli import plan as planned
from app.cli.plan import EVENTS_AN_EXCHANGE, Load, epoch_seconds, plan
from app.core.counts.panes import PaneClock
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.worker.lane import lane
from tests.builders import START, Fields, Record, a_feedback, a_request, a_response, absorb

PARTITIONS: Final = 8
#: The broker ends each transaction with a batch of one record.
MARK_BYTES: Final = 78
SECONDS: Final = 120


def even(rate: float, models: int, label_seconds: float, lasts: float) -> Iterator[tuple[float, Record]]:
    """The events of one partition by when they come: exchanges of models in turn, with three classes and labels."""
    chance = Random(1)
    for number in range(int(rate * lasts)):
        at = number / rate
        late = at + 0.03 + chance.uniform(0, 2 * label_seconds)
        scores = [chance.random() for _ in range(3)]
        of_all: Fields = {"puid": f"{number:032x}", "namespace": "seldon", "service": f"sklearn-{number % models}"}
        own: Fields = {**of_all, "model": "classifier", "at": at}
        of_label: Fields = {**own, "at": late}
        truth = chance.randrange(3)
        yield at, a_request(**own)
        yield at, a_response([score / sum(scores) for score in scores], version="1.0", **own)
        yield late, a_feedback([[int(position == truth) for position in range(3)]], reward=1, **of_label)


def written_a_second(rate: float, models: int, label_seconds: float, epoch: float) -> float:
    """Bytes that one partition writes to the changelog, once labels come as often as answers."""
    shard = Shard(0, PARTITIONS, Rulebook(), PaneClock(by_labels=True), Limits(), Stats())
    begin = 2 * label_seconds
    events = sorted(even(rate, models, label_seconds, begin + SECONDS), key=lambda event: event[0])
    written = 0
    for number, arriving in groupby(events, key=lambda event: int(event[0] / epoch)):
        absorb(shard, [record for _, record in arriving])
        cut = shard.cut(START + (number + 1) * epoch)
        batch = BatchBuilder(1 << 20, 0, is_transactional=True)
        for key, value in cut.panes:
            assert batch.append(timestamp=0, key=key, value=value) is not None
        if begin <= number * epoch < begin + SECONDS:
            written += batch.size() + MARK_BYTES
    return written / SECONDS


@pytest.mark.parametrize(
    ("rate", "models", "label_seconds"), [(50, 1, 10), (50, 1, 0.01), (10, 1, 120), (20, 5, 30), (1, 1, 60)]
)
def test_panes_are_written_as_often_and_as_large_as_is_planned(rate: float, models: int, label_seconds: float) -> None:
    load = Load(
        rate * PARTITIONS * EVENTS_AN_EXCHANGE, 3600.0, models, replication=1, label_seconds=label_seconds, lasts=1800.0
    )
    found = plan(load)
    assert found.partitions == PARTITIONS
    more = (plan(replace(load, lasts=1800.0 + SECONDS)).panes_disk - found.panes_disk) / SECONDS / PARTITIONS
    epoch = epoch_seconds(load, PARTITIONS, found.workers)
    assert more == pytest.approx(written_a_second(rate, models, label_seconds, epoch), rel=0.2)


def test_epochs_are_as_long_as_the_lane_makes_them() -> None:
    assert (planned.SECONDS_A_PANE, planned.MOST_SECONDS_FOR_PANES) == (lane._SECONDS_A_PANE, lane._LONGEST_SECONDS)
    assert epoch_seconds(Load(60, 3600.0), 8, 2) == 0.2
    assert epoch_seconds(Load(60, 3600.0, epoch_seconds=1.0), 8, 2) == 1.0
    assert epoch_seconds(Load(60, 3600.0), 64, 2) == 0.8
    assert 0.2 < epoch_seconds(Load(3000, 3600.0, models=100), 8, 8) < 2
    assert epoch_seconds(Load(60_000, 3600.0, models=300), 64, 8) == 2


def test_later_labels_write_more_panes() -> None:
    sizes = [plan(Load(600, 3600.0, label_seconds=late)).panes_disk for late in (0, 60, 600, 3600)]
    assert sizes == sorted(set(sizes))
