"""However many processes fold the lanes of files, sources and documents: what comes out is the same, byte for byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import psutil
import pytest

from app.cli.ends import EXIT_WRONG
from app.cli.replayed_files import replay_files
from app.core.rules import Rulebook
from app.core.wire.records import Record, pack_headers
from app.replay import mixture
from app.replay.fold import Counting, Fold, Folded
from app.replay.lanes import LANES, LanesApart, lane_of, lanes_apart
from app.replay.outcome import outcome_of, prometheus
from app.replay.processes import EndedError
from app.replay.stretch import parse_bound
from app.settings import Settings
from tests import builders
from tests.builders import START, a_feedback, a_request, a_response, kind_of
from tests.oracle.exposition import WINDOWS
from tests.oracle.stories import Story, a_story
from tests.oracle.test_oracle import rules_of
from tests.patience import PATIENCE
from tests.replay.test_files import TOPICS, line, written

EARLIEST, LATEST = parse_bound("--from", "earliest", 0.0), parse_bound("--to", "latest", 0.0)


@pytest.fixture
def _processes_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "_WORTH_PROCESSES", 1)


def counting_of(story: Story) -> Counting:
    windows = {"windows": ",".join(WINDOWS), "window_retention": "8d"}
    settings = Settings.model_validate({"now": float(START + story.now), **windows})
    return Counting(settings, Rulebook(tuple(map(rules_of, story.rules))), settings.limits)


def text(counting: Counting, folded: Sequence[Folded]) -> str:
    return prometheus(outcome_of(counting, folded, counting.settings.now))


def replayed(counting: Counting, lines: list[str], folder: Path, processes: int) -> str:
    return text(counting, replay_files(counting, [str(written(folder, lines))], EARLIEST, LATEST, processes))


@pytest.mark.usefixtures("_processes_for_little")
def test_several_processes_say_what_one_says(tmp_path: Path) -> None:
    story = a_story(Random(3))
    lines = [line(record) for record in story.records]
    one, *others = (replayed(counting_of(story), lines, tmp_path, processes) for processes in (1, 2, 3))
    assert one.count("\n") > 100
    assert others == [one, one]


@pytest.mark.parametrize("seed", range(24))
def test_lanes_say_what_one_fold_of_all_says_however_often_it_is_cut(seed: int, tmp_path: Path) -> None:
    story = a_story(Random(seed))
    counting = counting_of(story)
    records = sorted(story.records, key=lambda record: record.timestamp)
    fold = Fold(counting, 0, 1, alone=True)
    for record in records:
        fold.take(TOPICS[kind_of(record)], [with_block(record)])
        fold.cut(None)
    lanes = replayed(counting, [line(record) for record in records], tmp_path, 1)
    assert but_first_seen(lanes) == but_first_seen(text(counting, [fold.finish()]))


def but_first_seen(series: str) -> list[str]:
    """All but when models were first seen: of parts that others outdate before a cut nothing is seen."""
    return [sample for sample in series.splitlines() if not sample.startswith("tally_model_first_seen")]


def with_block(record: builders.Record) -> Record:
    return Record(0, record.timestamp, record.key, record.value, pack_headers(record.headers))


def test_ids_that_may_mean_rows_of_each_other_share_a_lane() -> None:
    for number in range(50):
        puid = b"p%d" % number
        assert {lane_of(puid + rest) for rest in (b"", b"-item-3", b"-item-3-item-12")} == {lane_of(puid)}
    assert {lane_of(b"p%d" % number) for number in range(500)} == set(range(LANES))
    assert {lane_of(b"p-item-%d" % number) for number in range(500)} == {lane_of(b"p")}


# -- the end of processes ---------------------------------------------------------------------------------------------


@pytest.fixture
def apart() -> Iterator[LanesApart]:
    settings = Settings.model_validate({})
    with lanes_apart(Counting(settings, Rulebook(()), settings.limits), 2) as lanes:
        yield lanes


def test_a_process_that_is_killed_ends_the_replay_with_a_sentence(apart: LanesApart) -> None:
    apart._processes[1].kill()
    apart._processes[1].join(PATIENCE)
    with pytest.raises(EndedError, match=r"^One of the processes was ended from outside, .* fewer --processes\.$"):
        apart.take(1, [])


def test_a_process_that_is_killed_at_last_does_so_too(apart: LanesApart) -> None:
    apart.take(1, [])
    apart._processes[0].kill()
    with pytest.raises(EndedError):
        apart.finish()


def test_what_a_process_fails_with_is_raised(apart: LanesApart) -> None:
    apart.take(0, [(7, [])])  # there are three topics
    with pytest.raises(IndexError) as error:
        apart.finish()
    assert "_fold_lanes" in error.value.__notes__[0]


@pytest.fixture
def _foreground() -> Iterator[None]:
    """What is started hears of Ctrl-C, as on a terminal. In the background of a shell it does not."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_foreground")
def test_ctrl_c_ends_all_processes_and_leaves_nothing(tmp_path: Path) -> None:
    """In the group of a terminal all hear of it, and others as soon as there are any."""
    command = [sys.executable, "-m", "app", "replay", "-", "--processes", "3"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    environment["TALLY_DATA_DIR"] = str(tmp_path)
    story = [a_request(puid="p{n}"), a_response(1, puid="p{n}"), a_feedback(1, puid="p{n}")]
    forms = [f"{line(record)}\n" for record in story]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        for number in range(10_000):
            process.stdin.write("".join(form.replace("{n}", str(number)) for form in forms).encode())
        process.stdin.flush()
        others = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == EXIT_WRONG - 1
        assert b"Traceback" not in process.stderr.read()
        _, alive = psutil.wait_procs(others, PATIENCE)
        assert not alive
    assert not [*tmp_path.iterdir()]


def children_of(pid: int) -> list[psutil.Process]:
    """The three processes that fold, and what watches over their resources."""
    until = time.monotonic() + PATIENCE
    while len(found := psutil.Process(pid).children(recursive=True)) < 4:
        assert time.monotonic() < until
        time.sleep(0.01)
    return found
