"""`tally feedback --file` with a real broker and worker: each label of a file counts once, also when it is killed."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.live import servers
from tests.live.changelogs import ends
from tests.live.story import TYPES, Event
from tests.live.test_cli import Tally
from tests.live.workers import Fleet, Series, produce, wait_for
from tests.patience import PATIENCE

COUNT = 20_000
#: Predictions that nobody asks about, and labels of which no prediction is known.
ORPHANS = 700
LEG = [("ce_namespace", b"n"), ("ce_inferenceservicename", b"s"), ("ce_endpoint", b"p"), ("ce_modelid", b"m")]


class Labels(Tally):
    """A command line, a worker that knows predictions, and the labels that they should have."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        super().__init__(bootstrap)
        self.settings["SESSION_TIMEOUT"] = "3s"
        self.says("topics", "--create")
        self.fleet = Fleet(folder, self.settings)
        rng = random.Random(14)
        self.puids = [f"{rng.getrandbits(64):016x}" for _ in range(COUNT)]
        self.predicted = [rng.randrange(3) for _ in self.puids]
        self.labels = [rng.randrange(3) for _ in self.puids]
        self.orphans = [f"nobody-{number}" for number in range(ORPHANS)]

    def predict(self) -> None:
        headers = [("ce_type", TYPES["response"].encode()), *LEG]
        now = int(time.time() * 1000)
        bodies = [b'{"data": {"ndarray": [%d]}}' % number for number in range(3)]
        produce(
            self.settings,
            (
                Event("response", puid.encode(), bodies[predicted], headers, now)
                for puid, predicted in zip(self.puids, self.predicted, strict=True)
            ),
        )

    def confusion(self) -> dict[tuple[str, str], float]:
        series = self.series()
        return {
            (dict(labels)["actual"], dict(labels)["predicted"]): value
            for (name, labels), value in series.items()
            if name == "tally_confusion"
        }

    def series(self) -> Series:
        (worker,) = self.fleet.running()
        return worker.series()

    def expected(self) -> dict[tuple[str, str], float]:
        cells: dict[tuple[str, str], float] = {}
        for label, predicted in zip(self.labels, self.predicted, strict=True):
            cell = str(label), str(predicted)
            cells[cell] = cells.get(cell, 0) + 1
        return cells

    def killed(self, *arguments: str | Path, after: int) -> None:
        """Kill the command once so many events have arrived."""
        command = [sys.executable, "-m", "app", *map(str, arguments)]
        process = subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL)
        wait_for("it has sent something", lambda: self.read() >= after)
        process.kill()
        process.wait()

    def read(self) -> float:
        return self.fleet.total("tally_events_total", kind="feedback")


@pytest.fixture
def labels(kafka: servers.Kafka, tmp_path: Path) -> Iterator[Labels]:
    labels = Labels(kafka.bootstrap, tmp_path)
    with labels.fleet:
        worker = labels.fleet.start()
        wait_for("the worker is ready", worker.ready)
        labels.predict()
        read = partial(labels.fleet.total, "tally_events_total", kind="response")
        wait_for("the predictions are known", lambda: read() == COUNT)
        yield labels


def write_csv(file: Path, puids: Sequence[str], labels: Sequence[int]) -> None:
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines, delimiter=";")
        writer.writerow(["id", "churned"])
        writer.writerows(zip(puids, labels, strict=True))


