"""`tally replay FILE`: the same stories give the same series, and what is wrong is said in one sentence."""

import gzip
import json
import os
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner, Result

from app.cli.replayed_files import replay_files
from app.commands.tally import main
from app.core.rules import Rulebook
from app.replay.fold import Counting
from app.replay.outcome import outcome_of, prometheus
from app.replay.stretch import parse_bound
from app.settings import Settings
from tests.builders import START, Record, a_feedback, a_request, a_response, kind_of
from tests.oracle.events import event_of
from tests.oracle.exposition import WINDOWS, samples_of
from tests.oracle.stories import a_story
from tests.oracle.test_oracle import differences, parsed, rules_of

TOPICS = {"request": "inference-requests", "response": "inference-responses", "feedback": "inference-feedback"}
STORY = [
    record
    for number in range(4)
    for record in (
        a_request(puid=f"p{number}", at=number * 60),
        a_response(number % 2, puid=f"p{number}", at=number * 60 + 1),
        a_feedback(1, puid=f"p{number}", at=number * 60 + 30),
    )
]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TALLY_"):
            monkeypatch.delenv(name)


def line(record: Record, **changes: Any) -> str:
    """A record as kcat prints it."""
    names = [text for name, value in record.headers for text in (name, None if value is None else value.decode())]
    content = {
        "topic": TOPICS[kind_of(record)],
        "ts": record.timestamp,
        "key": None if record.key is None else record.key.decode(),
        "payload": None if record.value is None else record.value.decode(),
        "headers": names,
    }
    return json.dumps(content | changes)


def written(folder: Path, lines: list[str], name: str = "events.jsonl") -> Path:
    file = folder / name
    raw = "".join(f"{text}\n" for text in lines).encode()
    if name.endswith(".gz"):
        raw = gzip.compress(raw)
    elif name.endswith(".zst"):
        raw = zstandard.compress(raw[:70]) + zstandard.compress(raw[70:])  # two frames, as a file that was added to
    file.write_bytes(raw)
    return file


def tally(*words: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, words)], env=environment, prog_name="tally")


