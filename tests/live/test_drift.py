"""Drift of a real data set through real workers: a feature is shifted, a worker is killed, requests are replaced."""

import contextlib
import csv
import json
import time
import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_diabetes

from app.core.drift.building import distribution_of
from app.reference_file import read_reference, write_reference
from tests.cli.test_cli import tally
from tests.live.servers import Kafka
from tests.live.story import Event, an_event
from tests.live.test_verify import is_row, newest, write
from tests.live.workers import Fleet, Worker, produce, said_in_total, topic_settings, wait_for

LEG: Final = ("clinic", "diabetes", "default", "ridge")
#: Of so many rows is the reference that is made of first ones.
FIRST: Final = 100
SHIFTED: Final = "bmi"
#: One in so many requests comes a second time, later, with what holds.
REPLACED: Final = 5


def halves() -> tuple[list[str], Any, Any]:
    """The names of the features, the rows that are trained on, and those that are asked later."""
    data = load_diabetes(scaled=False)
    order = np.random.default_rng(3).permutation(len(data.data))
    half = len(order) // 2
    return list(data.feature_names), data.data[order[:half]], data.data[order[half:]]


def events(names: list[str], rows: Any, start: int) -> list[Event]:
    found = []
    for number, row in enumerate(rows):
        puid, micros = f"p{number}", start + number * 1000
        truth = {"data": {"names": names, "ndarray": [row.tolist()]}}
        if number % REPLACED == 0:
            found.append(
                an_event("request", puid, LEG, micros, {"data": {"names": names, "ndarray": [[-1.0] * len(row)]}})
            )
            found.append(an_event("response", puid, LEG, micros + 10, {"data": {"ndarray": [150.5]}}))
            found.append(an_event("request", puid, LEG, micros + 20, truth))
        else:
            found.append(an_event("request", puid, LEG, micros, truth))
            found.append(an_event("response", puid, LEG, micros + 10, {"data": {"ndarray": [150.5]}}))
    return found


def drift(fleet: Fleet) -> dict[str, dict[str, Any]]:
    return said_in_total(fleet, "drift", "feature")


def live(one: dict[str, Any]) -> list[int]:
    return [it["rows"] for it in one["bins"]]


def counts(fleet: Fleet, wanted: dict[str, list[int]]) -> bool:
    """Whether the bins of these features have so many rows: what is replaced counts until what holds has come."""
    found = drift(fleet)
    return wanted == {name: live(found[name]) for name in wanted if name in found}


def exporter(fleet: Fleet) -> Worker | None:
    return next((it for it in fleet.running() if it.series("tally_drifted_share")), None)


