"""Workers as processes, and what the live tests ask of them."""

import json
import math
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from tests.live.forked import Forked, Streams, without_settings
from tests.live.servers import free_port
from tests.live.story import Event
from tests.patience import PATIENCE
from tests.soak import SOAK

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
COUNT_SERIES = (
    "tally_segment_rows",
    *("searches_total", "queue", "lookup_count", "lookup_sum"),  # the custom metrics of a story
    *(
        f"tally_{window}{name}"
        for window in ("", "window_")
        for name in ("exchanges", "rows", "confusion", "class", "rewards", "reward_points")
    ),
)


_NAME = re.compile("[{ ]")  # what ends that of a sample
Process = Forked | subprocess.Popen[bytes]
#: What Python loads is changed by these. A test that sets one gets a process that loads for itself; so does a soak.
_OF_PYTHON = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}


def of_this_checkout(settings: Mapping[str, str], log: Path) -> Process:
    """Start `tally worker` with these settings, whatever the environment says."""
    environment = without_settings() | {**settings}
    if not SOAK and {name: value for name, value in environment.items() if name.startswith("PYTHON")} == _OF_PYTHON:
        return Forked(["worker"], environment, Streams(Path(os.devnull), log, log))
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", "app", "worker"], env=environment, stdout=output, stderr=output)


@lru_cache(maxsize=1 << 16)  # a test that waits reads the same lines again and again
def _sample(line: str) -> tuple[tuple[str, tuple[tuple[str, str], ...]], float]:
    ((sample,),) = (family.samples for family in text_string_to_metric_families(line))
    return (sample.name, tuple(sorted(sample.labels.items()))), sample.value


class Worker:
    """One `tally worker` process with settings of its own."""

    def __init__(
        self,
        settings: dict[str, str],
        log: Path,
        start: Callable[[Mapping[str, str], Path], Process] = of_this_checkout,
    ) -> None:
        self.port = free_port()
        shown = settings.get("WEB_CERT_FILE")
        self.url = f"{'http' if shown is None else 'https'}://127.0.0.1:{self.port}"
        self._trust = None if shown is None else ssl.create_default_context(cafile=shown)
        self.log = log
        variables = {f"TALLY_{name}": value for name, value in settings.items()} | {"TALLY_WEB_PORT": str(self.port)}
        log.touch()  # it may be read before the process has begun
        self.process = start(variables, log)

    def get(self, path: str, timeout: float = 30) -> str:
        asked = urllib.request.urlopen(self.url + path, timeout=timeout, context=self._trust)  # noqa: S310 - as made above
        with asked as reply:
            return str(reply.read().decode())

    def answer(self, path: str) -> Any:
        """What it says as JSON. It is asked again where it cannot tell just now, as while a partition moves."""
        found: list[Any] = []

        def tells() -> bool:
            try:
                found.append(json.loads(self.get(path)))
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            return bool(found)

        wait_for(f"{path} is answered", tells)
        return found[0]

    def readiness(self) -> tuple[bool, list[int]]:
        """What /ready says: whether all is loaded, and the partitions that are."""
        answer = self._readiness()
        return answer["ready"], answer["partitions"]

    def problems(self) -> list[str]:
        """What /ready says is wrong."""
        return list(self._readiness()["problems"])

    def _readiness(self) -> dict[str, Any]:
        try:
            try:
                answer = json.loads(self.get("/ready", 10))
            except urllib.error.HTTPError as error:
                answer = json.loads(error.read())
        except (OSError, HTTPException):
            return {"ready": False, "partitions": [], "problems": []}
        return dict(answer)

    def ready(self) -> bool:
        return self.readiness()[0]

    def answers(self) -> bool:
        """Whether it has started so far that it gives its series."""
        return bool(self.series())

    def series(self, *names: str) -> Series:
        """The samples of these names, or all, by name and sorted labels; nothing while the worker does not answer."""
        return self._samples(*names) or {}

    def _samples(self, *names: str) -> Series | None:
        try:
            text = self.get("/metrics")
        except (OSError, HTTPException):
            return None
        lines = [line for line in text.split("\n") if line and not line.startswith("#")]
        return dict(_sample(line) for line in lines if not names or _NAME.split(line, 1)[0] in names)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a series over all labels that are not given; NaN, not known, while the worker does not answer."""
        found = self._samples(name)
        if found is None:
            return math.nan
        return sum(value for (_, had), value in found.items() if labels.items() <= dict(had).items())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator would; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.wait()


class Fleet:
    """The workers of one test, all with the same settings."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings
        self.workers: list[Worker] = []
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def start(self, **changes: str) -> Worker:
        self._started += 1
        worker = Worker(self.settings | changes, self.folder / f"worker-{self._started}.log")
        self.workers.append(worker)
        return worker

    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.process.poll() is None]

    def stop(self) -> None:
        for worker in self.running():
            worker.stop()

    def counts(self) -> Series:
        """The model series of whichever worker exports them, without zeros. No series may come from two workers."""
        found: Series = {}
        for worker in self.running():
            mine = {at: value for at, value in worker.series(*COUNT_SERIES).items() if value}
            assert not found.keys() & mine.keys(), "two workers export the same series"
            found |= mine
        return found

    def total(self, name: str, **labels: str) -> float:
        """The sum of a series over workers and all labels that are not given; NaN while one of them does not answer."""
        return sum(worker.total(name, **labels) for worker in self.running())

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something holds, or fail saying what did not, what each worker has, and what it has logged."""
        try:
            wait_for(what, ready, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._states()}\n{self.logs()}") from None

    def _states(self) -> str:
        """A line for each worker: its log, and its exit code or what /ready says."""
        return "\n".join(
            f"{worker.log.name}: {worker.readiness() if code is None else f'ended with {code}'}"
            for worker in self.workers
            for code in [worker.process.poll()]
        )

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-6000:]}" for path in sorted(self.folder.glob("worker-*.log"))
        )


def said_in_total(fleet: Fleet, field: str, name: str) -> dict[str, dict[str, Any]]:
    """What a worker says of the first model in total, in a field of `/api/models` that is a list, by a name in each."""
    for worker in fleet.running():
        try:
            models = json.loads(worker.get("/api/models"))["models"]
        except OSError:
            continue
        if models:
            return {one[name]: one for one in models[0]["windows"]["total"].get(field, ())}
    return {}


def wait_for(what: str, ready: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something holds, or fail saying what did not."""
    begin = time.monotonic()
    while not ready():
        waited = time.monotonic() - begin
        if waited > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(min(0.1 + waited / 20, 1))  # asking takes time from who is waited for


