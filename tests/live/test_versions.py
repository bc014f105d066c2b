"""Two versions of a model through real workers: what the second answers otherwise is said before any label comes."""

import json
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from app.reference_file import read_reference
from tests.cli.test_cli import tally
from tests.live.browsing import chromium, visit
from tests.live.forked import run_text
from tests.live.servers import Kafka
from tests.live.story import Event, an_event
from tests.live.workers import Fleet, produce, topic_settings, wait_for
from tests.oracle.versions import by_class, distances, kolmogorov_smirnov

LEG: Final = ("bank", "churn", "default", "clf")
KEY: Final = "/".join(LEG)
ROWS: Final = {"1": 600, "2": 400}
RULES: Final = (
    "models: [{match: 'bank/*', task: binary, probabilities: true, estimate: true, reference: histogram.prom}]"
)

Row = tuple[float, str, float]


def rows_of(version: str) -> list[Row]:
    """The age and country that are asked of, and the probability that is answered. The second version is surer."""
    random = Random(version)
    power = {"1": 1.0, "2": 0.4}[version]
    return [
        (random.choice([20.0, 35.0, 50.0]), random.choice(["DE", "FR"]), round(64 * random.random() ** power) / 64)
        for _ in range(ROWS[version])
    ]


def events(version: str, rows: list[Row], start: int) -> Iterator[Event]:
    for number, (age, country, chance) in enumerate(rows):
        puid, micros = f"{version}-{number}", start + number * 1000
        asked = {"data": {"names": ["age", "country"], "ndarray": [[age, country]]}}
        yield an_event("request", puid, LEG, micros, asked)
        yield an_event("response", puid, LEG, micros + 10, {"data": {"ndarray": [chance]}, "model_version": version})


@pytest.fixture
def fleet(kafka: Kafka, tmp_path: Path) -> Iterator[Fleet]:
    training = tmp_path / "training.csv"
    training.write_text("age,country\n" + "".join(f"{age},{land}\n" for age, land, _ in rows_of("1")))
    done = tally("reference", "build", training, "--output", tmp_path / "histogram.prom")
    assert done.exit_code == 0, done.output
    (tmp_path / "tally.yaml").write_text(RULES)
    settings = topic_settings(kafka.bootstrap, f"versions-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "4", "CONFIG": str(tmp_path / "tally.yaml"), "SCRAPE_INTERVAL": "1s"}
    with Fleet(tmp_path, settings | {"SESSION_TIMEOUT": "6s"}) as fleet:
        yield fleet


def versions(fleet: Fleet) -> dict[str, Any]:
    """What a worker says of the newest two versions; empty while none knows any."""
    for worker in fleet.running():
        try:
            found = json.loads(worker.get("/api/comparisons"))["versions"]
        except OSError:  # it has no port yet
            continue
        if found:
            newest: dict[str, Any] = found[0]
            return newest
    return {}


def drifts(found: dict[str, Any], window: str = "total") -> dict[str, dict[str, Any]]:
    return {one["feature"]: one for one in found["windows"][window]["drift"]} if found else {}


def test_a_version_that_answers_otherwise_has_drifted_from_the_one_before(
    fleet: Fleet, tmp_path: Path, chromium_binary: str
) -> None:
    first = fleet.start()
    wait_for("it is ready", first.ready)
    fleet.start()
    old, new = rows_of("1"), rows_of("2")
    now = int(time.time()) * 1_000_000
    produce(fleet.settings, events("1", old, now - 7200 * 1_000_000))
    newer = [*events("2", new, now - 600 * 1_000_000)]
    half = len(newer) // 2
    produce(fleet.settings, newer[:half])

    def counted(rows: int) -> bool:
        one = drifts(versions(fleet)).get("age", {})
        return (one.get("rows_before"), one.get("rows")) == (len(old), rows)

    wait_for("half is counted", lambda: counted(len(new) // 2))
    first.kill()  # what is counted is what the other one takes over
    produce(fleet.settings, newer[half:])
    wait_for("all is counted", lambda: counted(len(new)))

    found = versions(fleet)
    classes = [[str(int(chance >= 0.5)) for _, _, chance in rows] for rows in (old, new)]
    chances = [[chance for _, _, chance in rows] for rows in (old, new)]
    expected = {"(prediction)": by_class(*classes), "(score)": kolmogorov_smirnov(*chances)}
    reference = {one.name: one for one in read_reference(tmp_path / "histogram.prom").features}
    lands = reference["country"].categories
    expected["country"] = distances(lands, lands, *([land for _, land, _ in rows] for rows in (old, new)))
    for window in ("total", "1h"):
        of_window = drifts(found, window)
        assert [*of_window] == ["(prediction)", "(score)", "age", "country"]
        for name, numbers in expected.items():
            for measure, value in numbers.items():
                if measure != "rows":
                    assert of_window[name][measure] == pytest.approx(value), (window, name, measure)
        assert [name for name, one in of_window.items() if one["drifted"]] == ["(prediction)", "(score)"]
        assert found["windows"][window]["drifted_share"] == 0
    assert Counter(one["rows"] for one in drifts(found, "5m").values()) == {0: 4}
    assert found["sentence"].startswith("drifted from version 1: ")

    (worker,) = fleet.running()
    own = {"model_version": "2", "before": "1", "feature": "(score)", "measure": "ks", "window": "total"}

    def exported() -> list[float]:
        return [value for (name, labels), value in worker.series().items()
                if name == "tally_version_drift" and own.items() <= dict(labels).items()]  # fmt: skip

    wait_for("the series say so", lambda: exported() == [pytest.approx(expected["(score)"]["ks"])])

    view = json.loads(worker.get(f"/api/models/{KEY}@2/view"))
    assert view["others"] == [f"{KEY}@1"]
    assert view["versions"]["sentence"] == found["sentence"]
    said = compared(worker.url, f"{KEY}@1", f"{KEY}@2")
    assert (said.returncode, said.stderr) == (1, "")
    title, *_, last = map(str.rstrip, said.stdout.splitlines())
    assert title == f"{KEY}@2 against {KEY}@1"
    assert last.startswith("Drifted from version 1: ")

    with chromium(chromium_binary) as browser, visit(browser, worker.url) as seen:
        seen.go(f"#/model/{KEY}@2?window=1h", until="text=Beside other versions")
        section = seen.page.locator("section", has=seen.page.locator("h2", has_text="Beside other versions"))
        assert f"In total: {found['sentence']}." in section.inner_text()
        assert section.locator("tbody tr").count() == len(drifts(found))
        section.get_by_role("button", name="country", exact=True).click()
        section.locator("h3").get_by_text("country", exact=True).wait_for()  # it is drawn a moment later
        seen.page.wait_for_function("location.hash.includes('shift=country')")
        assert (seen.errors, seen.sideways(), seen.barriers()) == ([], [], [])


def compared(url: str, *legs: str) -> subprocess.CompletedProcess[str]:
    return run_text({}, "compare", *legs, "--url", url)
