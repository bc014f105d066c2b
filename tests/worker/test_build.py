"""Which parts a worker has: what its settings ask for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.core.rules import Rulebook
from app.settings import SettingsError, load_settings
from app.worker.build import build
from app.worker.kafka.metadata import TopicFacts
from app.worker.running import Running

URL = "http://127.0.0.1:9"


def put_together(**settings: Any) -> Running:
    """The parts of a worker that is not started."""

    async def put() -> Running:
        loaded = load_settings(**settings)
        return build(loaded, Rulebook())._put_together({topic: TopicFacts(4) for topic in loaded.own_topics})

    return asyncio.run(put())


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, set()),
        ({"intake_topics": "seldon"}, {"intake"}),
        ({"log_topic": "joined"}, set()),
        ({"elasticsearch_url": URL}, {"documents", "windows"}),
        ({"elasticsearch_url": URL, "log_topic": None}, {"windows"}),
        ({"elasticsearch_url": URL, "intake_topics": "seldon"}, {"intake", "documents", "windows"}),
    ],
)
def test_what_runs_by_the_settings(settings: dict[str, Any], parts: set[str]) -> None:
    running = put_together(**settings)
    optional = ("intake", "documents", "windows")
    assert {name for name in optional if getattr(running, name) is not None} == parts
    assert running.lane.partitions == 4
    assert running.partitions == []
    assert not running.ready


@pytest.mark.parametrize("log_topic", [None, "joined"])
def test_certificates_that_cannot_be_read_are_told_before_anything_starts(
    tmp_path: Path, log_topic: str | None
) -> None:
    settings = {"elasticsearch_url": "https://127.0.0.1:9", "elasticsearch_ca_file": tmp_path / "none.pem"}
    with pytest.raises(SettingsError, match=r"^TALLY_ELASTICSEARCH_CA_FILE: "):
        put_together(**settings, log_topic=log_topic)
