"""`tally demo` as a user runs it: numbers soon, exact counts through a kill, a sentence for what is wrong, no trace."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from tests.live import servers
from tests.live.workers import wait_for
from tests.patience import PATIENCE

SETTLED = re.compile(r"produced (\d+) exchanges, counted (\d+); produced (\d+) rewards, counted (\d+): equal")
MODELS = {
    (service, predictor, model, version)
    for service in ("breast-cancer", "iris")
    for predictor, model, version in (("default", "current", "1.4"), ("shadow", "shadow", "2.0"))
}
CORRECTED = re.compile(
    r"A label was wrong after all\..*\n  (curl .*)\n  puid (\S+): label (\d) before, (\d) now\n"
    r"  \S+/default/current: (\d+) rows right and (\d+) wrong before, (\d+) and (\d+) now"
)
T = TypeVar("T")


class Demo:
    """A running demo: its output so far, and the processes that it has started."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
        environment |= {f"TALLY_{name}": value for name, value in settings.items()} | {"TMPDIR": str(folder)}
        self.began = time.monotonic()
        self._folder = folder
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app", "demo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        self._children: set[psutil.Process] = set()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(self._process.stdout)

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def wait_for(self, found: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        """The first answer of `found` that says something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            if answer := found():
                return answer
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds:g} s; the demo has said:\n{self.output}")

    def said(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        return self.wait_for(lambda: re.search(pattern, self.output), seconds)

    def note_children(self) -> None:
        """Remember what must not outlive the demo."""
        self._children |= set(psutil.Process(self._process.pid).children(recursive=True))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for the end, see that nothing is left, and return the exit code."""
        code = self._process.wait(seconds)
        self._reader.join()
        assert [child for child in self._children if child.is_running()] == []
        assert list(self._folder.iterdir()) == []
        return code

    def end_cleaned_up(self) -> int:
        """The same, where somebody else has to clean up."""
        code = self._process.wait(PATIENCE)
        wait_for("no process is left", lambda: not any(child.is_running() for child in self._children))
        wait_for("no file is left", lambda: not any(self._folder.iterdir()))
        assert code == self.end()
        return code

    def kill(self) -> None:
        """Leave nothing of a demo that did not end by itself."""
        if self._process.poll() is None:
            self.note_children()
            self._process.kill()
        for child in self._children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._reader.join()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    with contextlib.ExitStack() as stack:

        def start_demo(*options: str, **settings: str) -> Demo:
            demo = Demo(tmp_path, *options, **settings)
            stack.callback(demo.kill)
            return demo

        yield start_demo


def ask(url: str, body: str | None = None) -> Any:
    request = urllib.request.Request(url, body.encode() if body else None)  # noqa: S310
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=PATIENCE) as reply:
        content = reply.read()
    return json.loads(content) if content else None


def topics_of_demos(kafka: servers.Kafka) -> list[str]:
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=PATIENCE).topics
    return [name for name in topics if name.startswith("tally-demo-")]


def models_with_rows(url: str) -> dict[tuple[str, ...], Any]:
    names = ("model_service", "predictor", "model", "model_version")
    report = ask(f"{url}api/models")
    return {tuple(model[name] for name in names): model for model in report["models"] if sum(model["rows"].values())}


def test_without_a_broker_it_brings_its_own_and_shows_four_models(
    start: Callable[..., Demo], record_property: Callable[[str, object], None]
) -> None:
    demo = start("--seconds", "40")  # after 15 s a label is corrected, and then there is something to do
    url = demo.said(r"Page: +(http://\S+/)")[1]
    demo.note_children()
    models = demo.wait_for(lambda: found if len(found := models_with_rows(url)) >= 4 else None)
    record_property(
        "seconds", [("from the start of the demo until four models show rows", time.monotonic() - demo.began)]
    )
    assert models.keys() == MODELS
    assert {key[0]: model["task"] for key, model in models.items()} == {"breast-cancer": "binary", "iris": "multiclass"}

    corrected = demo.said(CORRECTED.pattern)
    command = shlex.split(corrected[1])
    target, body = command[1], command[command.index("-d") + 1]
    puid, old, new = corrected[2], corrected[3], corrected[4]
    right, wrong, right_now, wrong_now = map(int, corrected.groups()[4:])
    assert (target, json.loads(body)) == (f"{url}feedback", {"puid": puid, "label": int(new)})
    assert (old != new, right_now, wrong_now) == (True, right + 1, wrong - 1)
    exchange = f"{url}api/exchanges/{puid}"
    assert [leg["rows"][0]["label"] for leg in ask(exchange)["legs"]] == [new] * 2
    for feedback in (
        {"puid": puid, "label": int(old)},  # back again
        {"puid": "2cfe7cb7", "label": 1, "reward": 1},  # as the README's, of no prediction of the demo
    ):
        ask(target, json.dumps(feedback))
    demo.wait_for(lambda: all(leg["rows"][0]["label"] == old for leg in ask(exchange)["legs"]))

    assert demo.end() == 0
    settled = SETTLED.search(demo.output)
    assert settled, demo.output
    assert demo.output.endswith(": equal, and 2 events of yours.\n")
    exchanges, counted, rewards, counted_rewards = map(int, settled.groups())
    assert exchanges == counted >= 400
    assert rewards == counted_rewards >= 100


