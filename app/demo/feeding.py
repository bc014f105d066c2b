"""`tally demo --only-traffic`: the sample traffic alone, for workers that run already."""

import sys
import time
from typing import Any

from app.demo.broker import Broker, find_broker
from app.demo.recordings import load_recordings
from app.demo.run import MOST_UNANSWERED, TICK_SECONDS, Ending
from app.demo.traffic import Traffic
from app.settings import Settings, load_settings
from app.worker.ending import EXIT_FAILED
from app.worker.kafka.client import SetupError


def send_traffic(seconds: float | None) -> int:
    """Send the traffic to the canonical topics until Ctrl-C, SIGTERM or for so many seconds. Returns the exit code.

    Raises `SettingsError` or `SetupError` with one sentence where it cannot begin.
    """
    settings = load_settings()
    if "kafka_bootstrap_servers" not in settings.model_fields_set:
        raise SetupError(
            "tally demo --only-traffic sends to workers that run already: name their broker in "
            "TALLY_KAFKA_BOOTSTRAP_SERVERS."
        )
    broker = find_broker(settings)
    _check_topics(broker, settings)
    print(f"Traffic of four recorded models goes to {broker.about}; Ctrl-C ends it.")
    with Ending().listen() as ending:
        sent, refused = _send(broker, settings, seconds, ending)
    print(f"{sent:,} events were sent.")
    if refused:
        print(f"tally: The broker did not take {refused:,} more: see its log.", file=sys.stderr)
    return EXIT_FAILED if refused else 0


def _send(broker: Broker, settings: Settings, seconds: float | None, ending: Ending) -> tuple[int, int]:
    """Send until the end; how many events the broker took, and how many it did not."""
    topics = dict(zip(("request", "response", "feedback"), settings.topics, strict=True))
    traffic = Traffic(load_recordings(), time.time())
    begin = time.monotonic()
    answers = [0, 0]

    def answered(error: Any, _message: Any) -> None:
        answers[error is not None] += 1

    client = broker.client
    while not ending.is_asked and (seconds is None or time.monotonic() - begin < seconds):
        if len(client) < MOST_UNANSWERED:
            for sent in traffic.until(time.time()):
                event = sent.event
                client.produce(
                    topics[sent.kind], event.value, event.key, headers=list(event.headers), on_delivery=answered
                )
        client.poll(0)
        time.sleep(TICK_SECONDS)
    unanswered = client.flush(10)
    return answers[0], answers[1] + unanswered


def _check_topics(broker: Broker, settings: Settings) -> None:
    there = broker.client.list_topics(timeout=5).topics
    missing = [topic for topic in settings.topics if topic not in there]
    if missing:
        names = ", ".join(missing)
        raise SetupError(
            f"There is no topic {names} at {broker.about}: start a worker, or run `tally topics --create`."
        )
