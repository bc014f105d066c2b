"""What the README tells its readers to type: every command and every expression of it, with real servers."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.core.drift.building import distribution_of
from app.core.drift.reference import Reference
from app.models_file import load_rulebook
from app.reference_file import write_reference
from tests.live.servers import Elasticsearch, Kafka, prometheus, query
from tests.live.story import TYPES, Event
from tests.live.test_prometheus import CONFIG
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for
from tests.patience import PATIENCE
from tests.readme import README

TEXT: Final = README.read_text()
#: Command lines that are run elsewhere, or not here: by what.
ELSEWHERE: Final = {
    "make demo": "tests/live/test_demo.py",
    "tally worker": "tests/live/workers.py",
    "TALLY_STORE=rocksdb TALLY_DATA_DIR=/var/lib/tally TALLY_STORE_MEMORY=512MiB tally worker": (
        "tests/live/faults/test_disks.py"
    ),
    "python3 -m venv ~/tally": "pyproject.toml",
    "~/tally/bin/pip install .": "pyproject.toml",
    "~/tally/bin/tally --version": "pyproject.toml",
    "kubectl create namespace tally": "tests/deploy/test_deployment.py",
    "kubectl create secret generic tally-secrets -n tally --from-literal http-token=TOKEN": "k8s/base/config.yaml",
    "kubectl apply --namespace tally --kustomize k8s": "tests/deploy/checks.py",
    "kubectl apply --namespace tally --kustomize k8s/monitoring": "tests/deploy/checks.py",
    "tally dead-letters drop --reason no-puid": "tests/live/test_dead_letters.py",
    "docker build --tag tally .": "tests/live/test_image.py",
    "docker run --rm --env TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 --publish 127.0.0.1:6066:6066 tally": (
        "tests/live/test_image.py"
    ),
    "docker run --rm --env TALLY_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 tally check": "tests/live/test_image.py",
}
#: What some of them answer, once what they ask for is there.
ANSWERS: Final = {"/api/models": '"windows"', "/api/exchanges": '"legs"', "tally-windows": '"_id"'}
#: Errors of HTTP are errors, and curl keeps silent otherwise.
PRELUDE: Final = 'set -euo pipefail; curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'


#: Language and text of each block.
BLOCKS: Final = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def lines_of(block: str) -> list[str]:
    """Its command lines, without comments."""
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    assert {kind for kind, _ in BLOCKS} <= {"sh", "promql", "json", "python", "yaml", "text", ""}
    assert not [line for block in blocks("") for line in block.splitlines() if re.match(r"(curl|tally|make) ", line)]


def test_what_is_run_elsewhere_is_in_the_readme_and_there() -> None:
    lines = {line for block in blocks("sh") for line in lines_of(block)}
    assert ELSEWHERE.keys() <= lines
    assert all((README.parent / file).exists() for file in ELSEWHERE.values())


def test_json_and_settings_are_whole(tmp_path: Path) -> None:
    for block in blocks("json"):
        json.loads(block)
    file = tmp_path / "tally.yaml"
    write_reference(tmp_path / "histogram.prom", Reference((distribution_of("age", [18, 30, 65]),)))
    (tmp_path / "outliers.py").write_text("def score(inputs, outputs):\n    return [0.0 for _ in inputs]\n")
    for settings in blocks("yaml"):
        file.write_text(settings)
        assert load_rulebook(file)


@pytest.mark.usefixtures("prometheus_binary")
def test_every_command_and_expression_works(kafka: Kafka, elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    name = f"readme-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | {"PARTITIONS": "2", "SCRAPE_INTERVAL": "1s"}
    (tmp_path / "tally.yaml").write_text("models: [{match: '*', limits: {accuracy: 0.95}}]")
    settings |= {"ELASTICSEARCH_URL": elasticsearch.url, "LOG_TOPIC": f"{name}-log"}
    settings |= {"CONFIG": str(tmp_path / "tally.yaml")}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        (tmp_path / "prometheus").mkdir()
        targets = f"'127.0.0.1:{worker.port}'"
        with prometheus(tmp_path / "prometheus", CONFIG.format(targets=targets)) as server:
            wait_for("it is scraped", lambda: bool(query(server.url, 'tally_partitions{state="ready"}')))
            answer_and_label(worker)
            rows = partial(fleet.total, "tally_rows")
            wait_for("all answers count", lambda: rows(model_service="churn") == 240)
            wait_for("all labels count", lambda: rows(model_service="iris", verdict="correct") == 108 + 120)
            write_files(tmp_path)
            produce(
                settings,
                [Event("request", b"z", b"no JSON", [("ce_type", TYPES["request"].encode())], int(time.time() * 1000))],
            )
            places = {
                "127.0.0.1:9092": kafka.bootstrap,
                "http://127.0.0.1:6066": worker.url,
                "http://127.0.0.1:9200": elasticsearch.url,
            }
            run = runner(tmp_path, settings | {"WEB_PORT": str(worker.port)}, places)
            wait_for("an event is refused", lambda: "bad-json" in run("tally dead-letters list"))
            (places["3-1042"],) = re.findall(r"^(\d+-\d+) ", run("tally dead-letters list"), re.MULTILINE)
            for block in blocks("sh"):
                script = "\n".join(line for line in block.splitlines() if lines_of(line)[0] not in ELSEWHERE)
                wanted = next((text for part, text in ANSWERS.items() if part in script), "")
                if wanted:
                    wait_for(script, lambda asked=script, told=wanted: told in said_by(run, asked))  # type: ignore[misc]
                else:
                    run(script)
            for expression in expressions():
                shorter = expression.replace(":1m]", ":1s]").replace("offset 1h", "offset 2s")
                wait_for(expression, lambda asked=shorter: bool(query(server.url, asked)))  # type: ignore[misc]


def said_by(run: Callable[[str], str], script: str) -> str:
    """What a script gives; nothing while it fails, as it may where what it asks for is not there yet."""
    try:
        return run(script)
    except AssertionError as error:
        print(error)
        return ""


def expressions() -> list[str]:
    """One a line, or one in all where lines are indented."""
    return [one for block in blocks("promql") for one in re.split(r"\n(?! )", block.strip())]


def write_files(folder: Path) -> None:
    """The files of labels, and of training data."""
    pq.write_table(pa.table({"id": [1, 2], "age": [18, 30], "churned": [0, 1]}), folder / "training.parquet")
    pq.write_table(pa.table({"puid": ["1", "2"], "label": ["a", "b"]}), folder / "labels.parquet")
    (folder / "churn.csv").write_text("id,churned\n1,a\n")


def answer_and_label(worker: Worker) -> None:
    """120 predictions of a model and its shadow, nine of ten and all of them right; as many of two versions of another
    that answer alike; and one event without sense."""
    for version in ("1", "2"):
        for number in range(120):
            post(
                worker,
                "/",
                {"puid": f"{version}-{number}", "namespace": "bank", "service": "churn", "endpoint": "default",
                 "model": "clf", "version": version, "features": [[1.0, 2.0]], "output": ["a" if number % 3 else "b"]},
            )  # fmt: skip
    for number in range(120):
        puid = "2cfe7cb7" if number == 0 else f"{number:x}"
        for predictor in ("default", "shadow"):
            right = predictor == "shadow" or number % 10
            post(
                worker,
                "/",
                {"puid": puid, "namespace": "seldon", "service": "iris", "endpoint": predictor, "model": predictor,
                 "features": [[1.0, 2.0]], "output": ["a" if right else "b"]},
            )  # fmt: skip
        post(worker, "/feedback", {"puid": puid, "label": "a" if number % 3 else ["a"]})
    with pytest.raises(OSError, match="400"):
        post(worker, "/", {"features": [1]})


def post(worker: Worker, path: str, content: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - http, as the worker's address says
        worker.url + path, json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:  # noqa: S310
        assert reply.status == 202


def runner(folder: Path, settings: dict[str, str], places: dict[str, str]) -> Callable[[str], str]:
    """What runs a script with real places in place of those that the README names, and gives its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TALLY_")}
    environment |= {f"TALLY_{key}": value for key, value in settings.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(script: str) -> str:
        for named, real in places.items():
            script = script.replace(named, real)
        done = subprocess.run(
            ["/bin/bash", "-c", PRELUDE + script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    return run