def test_a_worker_killed_on_a_real_broker_costs_nothing(kafka: servers.Kafka, start: Callable[..., Demo]) -> None:
    demo = start("--seconds", "60", KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap)
    victim = int(demo.said(r"kill -9 (\d+)")[1])
    demo.note_children()
    url = demo.said(r"Page: +(http://\S+/)")[1]
    demo.wait_for(lambda: len(models_with_rows(url)) == 4)
    time.sleep(3)
    os.kill(victim, signal.SIGKILL)
    demo.said(rf"Worker {victim} killed by SIGKILL")
    taken_over = demo.said(r"Taken over after .*")[0]
    assert SETTLED.search(taken_over), taken_over
    assert demo.end() == 0
    settled = SETTLED.search(demo.output.splitlines()[-1])
    assert settled, demo.output
    assert int(settled[1]) == int(settled[2]) >= 400
    wait_for("its topics are gone", lambda: not topics_of_demos(kafka))


def test_it_says_which_model_got_worse_since_when(start: Callable[..., Demo]) -> None:
    demo = start("--seconds", "85")
    demo.said("Starting a worker")
    demo.note_children()
    assert demo.end() == 0
    *_, last, of_cancer, of_iris, verdict = demo.output.splitlines()
    worse = re.fullmatch(
        r"(\S+) got worse, by (\d+) points: (\d+)% of its answers were right by the labels that came before "
        r"\d\d:\d\d:\d\d, (\d+)% by the \d+ that came since\.",
        last,
    )
    assert worse, demo.output
    assert worse[1] == "breast-cancer/default/current"
    assert int(worse[2]) == int(worse[3]) - int(worse[4]) >= 15
    assert len(re.findall("got worse", demo.output)) == 2
    assert of_cancer.startswith("breast-cancer: shadow is better (accuracy +")
    assert of_iris.startswith("iris: ")
    assert SETTLED.search(verdict)


def test_a_demo_that_is_killed_leaves_nothing(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.said(r"rows \d+")
    demo.note_children()
    demo.signal(signal.SIGKILL)
    assert demo.end_cleaned_up() == -signal.SIGKILL


def test_a_demo_that_is_killed_leaves_nothing_on_a_real_broker(
    kafka: servers.Kafka, start: Callable[..., Demo]
) -> None:
    demo = start(KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap)
    demo.said(r"rows \d+")
    demo.note_children()
    assert topics_of_demos(kafka)
    demo.signal(signal.SIGKILL)
    assert demo.end_cleaned_up() == -signal.SIGKILL
    wait_for("its topics are gone", lambda: not topics_of_demos(kafka))


def test_told_twice_it_ends_at_once_and_leaves_nothing(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.said(r"rows \d+")
    demo.note_children()
    demo.signal(signal.SIGINT)
    demo.signal(signal.SIGINT)
    assert demo.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_it_ends_when_told_to_and_leaves_nothing(start: Callable[..., Demo], number: signal.Signals) -> None:
    demo = start()
    demo.said(r"rows \d+")
    demo.note_children()
    demo.signal(number)
    assert demo.end() == 0
    assert SETTLED.search(demo.output), demo.output


def test_it_can_be_told_while_it_starts(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.said("Starting a worker")
    demo.note_children()
    demo.signal(signal.SIGINT)
    assert demo.end() == 0


def test_a_worker_that_dies_with_the_only_copy_of_the_counts_ends_it(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.said(r"rows \d+")
    demo.note_children()
    (worker,) = (child for child in demo._children if "worker" in child.cmdline())
    worker.kill()
    assert demo.end() == 3
    assert demo.output.endswith("tally: The last worker killed by SIGKILL\n")


def test_a_port_that_is_taken_is_one_sentence(start: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start("--seconds", "1", WEB_PORT=str(port))
        assert demo.end() == 2
    assert demo.output.splitlines()[-1].startswith(f"tally: TALLY_WEB_PORT: port {port} of 127.0.0.1 is taken")


def test_a_broker_that_is_away_is_one_sentence(start: Callable[..., Demo]) -> None:
    address = f"127.0.0.1:{servers.free_port()}"
    demo = start("--seconds", "1", KAFKA_BOOTSTRAP_SERVERS=address)
    assert demo.end() == 2
    assert demo.output.splitlines()[-1].startswith(f"tally: No Kafka broker answers at {address}")


@pytest.mark.parametrize(
    ("library", "sentence"),
    [
        ("raise ImportError", "The demo needs confluent-kafka: pip install 'tally[demo]'."),
        (
            "def libversion(): return '2.15.0', 0x020f00ff",
            "The demo's own broker needs confluent-kafka below 2.15 (this is 2.15.0): pip install 'tally[demo]'.",
        ),
    ],
    ids=["missing", "too new"],
)
def test_a_library_that_does_not_fit_is_one_sentence(
    library: str,
    sentence: str,
    start: Callable[..., Demo],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("library")
    (folder / "confluent_kafka.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    demo = start("--seconds", "1")
    assert demo.end() == 2
    assert demo.output.splitlines()[-1] == f"tally: {sentence}"