def test_the_shifted_feature_alone_has_drifted_and_every_row_is_counted_once(kafka: Kafka, tmp_path: Path) -> None:
    names, trained, asked = halves()
    with (tmp_path / "training.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *trained.tolist()])
    place = names.index(SHIFTED)
    asked[:, place] += trained[:, place].std()
    reference = tmp_path / "histogram.prom"
    done = tally("reference", "build", tmp_path / "training.csv", "--output", reference)
    assert done.exit_code == 0, done.output
    (tmp_path / "tally.yaml").write_text("models: [{match: 'clinic/*', task: regression, reference: histogram.prom}]")
    settings = topic_settings(kafka.bootstrap, f"drift-{uuid.uuid4().hex[:8]}")
    settings |= {
        "PARTITIONS": "4",
        "CONFIG": str(tmp_path / "tally.yaml"),
        "SESSION_TIMEOUT": "6s",
        "SCRAPE_INTERVAL": "1s",
    }
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        wait_for("it is ready", first.ready)
        fleet.start()
        story = events(names, asked, int((time.time() - 3600) * 1_000_000))
        produce(settings, story[: len(story) // 2])
        wait_for("some is counted", lambda: bool(drift(fleet)))
        first.kill()
        produce(settings, story[len(story) // 2 :])
        features = read_reference(reference).features
        wanted = {one.name: brute_force(one, asked[:, column]) for column, one in enumerate(features)}
        wait_for("all is counted as it holds", lambda: counts(fleet, wanted))
        found = drift(fleet)
        assert [name for name, one in found.items() if one["drifted"]] == [SHIFTED]
        past = tmp_path / "past.prom"
        environment = {f"TALLY_{name}": value for name, value in settings.items()}
        done = tally("reference", "build", "--from-topics", "--model", "/".join(LEG), "--output", past, **environment)
        assert done.exit_code == 0, done.output
        verified = tally("verify", **environment).output
        assert "difference 0\n" in verified
        assert "reference" not in verified
        for column, one in enumerate(read_reference(past).features):
            assert one == distribution_of(one.name, asked[:, column].tolist()), one.name
        wait_for("the series are there", lambda: exporter(fleet) is not None)
        worker = exporter(fleet)
        assert worker is not None
        shares = {
            dict(labels)["window"]: value
            for (name, labels), value in worker.series().items()
            if name == "tally_drifted_share"
        }
        assert shares["total"] == 1 / len(names)
        write_reference(reference, read_reference(reference)._replace(features=read_reference(reference).features[:1]))
        wait_for("the file is read again", lambda: "drift is counted anew" in fleet.logs())
        verified = tally("verify", **environment).output
        assert "Some drift was counted by references that are no longer in force (" in verified
        assert "difference 0\n" in verified


def test_the_first_rows_are_the_reference_though_whoever_gathers_them_is_killed(kafka: Kafka, tmp_path: Path) -> None:
    names, _, asked = halves()
    (tmp_path / "tally.yaml").write_text(
        f"models: [{{match: 'clinic/*', task: regression, reference: {{first: {FIRST}}}}}]"
    )
    settings = topic_settings(kafka.bootstrap, f"first-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "4", "CONFIG": str(tmp_path / "tally.yaml"), "SESSION_TIMEOUT": "6s"}
    story = events(names, asked, int((time.time() - 3600) * 1_000_000))
    before = next(number for number, one in enumerate(story) if one.key == b"p%d" % (FIRST + 40))
    environment = {f"TALLY_{name}": value for name, value in settings.items()}
    assert tally("topics", "--create", **environment).exit_code == 0
    produce(settings, story[:before])
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        fleet.start()
        wait_for("some is gathered", lambda: bool(reported(fleet)))
        first.kill()
        wait_for("the reference is made", lambda: reported(fleet).get("digest") is not None)
        produce(settings, story[before:])
        made = [distribution_of(name, asked[:FIRST, column].tolist()) for column, name in enumerate(names)]
        wanted = {one.name: brute_force(one, asked[FIRST:, column]) for column, one in enumerate(made)}
        wait_for("all else is counted as it holds", lambda: counts(fleet, wanted))
        found = drift(fleet)
        for one in made:
            assert [it["reference"] for it in found[one.name]["bins"]] == one.by_bin(), one.name
        worker = fleet.running()[0]
        for processes in ("1", "2"):
            replayed = tally("replay", "--format", "json", "--processes", processes, **environment).output
            assert without_windows(json.loads(replayed)["models"]) == without_windows(told(worker)), processes
        verified = tally("verify", "--url", worker.url, **environment).output
        assert "difference 0\n" in verified
        assert f"1 model of {worker.url} compared." in verified
        assert "Drift is compared by 1 reference of first rows, as workers have made them.\n" in verified
        assert "Just those the topics give: 1.\n" in verified
        fleet.stop()
        number, key, raw = newest(settings, "panes", counts_age)
        write(settings, "panes", number, key, with_one_more(raw))
        verified = tally("verify", **environment).output
        assert "difference 1\n" in verified
        assert ": drift of age, " in verified
        write(settings, "panes", number, key, raw)
        fleet.start()
        wait_for("it is counted after a restart", lambda: drift(fleet) == found)


def told(worker: Worker) -> list[dict[str, Any]]:
    return list(json.loads(worker.get("/api/models"))["models"])


def without_windows(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is said of models in total: windows go on with the time."""
    return [model | {"windows": model["windows"]["total"]} for model in models]


def counts_age(key: bytes, value: bytes) -> bool:
    """Whether a record of the counts has any of the first feature."""
    return is_row(key) and b'"drift=' in value and b'"0:' in value


def with_one_more(raw: bytes) -> bytes:
    rows = json.loads(raw)
    columns = next(cells for row, cells in rows.items() if row.startswith("drift="))
    columns[next(column for column in columns if column.startswith("0:"))] += 1
    return json.dumps(rows).encode()


def reported(fleet: Fleet) -> dict[str, Any]:
    """What `/api/models` says of the reference."""
    for worker in fleet.running():
        with contextlib.suppress(OSError):
            models = json.loads(worker.get("/api/models"))["models"]
            if models:
                return dict(models[0]["reference"])
    return {}


def brute_force(one: Any, values: Any) -> list[int]:
    """The rows of each bin: missing, below or unseen, those of the reference, and above where it is of numbers."""
    if one.kind == "categorical":
        known = Counter(str(int(value)) for value in values)
        return [0, len(values) - sum(known[it] for it in one.categories), *(known[it] for it in one.categories)]
    edges = np.array(one.edges)
    upper = [int(((values > low) & (values <= high)).sum()) for low, high in pairwise(edges)]
    return [0, int((values < edges[0]).sum()), int((values == edges[0]).sum()), *upper, int((values > edges[-1]).sum())]
