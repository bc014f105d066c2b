"""`tally demo`: a broker, workers and sample traffic, the numbers in the terminal, and nothing left behind."""

import contextlib
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from app.demo import embedded
from app.demo.broker import Broker, count_records, find_broker, remove_traces
from app.demo.correction import correct, sentences_about
from app.demo.counts import Counts, comparison, counted_in, is_counted, leg_of
from app.demo.guard import Guard
from app.demo.recordings import load_recordings
from app.demo.rules import write_rules
from app.demo.screen import LAST, Report, Screen
from app.demo.traffic import Mistake, Sent, Traffic
from app.demo.workers import WorkerProcess, choose_port, stop_workers, worker_environment
from app.demo.worse import Looks, Worse
from app.settings import Settings, load_settings
from app.worker.ending import EXIT_FAILED
from app.worker.kafka.client import SetupError
from app.worker.kafka.topics import topics_of

TICK_SECONDS = 0.05
LOOK_SECONDS = 1.0
START_SECONDS = 60
SETTLE_SECONDS = 30
#: Counts that have not changed for so long will not.
STAND_SECONDS = 2.0
CORRECT_AFTER_SECONDS = 15
#: So many events at most wait for the broker's answer.
MOST_UNANSWERED = 10_000


class FailedError(Exception):
    """The demo cannot go on; the message says why."""


