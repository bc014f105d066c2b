"""Index templates of others, in a real Elasticsearch: they are told before documents go by them."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app.exporters.elasticsearch.client import problem
from app.settings import load_settings
from tests.live import servers
from tests.live.test_documents import Node


@pytest.fixture
def node(secure_elasticsearch: servers.Elasticsearch) -> Iterator[Node]:
    """A node that no other process of the run writes to, whose documents would go by what a test puts. All that one
    puts is removed.
    """
    node = Node(secure_elasticsearch)
    before = names(node)
    yield node
    for name in names(node) - before:
        node.ask("DELETE", f"/_index_template/{name}")


def names(node: Node) -> set[str]:
    return {entry["name"] for entry in node.ask("GET", "/_index_template")["index_templates"]}


def said(node: Node) -> str | None:
    given = {name.lower(): value for name, value in node.settings.items()}
    user = {"elasticsearch_username": "elastic", "elasticsearch_password": node.password}
    return asyncio.run(problem(load_settings(**given, **user)))


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"index_patterns": ["inference-log-*"], "priority": 500}, True),
        ({"index_patterns": ["*-log-seldon-*"], "priority": 300}, True),
        ({"index_patterns": ["tally-*"], "priority": 500}, True),
        ({"index_patterns": ["tally-comparisons"], "priority": 500}, True),
        ({"index_patterns": ["tally-comparisons-*"], "priority": 500}, False),
        ({"index_patterns": ["inference-log-*"], "priority": 150}, False),
        ({"index_patterns": ["some-logs-*"], "priority": 500}, False),
    ],
)
def test_a_template_that_holds_instead_of_tallys_is_told(node: Node, template: dict[str, Any], told: bool) -> None:
    assert said(node) is None
    name = f"theirs-{uuid.uuid4().hex[:8]}"
    node.ask("PUT", f"/_index_template/{name}", template)
    assert (name in (said(node) or "")) is told
