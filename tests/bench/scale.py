"""How the ordinary load goes with more partitions and more workers, all on this machine."""

from typing import Final

from tests.bench import load
from tests.bench.table import Row
from tests.bench.tally_runs import Tally

SCALE: Final = "partitions and workers"
PARTITIONS: Final = (8, 64, 256)
WORKERS: Final = (1, 2, 4)
_PUIDS: Final = 200_000


def run(tally: Tally) -> list[Row]:
    """Events a second, and CPU time an event of all workers, for each count of partitions with each of workers."""
    bench = tally.bench
    rows: list[Row] = []
    for partitions in PARTITIONS:
        topics = load.fill(bench.empty(f"scale-{partitions}", partitions), bench.part(_PUIDS))
        for workers in WORKERS:
            figure = f"{partitions} partitions, {workers} worker{'s' * (workers > 1)}"
            rows += tally.throughput(figure, f"{bench.prefix}-scale-{partitions}-{workers}", workers, topics)
    return rows
