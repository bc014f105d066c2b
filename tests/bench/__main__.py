"""Runs Tally and its peers on the same topics and prints one table."""

import argparse
import os
import platform
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench import (
    beside,
    custom,
    documents,
    drift,
    growth,
    idle,
    large,
    load,
    merge,
    monitor,
    peer_runs,
    plans,
    posts,
    replays,
    scale,
    scrapes,
    store,
    weeks,
)
from tests.bench.machine import USUAL_SECONDS, loop_seconds
from tests.bench.peer_runs import PEERS, NotInstalled
from tests.bench.table import INTAKE, ONE, TWO, Row, text
from tests.bench.tally_runs import Tally
from tests.bench.workers import Bench
from tests.live.servers import Missing, kafka

OWN: Final[Mapping[str, tuple[str, Callable[[Tally], list[Row]]]]] = {
    "one": (ONE, Tally.one),
    "two": (TWO, Tally.two),
    "log": (f"{ONE} with inference-log", Tally.with_log),
    "intake": (INTAKE, Tally.intake),
    "documents": (documents.DOCUMENTS, documents.run),
    "recovery": ("recovery", Tally.recovery),
    "memory": ("memory of an open exchange", Tally.memory),
    "store": (store.STORE, store.run),
    "large": (large.LARGE, large.run),
    "scale": (scale.SCALE, scale.run),
    "weeks": (weeks.WEEKS, weeks.run),
    "latency": ("event to /metrics, idle", Tally.latency),
    "idle": (idle.IDLE, idle.run),
    **{name: (it.figures, partial(growth.run, name)) for name, it in growth.GROWTHS.items()},
    **{name: (it.figure.format(it.size), partial(beside.run, name)) for name, it in beside.BURDENS.items()},
    **{name: (it.figure, partial(scrapes.run, name)) for name, it in scrapes.SCRAPES.items()},
    "posts": (posts.POSTS, posts.run),
    "drift": (drift.DRIFT, drift.run),
    "metrics": (custom.CUSTOM, custom.run),
    "monitor": (monitor.MONITOR, monitor.run),
    "merge": (merge.MERGE, merge.run),
    "plan": (plans.PLAN, plans.run),
    "replay": (replays.REPLAY, replays.replay),
    "verify": (replays.VERIFY, replays.verify),
}
# Kafka's own default: workers (or threads) that start together are given their partitions together.
TOGETHER: Final = {"group.initial.rebalance.delay.ms": "3000"}


def main() -> None:
    arguments = parse()
    puids = 30_000 if arguments.quick else arguments.events
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="tally-bench-", ignore_cleanup_errors=True) as name, broker() as bootstrap:
        folder = Path(name)
        probes = 20 if arguments.quick else 200
        before = loop_seconds()
        tally = Tally(Bench(bootstrap, prefix, folder, arguments.partitions, puids, probes, arguments.exchanges))
        try:
            rows = [row for run in arguments.only for row in measured(run, tally, prefix, folder)]
        finally:
            load.remove(bootstrap, prefix)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{3 * puids:,} events, {arguments.partitions} partitions, {machine}")
    now = loop_seconds()
    print(f"a plain loop takes {before:.2f} s before, {now:.2f} s after; {USUAL_SECONDS} s where the goals were set")
    print(f"\n{text(rows)}")


def parse() -> argparse.Namespace:
    runs = [*OWN, *PEERS]
    usual = [name for name in runs if name not in ("large", "scale")]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=load.PUIDS, metavar="PUIDS", help="puids; each has three events")
    parser.add_argument("--partitions", type=int, default=8, help="of every topic (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=runs, default=usual, metavar="NAME", help=f"of {', '.join(runs)}")
    parser.add_argument(
        "--exchanges", type=int, default=5_000_000, help="open on disk, with --only large (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="30,000 puids: shows that it runs, no figure to quote")
    return parser.parse_args()


@contextmanager
def broker() -> Iterator[str]:
    """The broker that TALLY_TEST_BROKER names, else one that is started for this run."""
    lent = os.environ.get("TALLY_TEST_BROKER")
    with tempfile.TemporaryDirectory(prefix="tally-bench-broker-", ignore_cleanup_errors=True) as folder:
        try:
            with kafka(Path(folder), overrides=None if lent else TOGETHER, lasting=True) as server:
                yield server.bootstrap
        except Missing as reason:
            sys.exit(f"no broker: {reason}")


def measured(name: str, tally: Tally, prefix: str, folder: Path) -> list[Row]:
    """The rows of one run; a run that cannot be made leaves a sentence and does not end the others."""
    figure = OWN[name][0] if name in OWN else PEERS[name].figure
    print(f"{figure} …", file=sys.stderr, flush=True)
    try:
        if name in OWN:
            return OWN[name][1](tally)
        return peer_runs.run(name, tally.topics, f"{prefix}-{name}", folder)
    except NotInstalled as reason:
        return [Row(figure, f"not run: {reason}")]
    except Exception as error:
        return [Row(figure, f"failed: {error}")]


if __name__ == "__main__":
    main()
