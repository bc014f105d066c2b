"""A monitor beside the lane: how many events a worker takes meanwhile, against how many it takes without one.

Both runs write `inference-log`, which monitors score. The monitor scores 5,000 rows a second and sleeps between; its
results are events that the lane takes besides. It has a process of its own, as has what reads the log for it: on a
machine where these find no free core they take the lane's time, which its CPU time an event does not show. What a
result costs the lane is measured once more in this process, on one shard, without Kafka.
"""

import os
import time
from pathlib import Path
from typing import Final

from tests.bench import load
from tests.bench.load import Topics
from tests.bench.table import RATE, Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import Bench, Run, Sample, watch, worker
from tests.builders import a_feedback, a_request, a_response, a_result, a_shard, kind_of

MONITOR: Final = "one worker beside a monitor"
AGAINST: Final = f"{MONITOR} against without it"
_ROWS_A_SECOND: Final = 5000
#: What is measured begins when so much is done: by then the monitor scores.
_BEGUN: Final = 1 / 3
_RESULTS: Final = 20_000
_BATCH: Final = 500
_RUNS: Final = 3
_CODE: Final = """
import time

due = 0.0

def score(inputs, outputs):
    global due
    due = max(due, time.monotonic()) + len(inputs) / {rate}
    time.sleep(max(0.0, due - time.monotonic()))
    with open({told!r}, "a") as told:
        print(time.monotonic(), len(inputs), file=told)
    return inputs[:, 0]
"""


def run(tally: Tally) -> list[Row]:
    """The events a second of both, the lane's CPU time an event, and the rows that were scored meanwhile."""
    bench = tally.bench
    topics = load.fill(bench.empty("monitor"), bench.puids)
    told = bench.folder / "monitor-rows.txt"
    file = bench.folder / "monitor.py"
    file.write_text(_CODE.format(rate=_ROWS_A_SECOND, told=str(told)))
    config = bench.folder / "monitor.yaml"
    entry = "paced: {file: monitor.py, alert_when: '> 4.9'}"
    config.write_text(f"models:\n  - match: 'seldon/*'\n    monitors: {{{entry}}}\n")
    alone = _watched(bench, topics, "alone")
    beside = _watched(bench, topics, "beside", TALLY_CONFIG=str(config))
    rows = []
    for name, seen in (("the same without it", alone), (MONITOR, beside)):
        begun = _begun(seen)
        rows += [Row(name, seen.rate(begun), RATE), Row(f"{name}: CPU", seen.cpu_us(begun), "µs/event")]
    begun, end = _begun(beside), beside.samples[-1]
    return [
        *rows,
        Row(f"{MONITOR}: rows scored meanwhile", _scored(told, begun.at, end.at), "a second"),
        Row(AGAINST, beside.rate(begun) / alone.rate(_begun(alone)), f"x on {os.cpu_count()} cores"),
        Row(f"{AGAINST}: CPU", beside.cpu_us(begun) / alone.cpu_us(_begun(alone)), "x"),
        Row("a result of a monitor: CPU more", 1e6 * min(_more_for_a_result() for _ in range(_RUNS)), "µs"),
    ]


def _watched(bench: Bench, topics: Topics, name: str, **settings: str) -> Run:
    app_id = f"{bench.prefix}-monitor-{name}"
    with worker(topics, app_id, bench.folder, TALLY_LOG_TOPIC=f"{app_id}-log", **settings) as started:
        return watch([started], topics, app_id)


def _begun(seen: Run) -> Sample:
    return next(sample for sample in seen.samples if sum(sample.events) >= _BEGUN * seen.events)


def _scored(told: Path, begin: float, end: float) -> float:
    """How many rows were scored a second between two times."""
    lines = [line.split() for line in told.read_text().splitlines()] if told.exists() else []
    return sum(int(rows) for at, rows in lines if begin < float(at) <= end) / (end - begin)


def _more_for_a_result() -> float:
    """Seconds of CPU that a result of one row takes: its exchange has a request, an answer and a label already."""
    numbers = range(_RESULTS)
    asked = [a_request(puid=f"p{it}", at=it / 1000) for it in numbers]
    told = [a_response([0.2, 0.8], puid=f"p{it}", at=it / 1000) for it in numbers]
    labels = [a_feedback(1, puid=f"p{it}", at=it / 1000) for it in numbers]
    results = [a_result(it % 997 / 997, puid=f"p{it}", at=it / 1000) for it in numbers]
    shard = a_shard(logs=True)
    used = 0.0
    for records in (asked, told, labels, results):
        batches = [[one.read() for one in records[start : start + _BATCH]] for start in range(0, _RESULTS, _BATCH)]
        begun = time.process_time()
        for batch in batches:
            shard.absorb(kind_of(records[0]), batch)
            shard.settle()
            shard.cut(None)
        used = time.process_time() - begun
    return used / _RESULTS
