"""Rows that show something: from Elasticsearch where it answers, else from this worker's newest exchanges."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from app.settings import load_settings
from app.worker.http import looking
from tests.worker.http.routes.scene import KEY, PAIR, Reply, a_worker, ask, get
from tests.worker.http.routes.test_models import Searched

ELASTIC = load_settings(elasticsearch_url="http://127.0.0.1:1")


def searched(answers: Searched, path: str) -> Any:
    found: list[Reply] = []

    async def story(of: Callable[..., Awaitable[Reply]], _: Any) -> None:
        found.append(await of(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.worker.elasticsearch.searching.Searching", lambda _: answers)
        ask(story, a_worker(settings=ELASTIC), ELASTIC)
    return found[0].content


def test_the_newest_rows_that_were_wrong_are_found_in_the_exchanges() -> None:
    found = get(f"/api/models/{KEY}/examples?limit=2").content
    assert [(one["puid"], one["actual"], one["predicted"]) for one in found["examples"]] == [
        ("p27", "1", "0"),
        ("p24", "1", "0"),
    ]
    assert found["source"] == "exchanges"
    assert found["note"] == (
        "Looked through the newest 6 of 30 exchanges in the partitions of this worker (0); other workers hold those of "
        "others."
    )


def test_a_cell_of_the_confusion_is_asked_for_by_its_classes() -> None:
    found = get(f"/api/models/{KEY}/examples?actual=1&predicted=1").content
    assert (len(found["examples"]), {one["predicted"] for one in found["examples"]}) == (20, {"1"})
    none = get(f"/api/models/{KEY}/examples?actual=0").content
    assert none["examples"] == []
    assert none["note"].startswith("Looked through all 30 exchanges in the partitions of this worker (0);")


@pytest.mark.parametrize(("query", "rights"), [("", {"current", "shadow"}), ("&right=shadow", {"shadow"})])
def test_rows_of_which_one_leg_alone_is_right(query: str, rights: set[str]) -> None:
    found = get(f"/api/comparisons/examples?{PAIR}{query}").content
    assert {one["right"] for one in found["examples"]} == rights
    assert all((one["actual"] == one["current"]) == (one["right"] == "current") for one in found["examples"])


def test_the_difference_over_time() -> None:
    found = get(f"/api/comparisons/history?{PAIR}&step=10m").content
    (point,) = found["points"]
    assert (found["measures"], point["samples"], point["agreement"]) == (False, 30, 0.6)
    assert point["difference"] == pytest.approx(2 / 30)
    assert point["low"] < point["difference"] < point["high"]
    assert len(get(f"/api/comparisons/history?{PAIR}&clock=labels").content["points"]) == 10


def test_looking_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_SECONDS", 0.0)
    found = get(f"/api/models/{KEY}/examples").content
    assert (found["examples"], found["note"][:31]) == ([], "Looked through the newest 0 of ")


def test_only_so_many_exchanges_of_each_partition_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_MOST", 9)
    found = get(f"/api/models/{KEY}/examples").content
    assert [one["puid"] for one in found["examples"]] == ["p27", "p24", "p21"]


def test_a_worker_without_partitions_says_so() -> None:
    running = a_worker()
    running.lane.running.clear()
    found = get(f"/api/models/{KEY}/examples", running).content
    assert (found["examples"], found["note"]) == ([], "No partition is loaded at this worker: ask another one.")


def test_partitions_take_turns() -> None:
    running = a_worker()
    shard = running.lane.running[0].shard
    other = SimpleNamespace(store=dict([*shard.store.items()][::-1]), describe=shard.describe, open_exchanges=30)
    lane: Any = running.lane
    lane.running = {0: SimpleNamespace(shard=shard), 3: SimpleNamespace(shard=other)}
    found = get(f"/api/models/{KEY}/examples?limit=4", running).content
    assert sorted(one["puid"] for one in found["examples"]) == ["p0", "p24", "p27", "p3"]


def a_document(puid: str, predicted: str) -> dict[str, Any]:
    verdict = {"predicted": predicted, "label": "1", "correct": predicted == "1"}
    return {"id": puid, "RequestId": puid, "@timestamp": "2026-11-21T07:00:02Z", "verdict": verdict}


def test_documents_are_asked_first() -> None:
    answers = Searched(a_document("a", "0"), {"id": "x", "RequestId": "x"})
    found = searched(answers, f"/api/models/{KEY}/examples?actual=1")
    assert (found["source"], found["note"], [one["puid"] for one in found["examples"]]) == (
        "elasticsearch",
        None,
        ["a"],
    )
    ((index, query),) = answers.asked
    assert index == "inference-log-*"
    assert {"term": {"verdict.label": "1"}} in query["bool"]["filter"]
    assert {"term": {"Ce-Modelid": "m"}} in query["bool"]["filter"]


def test_documents_of_two_legs_are_asked_for_one_after_the_other() -> None:
    answers = Searched(a_document("a", "0"))
    found = searched(answers, f"/api/comparisons/examples?{PAIR}&right=current")
    assert (found["source"], [one["puid"] for one in found["examples"]]) == ("elasticsearch", ["a"])
    wrong, right = (query["bool"]["filter"] for _, query in answers.asked)
    assert {"term": {"Ce-Endpoint": "shadow"}} in wrong
    assert {"term": {"verdict.correct": False}} in wrong
    assert {"term": {"Ce-Endpoint": "default"}} in right
    assert {"terms": {"RequestId": ["a"]}} in right
    none = Searched()
    assert searched(none, f"/api/comparisons/examples?{PAIR}")["examples"] == []
    assert len(none.asked) == 2


@pytest.mark.parametrize("path", [f"/api/models/{KEY}/examples", f"/api/comparisons/examples?{PAIR}"])
def test_where_elasticsearch_does_not_answer_exchanges_are_looked_through(path: str) -> None:
    found = searched(Searched(trouble="Elasticsearch is away."), path)
    assert found["source"] == "exchanges"
    assert found["examples"]
    assert found["note"].startswith("Elasticsearch is away. Looked through ")


def test_the_documents_of_a_puid() -> None:
    answers = Searched(a_document("p-item-3", "0"))
    found = searched(answers, "/api/exchanges/p-item-3/documents")
    ((_, query),) = answers.asked
    assert found == {"documents": [{"index": "index", "id": "p-item-3", "body": a_document("p-item-3", "0")}]}
    assert query == {"bool": {"filter": [{"terms": {"RequestId": ["p-item-3", "p"]}}]}}
    assert searched(Searched(trouble="It is away."), "/api/exchanges/p/documents") == {"error": "It is away."}