def models(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["models"]


# -- the same as the worker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_a_story_gives_what_the_oracle_says(seed: int, tmp_path: Path) -> None:
    """As `tests.oracle` tells the same stories to the shards of workers."""
    story = a_story(Random(seed))
    records = sorted(story.records, key=lambda record: record.timestamp) if story.in_order else story.records
    file = written(tmp_path, [line(record) for record in records])
    windows = {"windows": ",".join(WINDOWS), "window_retention": "8d"}
    settings = Settings.model_validate({"now": float(START + story.now), **windows})
    bounds = (parse_bound("--from", "earliest", 0.0), parse_bound("--to", "latest", 0.0))
    rulebook = Rulebook(tuple(map(rules_of, story.rules)))
    counting = Counting(settings, rulebook, settings.limits)
    folded = replay_files(counting, [str(file)], *bounds)
    found = parsed(prometheus(outcome_of(counting, folded, settings.now)))
    theirs = samples_of(map(event_of, story.records), story.rules, START + story.now)
    assert not differences(found, theirs)


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz", "events.jsonl.zst"])
def test_a_compressed_file_is_read_as_any(name: str, tmp_path: Path) -> None:
    (model,) = models(tally(written(tmp_path, [line(record) for record in STORY], name), "--format", "json"))
    assert model["windows"]["total"]["samples"] == 4
    assert model["windows"]["total"]["scores"]["accuracy"] == 0.5


def test_an_event_under_a_wrong_key_is_brought_to_its_own(tmp_path: Path) -> None:
    lines = [line(record, key=f"some key {number}") for number, record in enumerate(STORY)]
    (model,) = models(tally(written(tmp_path, lines), "--format", "json"))
    assert model["windows"]["total"]["samples"] == 4


def test_events_of_a_source_are_read_in_its_dialect(tmp_path: Path) -> None:
    pair = {"puid": "p", "features": [1, 2], "output": 1, "label": 1, "service": "churn", "model": "tree"}
    lines = [json.dumps({"topic": "source", "payload": json.dumps(pair), "ts": START * 1000})]
    (model,) = models(tally(written(tmp_path, lines), "--format", "json"))
    assert (model["model_service"], model["windows"]["total"]["samples"]) == ("churn", 1)


def test_a_time_takes_only_the_records_of_that_time(tmp_path: Path) -> None:
    """A feedback whose prediction lies outside is an orphan, and judges nothing."""
    file = written(tmp_path, [line(record) for record in STORY])
    result = tally(
        file, "--from", "2026-11-21T07:01:15Z", "--to", "2026-11-21T07:03:10Z", "--format", "json"
    )  # fmt: skip
    content = json.loads(result.stdout)
    (model,) = content["models"]
    assert content["events"] == 6  # the feedback of p1, all of p2, and the prediction of p3
    assert content["orphans"] == 1
    assert model["windows"]["total"]["samples"] == 1
    (note,) = content["notes"]
    assert note.startswith("Request ids with feedback and without a prediction within this stretch: 1.")


def test_windows_end_at_the_end_of_the_stretch_or_at_the_frozen_clock(tmp_path: Path) -> None:
    file = written(tmp_path, [line(record) for record in STORY])
    assert json.loads(tally(file, "--format", "json").stdout)["now"] == "2026-11-21T07:03:30Z"
    frozen = tally(file, "--format", "json", TALLY_NOW="2026-11-21T09:00:00Z")
    assert json.loads(frozen.stdout)["now"] == "2026-11-21T09:00:00Z"


def test_a_pattern_shows_the_models_that_it_fits_alone(tmp_path: Path) -> None:
    lines = [line(record) for record in STORY]
    lines += [line(a_response(1, puid="q", model="other")), line(a_feedback(1, puid="q", model="other"))]
    file = written(tmp_path, lines)
    assert [model["model"] for model in models(tally(file, "--model", "ns/*/oth*", "--format", "json"))] == ["other"]
    text = tally(file, "--model", "ns/svc/default/m", "--format", "prometheus").stdout
    assert 'model="m"' in text
    assert 'model="other"' not in text


def test_the_report_shows_totals_classes_windows_by_both_clocks_and_comparisons(tmp_path: Path) -> None:
    shadows = [line(a_response(1, puid=f"p{number}", at=number * 60 + 1, predictor="shadow")) for number in range(4)]
    text = tally(written(tmp_path, [line(record) for record in STORY] + shadows)).stdout
    for part in ("16 events", "by the time of predictions", "labels_5m", "accuracy", "confusion, in total",
                 "ns/svc/default/m against ns/svc/shadow/m"):  # fmt: skip
        assert part in text, text


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words", "sentence"),
    [
        (["{"], (), r"Line 1 of .*events\.jsonl is no JSON .*"),
        ([line(STORY[0]), "[1]"], (), r"Line 2 of .*events\.jsonl is no JSON object\."),
        ([line(STORY[0], ts="now")], (), r"Line 1 of .* has a \"ts\" that is no number of milliseconds since 1970\."),
        ([], (), r".*events\.jsonl hold no events from earliest to latest\."),
        ([line(STORY[0])], ("--to", "2020-01-01"), r".* hold no events from earliest to 2020-01-01\."),
        ([line(STORY[0])], ("--from", "inference-requests:0:1"), r"--from must be a time where files are replayed .*"),
        ([line(STORY[0])], ("--from", "1h", "--to", "2h"), r"--to 2h is not after --from 1h: nothing lies between\."),
        ([line(STORY[0])], ("--topic", "seldon"), r"FILE, --topic and --from-elasticsearch exclude each other\."),
        ([line(STORY[0])], ("--from", "soon"), r"--from must be earliest, latest, a time .*"),
        ([line(one) for one in STORY], ("--model", "x/*"), r"--model x/\* fits none of the models: ns/svc/default/m\."),
    ],
)  # fmt: skip
def test_wrong_input_is_said_in_one_sentence(
    lines: list[str], words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = tally(written(tmp_path, lines), *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"tally: {sentence}\n", result.stderr), result.stderr


@pytest.mark.parametrize("name", ["events.jsonl.gz", "events.jsonl.zst"])
def test_a_file_that_is_not_compressed_as_its_name_says_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(line(STORY[0]))
    result = tally(file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(rf"tally: {re.escape(str(file))} cannot be read \(.*\)\.\n", result.stderr), result.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = tally(tmp_path / "none.jsonl")
    assert result.exit_code == 2
    assert re.fullmatch(r"tally: .*none\.jsonl cannot be read \(No such file or directory\)\.\n", result.stderr)


def test_a_scratch_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, [line(record) for record in STORY])
    folder = file / "scratch"
    result = tally(file, TALLY_DATA_DIR=str(folder))
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(
        rf"tally: What has no room in memory cannot be kept in {re.escape(str(folder))} \(.*\): make room there, .*\n",
        result.stderr,
    )
