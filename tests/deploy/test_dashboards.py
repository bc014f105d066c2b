"""The dashboards are those of the code, ask for what there is, and leave no panel without a word."""

import re
from collections import Counter
from typing import Any

import pytest

from app.core.outputs.http_series import HTTP
from app.core.outputs.series import COUNTS, OTHERS, SELDON
from app.core.outputs.worker_series import WORKER
from k8s.dashboards.files import DASHBOARDS, files
from tests.deploy.boards import FOLDER, asked, boards, panels, variables
from tests.deploy.promtool import ALERTS

BOARDS = boards()


def known() -> set[str]:
    """All series that Tally and its process export, and those of Prometheus itself that are asked for."""
    rows = {series.name for series in (*OTHERS, *SELDON)}
    rows |= {series.name for series in WORKER} | {series.name for series in HTTP}
    counts = {f"tally_{window}{family.name}" for _, family in COUNTS for window in ("", "window_")}
    buckets = {f"{name}_bucket" for name in rows | counts if name.endswith("_seconds")}
    process = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    return rows | counts | buckets | process | {"up", "ALERTS"}


def names(expression: str) -> set[str]:
    """The series that it asks for."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|(by|on|without|ignoring) \([^)]*\)', "", expression)
    functions = {
        "and",
        "sum",
        "max",
        "count",
        "rate",
        "increase",
        "vector",
        "or",
        "bottomk",
        "topk",
        "group_left",
        "by",
        "on",
    }
    return {
        name
        for name in re.findall(r"[a-zA-Z_]\w+", re.sub(r"\[[^\]]*\]|\$\w+", "", bare))
        if name not in functions | {"histogram_quantile", "label_replace"}
    }


def test_files_are_those_of_the_code() -> None:
    """Else run `python -m k8s.dashboards`."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == files()


def test_each_has_a_name_of_its_own() -> None:
    assert len(DASHBOARDS) == len(BOARDS) == len({board["uid"] for board in BOARDS.values()})
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)
    assert {board["uid"] for board in BOARDS.values()} == {f"tally-{name}" for name in BOARDS}
    titles = {board["title"] for board in BOARDS.values()}
    assert {"Real Time Model Accuracy", "MultiClass Prediction Statistics"} <= titles


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_and_what_to_do_without_data(name: str) -> None:
    found = list(panels(BOARDS[name]))
    assert found
    ids = Counter(panel["id"] for panel in BOARDS[name]["panels"])
    assert set(ids.values()) == {1}
    for panel in found:
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert len(defaults["noValue"]) > 10, panel["title"]
        assert defaults["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "$source"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_that_is_asked_for_is_there(name: str) -> None:
    board = BOARDS[name]
    here = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval", "__range"}
    for one in asked():
        if one.board == name:
            assert set(re.findall(r"\$([a-z_]\w*)", one.expression)) <= here, one
    for selector, _ in variables(board).values():
        assert set(re.findall(r"\$([a-z_]\w*)", selector)) <= here, selector


@pytest.mark.parametrize("one", list(asked()), ids=lambda one: f"{one.board}: {one.panel}")
def test_every_series_that_is_asked_for_is_exported(one: Any) -> None:
    assert names(one.expression) <= known()


def test_links_lead_to_dashboards_and_to_the_page() -> None:
    for board in BOARDS.values():
        assert [link["type"] for link in board["links"]] == ["dashboards", "link"]
        assert board["tags"] == board["links"][0]["tags"] == ["tally"]
    uids = {board["uid"] for board in BOARDS.values()}
    text = "".join(path.read_text() for path in FOLDER.glob("*.json"))
    tasks = ("binary", "multiclass", "regression")
    of_tasks = [text.replace("${__data.fields.task}", task) for task in tasks]
    linked = {uid for one in of_tasks for uid in re.findall(r"/d/([\w-]+)", one)}
    assert {f"tally-{task}" for task in tasks} < linked
    assert linked <= uids


def test_the_alerts_ask_for_what_is_exported_or_recorded() -> None:
    text = ALERTS.read_text()
    recorded = set(re.findall(r"record: (\S+)", text))
    assert set(re.findall(r"tally:\w+", text)) == recorded
    asked_for = set(re.findall(r"\btally_\w+", text))
    assert asked_for
    assert asked_for <= known()
