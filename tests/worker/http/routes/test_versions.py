"""Two versions of a model, asked for by their keys, and on the page of one of them."""

from typing import Final

import jsonschema
import pytest

from app.core.rules import Rules
from app.worker.running import Running
from tests.builders import START, Record, a_feedback, a_response
from tests.worker.http.routes.scene import a_worker, error, get
from tests.worker.http.routes.test_openapi import schema_of

PATH: Final = "/api/comparisons/versions"
KEY: Final = "ns/svc/default/m"
RULES: Final = (Rules(least_count=4),)


def events() -> list[Record]:
    found = []
    for version, at, classes in (("1", 0.0, [0, 0, 0, 1]), ("2", 120.0, [0, 1, 1, 1]), ("3", 240.0, [0, 0, 1, 1])):
        for number, name in enumerate(classes):
            puid = f"{version}-{number}"
            found += [a_response(name, puid=puid, at=at, version=version), a_feedback(1, puid=puid, at=at + 1)]
    return found


@pytest.fixture
def running() -> Running:
    return a_worker(*events(), a_response(1, puid="n", model="n", version="1"), rules=RULES)


def test_a_version_is_told_beside_the_one_before_it_or_the_one_that_is_named(running: Running) -> None:
    found = get(f"{PATH}?after={KEY}@3", running).content
    assert [found[side]["model_version"] for side in ("before", "after")] == ["2", "3"]
    (one,) = found["windows"]["total"]["drift"]
    assert (one["feature"], one["rows"], one["rows_before"], one["drifted"]) == ("(prediction)", 4, 4, False)
    assert one["bins"] == [{"bin": "0", "before": 1, "rows": 2}, {"bin": "1", "before": 3, "rows": 2}]
    assert (found["scores_before"]["total"]["accuracy"], found["scores"]["total"]["accuracy"]) == (0.75, 0.5)
    jsonschema.Draft202012Validator(schema_of(PATH)).validate(found)
    named = get(f"{PATH}?after={KEY}@3&before={KEY}@1", running).content
    assert named["before"]["model_version"] == "1"
    assert named["scores_before"]["total"]["accuracy"] == 0.25
    (newest,) = get("/api/comparisons", running).content["versions"]
    assert newest["windows"]["total"]["drift"] == [{name: value for name, value in one.items() if name != "bins"}]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "after: give it, as `/api/comparisons/versions?after=…`."),
        (f"after={KEY}@1", 404, f"Before {KEY}@1 no version of its model has answered."),
        (f"after={KEY}@4", 404, f"There is no model {KEY}@4; /api/overview lists those that there are."),
        (f"after={KEY}@2&before={KEY}@2", 400, f"before: {KEY}@2 is no other version of the model of {KEY}@2."),
        (
            f"after={KEY}@2&before=ns/svc/default/n@1",
            400,
            f"before: ns/svc/default/n@1 is no other version of the model of {KEY}@2.",
        ),
    ],
)
def test_what_are_no_two_versions_is_refused(query: str, status: int, said: str, running: Running) -> None:
    assert error(get(f"{PATH}?{query}", running)) == (status, said)


def test_where_nothing_can_be_compared_that_is_said() -> None:
    """Measurements have no bins without a reference."""
    running = a_worker(a_response(1.5, puid="a", version="1"), a_response(2.5, puid="b", version="2", at=1))
    reply = get(f"{PATH}?after={KEY}@2", running)
    assert reply.status == 404
    assert f"both {KEY}@1 and {KEY}@2" in reply.content["error"]
    view = get(f"/api/models/{KEY}@2/view", running).content
    assert (view["versions"], view["errors"]) == (None, {})


def test_the_view_of_a_version_has_what_is_said_of_it_and_the_keys_of_all_others(running: Running) -> None:
    for key, before in ((f"{KEY}@2", ""), (f"{KEY}@3", f"{KEY}@1")):
        view = get(f"/api/models/{key}/view{before and f'?before={before}'}", running).content
        found = get(f"{PATH}?after={key}{before and f'&before={before}'}", running).content
        assert view["versions"].items() <= found.items()
        assert view["others"] == [f"{KEY}@{one}" for one in "123" if not key.endswith(one)]
    first = get(f"/api/models/{KEY}@1/view", running).content
    assert (first["versions"], first["errors"]) == (None, {})
    other = get(f"/api/models/{KEY}@1/view?before=ns/svc/default/n@1", running).content
    assert other["versions"] is None
    assert other["errors"]["versions"].startswith("before: ns/svc/default/n@1 is no other version ")


def test_a_window_moves_on_and_the_total_of_the_one_before_stays() -> None:
    late = a_worker(*events(), rules=RULES, now=START + 4000.0)
    found = get(f"{PATH}?after={KEY}@2", late).content
    (one,) = found["windows"]["5m"]["drift"]
    assert (one["rows"], one["rows_before"]) == (0, 4)
    assert "drifted" not in one
