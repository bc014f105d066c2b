"""What the merged view costs a worker: the counts of very many partitions, as they come from the panes topic.

It is measured in this process, without Kafka: one cut of a shard stands for those of all partitions.
"""

import random
import time
from typing import Final

from app.core.counts.panes import PaneClock
from app.core.counts.view import View
from app.settings import load_settings
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.builders import a_feedback, a_request, a_response, a_shard

MERGE: Final = "merge of the counts of 512 partitions"
_PARTITIONS: Final = 512
_MODELS: Final = 10
_EXCHANGES: Final = 60  # of each model, in an epoch
#: The longest epoch of a worker that keeps up, where many models and partitions are.
_EPOCH_SECONDS: Final = 2.0


def run(_: Tally) -> list[Row]:
    """The cost of a row, and what it comes to at every worker while all partitions make their epochs."""
    before, after = _cuts()
    view = View(PaneClock(by_labels=True), load_settings().windows)
    for number in range(_PARTITIONS):
        for key, value in before:
            view.take(number, key, value)
    begun = time.process_time()
    for number in range(_PARTITIONS):
        for key, value in after:
            view.take(number, key, value)
    used = time.process_time() - begun
    rows = _PARTITIONS * len(after)
    size = sum(len(key) + len(value or b"") for key, value in after) * _PARTITIONS
    figure = f"{MERGE} of {_MODELS} models"
    return [
        Row(f"{figure}: CPU", used * 1e6 / rows, "µs/row"),
        Row(f"{figure}: rows an epoch", rows),
        Row(f"{figure}: traffic at epochs of {_EPOCH_SECONDS:g} s", size / _EPOCH_SECONDS / 1e6, "MB/s"),
        Row(f"{figure}: share of a core at every worker", used / _EPOCH_SECONDS * 100, "%"),
    ]


def _cuts() -> tuple[list[tuple[bytes, bytes | None]], list[tuple[bytes, bytes | None]]]:
    """The rows of counts of an epoch and of the next one, of a shard that knows its models already."""
    shard, chance = a_shard(), random.Random(1)
    cuts = []
    for epoch in range(3):
        for number in range(_MODELS * _EXCHANGES):
            puid, service = f"{epoch}-{number}", f"m{number % _MODELS}"
            at = 2.0 * epoch + number / (_MODELS * _EXCHANGES)
            shard.absorb("request", [a_request(puid=puid, service=service, at=at).read()])
            answer = a_response(chance.randrange(3), puid=puid, service=service, at=at)
            shard.absorb("response", [answer.read()])
            label = a_feedback(chance.randrange(3), puid=puid, service=service, at=at)
            shard.absorb("feedback", [label.read()])
        cuts.append(shard.cut(None).panes)
    return cuts[1], cuts[2]