def run_demo(seconds: float | None) -> int:
    """Run until Ctrl-C, SIGTERM or for so many seconds of traffic. Returns the exit code.

    Raises `SettingsError` or `SetupError` with one sentence where it cannot begin.
    """
    try:
        with ExitStack() as stack:
            ending = stack.enter_context(Ending().listen())
            screen = stack.enter_context(Screen())
            fine = _run(stack, screen, ending, seconds)
    except FailedError as error:
        print(f"tally: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0 if fine else EXIT_FAILED


def _run(stack: ExitStack, screen: Screen, ending: "Ending", seconds: float | None) -> bool:
    """The same; returns whether all that was produced has been counted, as far as the user waited for that."""
    given = load_settings()
    real = "kafka_bootstrap_servers" in given.model_fields_set
    own = _own_settings(given, f"tally-demo-{secrets.token_hex(3)}" if real else "tally-demo")
    port = choose_port(given.web_host, given.web_port, insist="web_port" in given.model_fields_set)
    screen.say("Two services, each with a current model and its shadow, answer recorded requests; labels come later.")
    settings = load_settings(**own, log_topic=None)
    topics = [topic.name for topic in topics_of(settings)]
    broker = find_broker(given) if real else embedded.start_broker(topics)
    screen.say(f"Broker:  {broker.about}")
    if port != given.web_port:
        screen.say(f"Port {given.web_port} is taken: port {port} is used.")
    environment = worker_environment(own | {"kafka_bootstrap_servers": broker.address})
    guard = stack.enter_context(Guard(environment))
    if real:
        stack.callback(_clean_up, settings, topics, screen)
        for topic in topics:
            guard.tell("topic", topic)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tally-demo-", ignore_cleanup_errors=True))
    guard.tell("folder", folder)
    environment["TALLY_CONFIG"] = str(write_rules(Path(folder), load_recordings()))
    workers: list[WorkerProcess] = []
    stack.callback(stop_workers, workers, lambda: ending.is_urgent)
    ports = [port, choose_port(given.web_host, 0, insist=False)] if real else [port]
    for number in ports:
        worker = WorkerProcess(given.web_host, number, environment, Path(folder))
        guard.tell("worker", worker.pid)
        workers.append(worker)
    screen.say("Starting a worker …" if len(ports) == 1 else f"Starting {len(ports)} workers …")
    if not _wait_until_ready(workers, settings, ending):
        return True
    return Demo(broker, workers, settings, screen, ending, guard).run(seconds)


def _own_settings(given: Settings, app_id: str) -> dict[str, str]:
    """What the demo's workers are told, beside where they listen."""
    return {
        "app_id": app_id,
        "request_topic": f"{app_id}-requests",
        "response_topic": f"{app_id}-responses",
        "feedback_topic": f"{app_id}-feedback",
        "partitions": str(embedded.PARTITIONS),
        "pane_seconds": "5",
        "windows": f"{LAST},5m",
        "web_host": given.web_host,
    }


def _clean_up(settings: Settings, topics: list[str], screen: Screen) -> None:
    """Delete what the demo made on a broker that is not its own."""
    assert all(name.startswith(settings.app_id) for name in topics)
    if not remove_traces(settings, topics):
        screen.say(f"Not all of the demo's topics could be deleted; their names begin with {settings.app_id}.")


def _wait_until_ready(workers: list[WorkerProcess], settings: Settings, ending: "Ending") -> bool:
    """Wait until the workers share all partitions. Returns False where the user ends the demo before that."""
    end = time.monotonic() + START_SECONDS
    while not _share_all(workers, settings):
        if ending.is_asked:
            return False
        for worker in workers:
            if not worker.lives:
                raise (SetupError if worker.refused else FailedError)(f"The worker {worker.end}")
        if time.monotonic() > end:
            raise FailedError(f"The workers were not ready within {START_SECONDS} s.")
        time.sleep(0.1)
    return True


def _share_all(workers: list[WorkerProcess], settings: Settings) -> bool:
    """Whether each partition is loaded by one of the workers, and each worker has some."""
    shares = [worker.partitions() for worker in workers]
    return all(shares) and sorted(chain.from_iterable(shares)) == list(range(settings.partitions))


class Demo:
    """The traffic, and a look at the numbers every second."""

    def __init__(
        self,
        broker: Broker,
        workers: list[WorkerProcess],
        settings: Settings,
        screen: Screen,
        ending: "Ending",
        guard: Guard,
    ) -> None:
        self.produced = Counts()
        self._broker = broker
        self._workers = workers
        self._settings = settings
        self._screen = screen
        self._ending = ending
        self._guard = guard
        self._topics = dict(zip(("request", "response", "feedback"), settings.topics, strict=True))
        self._traffic = Traffic(load_recordings(), time.time())
        self._taking_over_since: float | None = None
        self._looks = Looks()
        self._said_worse: set[str] = set()
        self._delivered_events = self._corrected_events = 0
        self._drift_said = self._correction_done = False

    @property
    def _living(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if not worker.mourned]

    def run(self, seconds: float | None) -> bool:
        """Produce and show until the end, then compare what was produced with what was counted.

        Returns whether they are equal, or the user did not wait for that.
        """
        self._say_where()
        begin = time.monotonic()
        look_at = begin
        while not self._ending.is_asked and (seconds is None or time.monotonic() - begin < seconds):
            self._produce()
            self._watch_workers()
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_SECONDS
                self._look(time.monotonic() - begin)
            time.sleep(TICK_SECONDS)
        passed = time.monotonic() - begin
        report = self._settle()
        self._screen.show_last(report, passed)
        self._looks.add(time.time(), report)
        for name, worse in self._looks.worse().items():
            self._screen.say(_worse_sentence(name, worse))
        for sentence in self._comparisons():
            self._screen.say(sentence)
        self._screen.say(f"After {passed:.0f} s: {self._verdict(report)}.")
        return self._is_counted(report) or self._ending.is_urgent

    # -- traffic ------------------------------------------------------------------------------------------------------

    def _produce(self) -> None:
        client = self._broker.client
        if len(client) < MOST_UNANSWERED:
            for sent in self._traffic.until(time.time()):
                client.produce(
                    self._topics[sent.kind],
                    key=sent.event.key,
                    value=sent.event.value,
                    headers=list(sent.event.headers),
                    on_delivery=partial(self._delivered, sent),
                )
        client.poll(0)

    def _delivered(self, sent: Sent, error: Any, _message: Any) -> None:
        if error is None:
            self._delivered_events += 1
            self.produced.add(sent)

    def _settle(self) -> Report:
        """With the traffic paused, wait until all that was produced is counted; the report that says so."""
        end = time.monotonic() + SETTLE_SECONDS
        before: Counts | None = None
        changed_at = time.monotonic()
        while True:
            unanswered = self._broker.client.flush(TICK_SECONDS)
            report = self._report()
            counted = counted_in(report, self.produced.legs)
            if counted != before:
                before, changed_at = counted, time.monotonic()
            # What somebody else has sent may make a difference that stays.
            stands = time.monotonic() - changed_at > STAND_SECONDS and self._is_counted(report)
            if not unanswered and (counted == self.produced or stands):
                return report
            if time.monotonic() > end or self._ending.is_urgent:
                return report
            time.sleep(TICK_SECONDS)

    def _is_counted(self, report: Report) -> bool:
        counted = counted_in(report, self.produced.legs)
        return counted == self.produced or is_counted(self.produced, counted, self._others())

    def _others(self) -> int:
        """How many events somebody else has sent to the demo's topics."""
        written = count_records(self._broker, self._settings, self._settings.topics)
        return max(0, written - self._delivered_events - self._corrected_events)

    def _verdict(self, report: Report) -> str:
        counted, others = counted_in(report, self.produced.legs), self._others()
        yours = f"{others} event{'' if others == 1 else 's'} of yours"
        if counted == self.produced:
            verdict = f"equal, and {yours}" if others else "equal"
        else:
            verdict = f"equal but for {yours}" if self._is_counted(report) else "NOT EQUAL"
        return f"{comparison(self.produced, counted)}: {verdict}"

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _say_where(self) -> None:
        url = self._living[0].url
        self._screen.say(f"Page:    {url}/\nMetrics: {url}/metrics\nModels:  {url}/api/models")
        if len(self._workers) > 1:
            self._screen.say(
                f"Two workers share the partitions. Kill one, the counts stay exact:  kill -9 {self._workers[1].pid}"
            )

    def _report(self) -> Report:
        """What one of the workers says of all models; of none where no worker answers."""
        reports = (worker.ask("/api/models") for worker in self._living)
        return next((report for report in reports if report is not None), {"models": []})

    def _comparisons(self) -> Iterator[str]:
        """Of each of the demo's services whether the shadow is better, as a worker says."""
        answers = (worker.ask("/api/comparisons") for worker in self._living)
        found: list[Any] = next((answer["comparisons"] for answer in answers if answer is not None), [])
        for one in found:
            leg = leg_of(one["current"])
            if leg in self.produced.legs:
                yield f"{leg.service}: {one['sentence']}"

    def _look(self, seconds: float) -> None:
        report = self._report()
        self._looks.add(time.time(), report)
        self._screen.show(report, seconds)
        if time.time() >= self._traffic.drift_at and not self._drift_said:
            self._drift_said = True
            self._screen.say(
                "From now on breast-cancer's first input arrives in a wrong scale: "
                "its current model fails, the shadow does not mind. Labels come later: "
                "the page shows first that the input has drifted."
            )
        for name, worse in self._looks.worse().items():
            if name not in self._said_worse:
                self._said_worse.add(name)
                self._screen.say(_worse_sentence(name, worse))
        mistake = self._traffic.last_mistake
        if mistake is not None and seconds >= CORRECT_AFTER_SECONDS and not self._correction_done:
            self._correction_done = True
            self._correct(mistake)

    def _correct(self, mistake: Mistake) -> None:
        """Correct a label while the traffic is paused, and show what that changes."""
        self._settle()
        worker = self._living[0]
        correction = correct(worker, mistake, self._report)
        if correction is not None:
            self._corrected_events += 1
            self._screen.say(sentences_about(correction, worker.url))

    # -- workers that die ---------------------------------------------------------------------------------------------

    def _watch_workers(self) -> None:
        for worker in self._living:
            if not worker.lives:
                self._mourn(worker)
        since = self._taking_over_since
        if since is not None and _share_all(self._living, self._settings):
            self._taking_over_since = None
            waited = time.monotonic() - since
            self._screen.say(
                f"Taken over after {waited:.1f} s, traffic paused to compare: {self._verdict(self._settle())}."
            )

    def _mourn(self, worker: WorkerProcess) -> None:
        worker.mourned = True
        self._guard.tell("gone", worker.pid)
        if not self._living:
            raise FailedError(f"The last worker {worker.end}")
        self._taking_over_since = time.monotonic()
        so_far = comparison(self.produced, counted_in(self._report(), self.produced.legs))
        self._screen.say(f"Worker {worker.pid} {worker.end}; so far {so_far}.")
        if worker is self._workers[0]:
            self._screen.say(f"Page:    {self._living[0].url}/")


def _worse_sentence(name: str, worse: Worse) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(worse.since))
    before, after = round(100 * worse.before), round(100 * worse.after)
    return (
        f"{name} got worse, by {before - after} points: {before}% of its answers were right by the labels that came "
        f"before {since}, {after}% by the {worse.judged} that came since."
    )


class Ending:
    """What Ctrl-C, SIGTERM and a closed terminal ask for: to end in order, and at the second time at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self.is_urgent = False

    @contextlib.contextmanager
    def listen(self) -> Iterator["Ending"]:
        """Take the signals until the context ends."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_urgent = self.is_asked
        self.is_asked = True