def test_labels_of_parquet_and_csv_count_once_killed_and_sent_again(labels: Labels, tmp_path: Path) -> None:
    half = COUNT // 2
    first, second = tmp_path / "first.parquet", tmp_path / "second.csv"
    # As frames write integers with gaps: the gap says nothing, the others are 0.0, 1.0, 2.0. All of it comes 20 times.
    column = pa.array([*map(float, labels.labels[:half]), None] * 20, pa.float64())
    times = pa.array([int(time.time() * 1e6)] * len(column), pa.timestamp("us"))
    parquet.write_table(pa.table({"puid": [*labels.puids[:half], "gap"] * 20, "label": column, "time": times}), first)
    write_csv(second, [*labels.puids[half:], *labels.orphans], [*labels.labels[half:], *[1] * ORPHANS])
    of_csv = ("feedback", "--file", second, "--puid-column", "id", "--label-column", "churned")

    assert "would send 200000 statements" in labels.says("feedback", "--file", first, "--dry-run")
    assert labels.read() == 0
    labels.killed("feedback", "--file", first, after=1)
    written = partial(ends, labels.bootstrap, labels.feedback)
    wait_for("all that it has sent is counted", lambda: labels.read() == sum(written().values()))
    arrived = labels.read()
    assert 0 < arrived < 20 * half
    said = labels.says("feedback", "--file", first)
    assert said.startswith("sent 200000 statements to ")
    assert "left out: 20 lines without a label and a reward\n" in said
    assert "no prediction is known of 0.0% of the puids (0.0% to " in said
    labels.killed(*of_csv, after=int(arrived) + 20 * half + 1)
    for _ in range(2):
        said = labels.says(*of_csv)
        assert said.startswith(f"sent {half + ORPHANS} statements to ")
        assert " of a sample of 1000)" in said
    wait_for("all labels count", lambda: labels.confusion() == labels.expected())
    assert labels.series().get(("tally_corrections_total", ()), 0) == 0

    (worker,) = labels.fleet.running()
    time.sleep(1)  # all is counted: nothing that comes later may change it
    assert labels.confusion() == labels.expected()
    with urllib.request.urlopen(f"{worker.url}/api/exchanges/{labels.orphans[0]}") as reply:  # noqa: S310 - ours
        assert json.load(reply)["label"] == "1"


def test_of_a_small_file_it_is_said_exactly_how_many_found_no_prediction(labels: Labels, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(
        "".join(f'{{"puid": "{puid}", "label": 1}}\n' for puid in [*labels.puids[:30], *labels.orphans[:12]])
    )
    assert "no prediction is known of 12 of 42 puids\n" in labels.says("feedback", "--file", file)
    assert "no prediction" not in labels.says("feedback", "--file", file, "--no-wait")


def test_lines_for_single_rows_label_them_and_bad_ones_are_put_aside(labels: Labels, tmp_path: Path) -> None:
    headers = [("ce_type", TYPES["response"].encode()), *LEG]
    batch = Event("response", b"batch", b'{"data": {"ndarray": [0, 1, 2]}}', headers, int(time.time() * 1000))
    produce(labels.settings, [batch])
    file = tmp_path / "rows.tsv"
    file.write_text("puid\trow\tlabel\nbatch\t0\t0\nbatch\t2\t1\nbatch\tx\t1\n")
    assert "1 of 3 lines cannot be used" in labels.refuses("feedback", "--file", file)
    said = labels.says("feedback", "--file", file, "--skip-bad", "--service", "s")
    assert said.startswith("sent 2 statements to ")
    assert f"left out: 1 line that cannot be used\nthe bad lines are in {file}.bad.jsonl\n" in said
    (bad,) = map(json.loads, Path(f"{file}.bad.jsonl").read_text().splitlines())
    assert (bad["line"], bad["puid"], bad["row"]) == (4, "batch", "x")
    (worker,) = labels.fleet.running()

    def rows() -> list[bool | None]:
        legs = json.loads(worker.get("/api/exchanges/batch"))["legs"]
        return [row.get("correct") for leg in legs for row in leg["rows"]]

    wait_for("both labels count", lambda: rows() == [True, None, False])


def test_without_a_worker_all_is_sent_and_that_is_said(kafka: servers.Kafka, tmp_path: Path) -> None:
    tally = Tally(kafka.bootstrap)
    tally.says("topics", "--create")
    file = tmp_path / "labels.csv"
    file.write_text("puid,label\na,1\n")
    said = tally.says("feedback", "--file", file, WEB_PORT=str(servers.free_port()))
    assert "how many found no prediction is not known: no worker answers at http://127.0.0.1:" in said
    assert len(tally.records(tally.feedback)) == 1


def test_an_interrupted_one_says_how_far_it_came(labels: Labels, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("puid,label\n" + "".join(f"p{number},1\n" for number in range(400_000)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignored"
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "feedback", "--file", str(file)], env=labels.environment(), stderr=subprocess.PIPE
    )
    signal.signal(signal.SIGINT, before)
    wait_for("it has sent something", lambda: labels.read() > 0)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 1
    assert "statements were sent; run it again, what was sent counts once" in said
    assert "Traceback" not in said
