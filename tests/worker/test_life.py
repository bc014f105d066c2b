"""The first and the last line of a worker's log."""

import logging
import signal

import pytest

from app.settings import load_settings, version
from app.worker.life import Life, duration


def test_the_first_line_says_what_runs_here_and_the_last_why_it_stopped_and_when(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    monkeypatch.setattr("app.worker.life.time.monotonic", lambda: now)
    life = Life()
    assert life.lasted() == ""
    life.begin(
        load_settings(app_id="shop", kafka_bootstrap_servers="kafka:9092", advertised_url="http://worker-0:6066")
    )
    now = 7600.0
    life.end()
    life.ask_to_end(signal.SIGTERM)
    life.end()
    assert caplog.messages == [
        f"Tally {version()} starts: application id shop, brokers kafka:9092 (PLAINTEXT), at http://worker-0:6066",
        "Tally has stopped as it was told after 2 h 5 min",
        "Tally has stopped by SIGTERM after 2 h 5 min",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-1, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (303, "5 min 3 s"),
        (7500, "2 h 5 min"),
        (7203, "2 h"),
        (4 * 86400 + 2 * 3600 + 59, "4 d 2 h"),
        (86400, "1 d"),
    ],
)
def test_how_a_duration_is_written(seconds: float, text: str) -> None:
    assert duration(seconds) == text
