"""A document writer that was taken for dead and wakes, at a real Elasticsearch: it leaves no second document."""

import asyncio
from typing import Any

import pytest

from app.core.rules import Rulebook, Rules
from app.exporters.elasticsearch.templates import TEMPLATES
from app.exporters.elasticsearch.writes import Elasticsearch
from app.settings import load_settings
from tests.live import servers
from tests.live.test_documents import Node
from tests.worker.elasticsearch.landings import MOVES, Writer, a_log, wanted, woken

PATTERN = "inference-log-*-ns-*"


@pytest.mark.parametrize(("story", "rules"), MOVES)
@pytest.mark.parametrize("requests", [0, 1, 2])
def test_who_is_late_leaves_a_document_that_has_moved_where_it_is(
    elasticsearch: servers.Elasticsearch, story: list[Any], rules: tuple[Rules, ...], requests: int
) -> None:
    """Each record in turn is the late one: its writer stalls after some requests, others land all, and it wakes."""
    asyncio.run(_each_is_late(Node(elasticsearch), story, rules, requests))


async def _each_is_late(node: Node, story: list[Any], rules: tuple[Rules, ...], requests: int) -> None:
    log = a_log(story, [1] * len(story), rules)
    expected = wanted(log, daily=True, rules=rules)
    settings = load_settings(elasticsearch_url=node.url)
    for number in range(len(log)):
        node.remove(PATTERN)
        real = Elasticsearch(settings)
        await real.prepare(TEMPLATES)

        def new_writer(real: Elasticsearch = real) -> Writer:
            return Writer(real, log, daily=True, rules=Rulebook(rules))

        try:
            late = new_writer()
            for begin in range(len(log)):
                if begin == number:
                    stalled = await late.stalled(begin, begin + 1, requests)
                await new_writer().landed(begin, begin + 1)
            before = node.ask("GET", f"/{PATTERN}")
            await woken(late, stalled)
            assert node.documents(PATTERN) == expected
            indices = node.ask("GET", f"/{PATTERN}")
            assert indices.keys() == before.keys()
            assert {index["settings"]["index"]["gc_deletes"] for index in indices.values()} == {"1h"}
        finally:
            await real.close()
            node.remove(PATTERN)
