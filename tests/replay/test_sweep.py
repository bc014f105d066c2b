"""The scores by threshold are scikit-learn's; other rules stand beside the live ones; wrong forms are refused."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_curve, roc_curve

import app
from app.commands.tally import main
from app.replay.stretch import StretchError
from app.replay.sweep import parse_costs, parse_sweep
from tests.builders import a_feedback, a_request, a_response
from tests.replay.test_files import line, tally, written

SAMPLES = Path(app.__file__).parent / "demo/samples/breast-cancer.json"
SWEEP = ("--sweep", "threshold=0:1:0.5")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TALLY_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A file of events of the breast-cancer model, and its scores and labels."""
    rows = [row for phase in json.loads(SAMPLES.read_text())["phases"] for row in phase["rows"]]
    scores, labels = [row["current"][1] for row in rows], [row["label"] for row in rows]
    lines = [
        line(event)
        for number, (score, label) in enumerate(zip(scores, labels, strict=True))
        for event in (
            a_request(puid=f"p{number}", at=number),
            a_response(score, puid=f"p{number}", at=number),
            a_feedback(label, puid=f"p{number}", at=number),
        )
    ]
    return written(tmp_path_factory.mktemp("cancer"), lines), np.array(scores), np.array(labels)


def swept(file: Path, *words: str) -> dict[str, Any]:
    result = tally(file, "--format", "json", *words)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    return dict(found)


def test_scores_by_threshold_are_those_of_scikit_learn(cancer: tuple[Path, Any, Any]) -> None:
    file, scores, labels = cancer
    precision, recall, at = precision_recall_curve(labels, scores)
    false_rate, true_rate, roc_at = roc_curve(labels, scores, drop_intermediate=False)
    found = swept(file, "--sweep", "threshold=0.02:0.98:0.02")
    assert len(found["steps"]) == 49
    for step in found["steps"]:
        place = int(np.searchsorted(at, step["threshold"]))  # the least score that is counted as positive
        assert step["scores"]["precision"] == pytest.approx(precision[place])
        assert step["scores"]["recall"] == pytest.approx(recall[place])
        last = int(np.flatnonzero(roc_at >= step["threshold"])[-1])
        assert step["scores"]["recall"] == pytest.approx(true_rate[last])
        assert 1 - step["scores"]["specificity"] == pytest.approx(false_rate[last])
    best = max(found["steps"], key=lambda step: step["scores"]["f1"])
    assert found["best"]["f1"] == best["threshold"]
    assert best["scores"]["f1"] == pytest.approx(f1_score(labels, scores >= best["threshold"]))


def test_the_best_is_what_costs_least(cancer: tuple[Path, Any, Any]) -> None:
    file, scores, labels = cancer
    found = swept(file, "--sweep", "threshold=0.1:0.9:0.05", "--cost", "1,0=100;0,1=5")
    by_hand = {}
    for step in found["steps"]:
        _, false_positive, false_negative, _ = confusion_matrix(labels, scores >= step["threshold"]).ravel()
        by_hand[step["threshold"]] = 100 * false_negative + 5 * false_positive
        assert step["cost"] == by_hand[step["threshold"]]
    assert by_hand[found["best"]["cost"]] == min(by_hand.values())
    text = tally(file, "--sweep", "threshold=0.1:0.9:0.05", "--cost", "1,0=100;0,1=5").stdout
    assert f"best cost: {min(by_hand.values())} at {found['best']['cost']:g}" in text


def test_other_rules_stand_beside_those_of_the_workers(cancer: tuple[Path, Any, Any], tmp_path: Path) -> None:
    file, scores, labels = cancer
    other = tmp_path / "other.yaml"
    other.write_text('models: [{match: "ns/svc/*", threshold: 0.9}]')
    result = tally(file, "--config", other, "--format", "json")
    assert result.exit_code == 0, result.output
    (model,) = json.loads(result.stdout)["differences"]
    total = model["windows"]["total"]
    wanted = [confusion_matrix(labels, scores >= threshold).ravel().tolist() for threshold in (0.5, 0.9)]
    assert [cell[2:] for cell in total["confusion"]] == [list(pair) for pair in zip(*wanted, strict=True)]
    assert total["samples"] == [len(labels)] * 2
    text = tally(file, "--config", other).stdout
    (row,) = re.findall(r"^actual 1, predicted 0 +(\d+) +(\d+) +\+(\d+)", text, re.MULTILINE)[:1]
    assert int(row[1]) - int(row[0]) == int(row[2])


@pytest.mark.parametrize(
    "text",
    ["0.1:0.9:0.1", "limit=0.1:0.9:0.1", "threshold=0.1:0.9", "threshold=a:b:c", "threshold=0.9:0.1:0.1",
     "threshold=0.1:0.9:0", "threshold=-0.1:0.9:0.1", "threshold=0.1:1.1:0.1", "threshold=nan:1:0.1", ""],
)  # fmt: skip
def test_a_sweep_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(
        StretchError, match=r"^--sweep must be like threshold=0\.1:0\.9:0\.05, from 0 to 1 \(got .*\)\.$"
    ):
        parse_sweep(text)


def test_a_sweep_of_too_many_steps_is_refused() -> None:
    with pytest.raises(StretchError, match=r"^--sweep has 10001 steps, and may have 1000: take larger ones\.$"):
        parse_sweep("threshold=0:1:0.0001")


def test_the_ends_of_a_sweep_belong_to_it() -> None:
    assert parse_sweep("threshold=0.1:0.3:0.1") == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("text", ["", "1=5", "1,0", "1,0=x", "1,0=nan", ",0=1", "1,0=1;", "1,0=inf"])
def test_costs_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(
        StretchError, match=r"^--cost must be like '1,0=100;0,1=5': actual, predicted, cost \(got .*\)\.$"
    ):
        parse_costs(text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cost", "1,0=1"), r"--cost says which threshold is best: give --sweep, too\."),
        ((*SWEEP, "--format", "prometheus"), r"--format must be text or json with --sweep and --config\."),
        ((*SWEEP, "--config", "x.yaml"), r"--sweep is by the rules of TALLY_CONFIG: leave --config out\."),
        ((*SWEEP, "--model", "x/*"), r"--sweep: no model like x/\* has answered single scores .*"),
        (("--config", "none.yaml"), r"--config: none\.yaml.*"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    cancer: tuple[Path, Any, Any], words: tuple[str, ...], sentence: str
) -> None:
    result = CliRunner().invoke(main, ["replay", str(cancer[0]), *words], prog_name="tally")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(f"tally: {sentence}\n", result.stderr), result.stderr