def assert_counts(fleet: Fleet, wanted: Series, seconds: float = PATIENCE) -> None:
    """Wait until the exported counts are those wanted; fail with what differs."""
    end = time.monotonic() + seconds
    while (found := fleet.counts()) != wanted:
        if time.monotonic() > end:
            wrong = [
                f"{name}{dict(labels)}: {found.get((name, labels), 0)} instead of {wanted.get((name, labels), 0)}"
                for name, labels in sorted(found.keys() | wanted.keys())
                if found.get((name, labels)) != wanted.get((name, labels))
            ]
            raise AssertionError(
                f"{len(wrong)} series differ, among them\n" + "\n".join(wrong[:12]) + "\n" + fleet.logs()
            )
        time.sleep(0.5)


def topic_settings(bootstrap: str, name: str) -> dict[str, str]:
    """Settings that keep tests apart on one broker."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "APP_ID": name,
        "REQUEST_TOPIC": f"{name}-requests",
        "RESPONSE_TOPIC": f"{name}-responses",
        "FEEDBACK_TOPIC": f"{name}-feedback",
    }


def produce(settings: dict[str, Any], events: Iterable[Event], per_second: float | None = None) -> None:
    """Write events to their topics, in order; throttled where a rate is given. All are acknowledged at the end."""
    producer = Producer(
        {
            "bootstrap.servers": settings["KAFKA_BOOTSTRAP_SERVERS"],
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "acks": "all",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
            "message.max.bytes": 20 << 20,
        }
    )
    begun = time.monotonic()
    failed: list[str] = []
    for number, event in enumerate(events):
        producer.produce(
            settings[f"{event.kind.upper()}_TOPIC"],
            key=event.key,
            value=event.value,
            headers=event.headers,
            timestamp=event.timestamp,
            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
        )
        if number % 500 == 0:
            producer.poll(0)
            if per_second is not None:
                time.sleep(max(0.0, number / per_second - (time.monotonic() - begun)))
    producer.flush()
    assert not failed, failed[0]
