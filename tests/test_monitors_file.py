"""Monitors in the YAML file: what is read of them, and what is said of wrong ones."""

import hashlib
from pathlib import Path

import pytest

from app.core.monitors import AlertWhen, Monitor
from app.models_file import load_rulebook
from app.settings import SettingsError

SCORE = "def score(inputs, outputs):\n    return inputs[:, 0]\n"
WHEN = "alert_when: '> 0.5'"


def load(folder: Path, text: str) -> list[Monitor]:
    (folder / "own.py").write_text(SCORE)
    for form in ("joblib", "skops", "onnx"):
        (folder / f"trees.{form}").write_bytes(b"trees")
    path = folder / "tally.yaml"
    path.write_text(f"models:\n  - match: '*'\n    monitors:\n      odd: {{{text}}}\n")
    return [*load_rulebook(path).entries[0].monitors]


def test_a_monitor_is_a_file_and_when_it_alerts(tmp_path: Path) -> None:
    (monitor,) = load(
        tmp_path, "file: own.py, alert_when: {value: '>= 3'}, timeout: 2s, memory: 64MiB, hold: 3, clear: 1"
    )
    assert monitor.spec.name == "odd"
    assert monitor.spec.when == AlertWhen(">=", 3)
    assert (monitor.spec.hold, monitor.spec.clear) == (3, 1)
    assert (monitor.code.kind, monitor.code.place) == ("file", str(tmp_path / "own.py"))
    assert (monitor.code.timeout, monitor.code.memory) == (2.0, 64 << 20)


def test_another_content_of_the_file_is_another_version(tmp_path: Path) -> None:
    (before,) = load(tmp_path, f"file: own.py, {WHEN}")
    (again,) = load(tmp_path, f"file: own.py, {WHEN}, timeout: 3s")
    assert before.spec.version == again.spec.version
    (tmp_path / "own.py").write_text(SCORE + "# better\n")
    (after,) = load_rulebook(tmp_path / "tally.yaml").entries[0].monitors
    assert after.spec.version != before.spec.version


def test_a_function_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "own_monitor_of_test.py").write_text(SCORE)
    (monitor,) = load(tmp_path, f"function: own_monitor_of_test:score, {WHEN}")
    assert monitor.code.place == "own_monitor_of_test:score"


def test_a_model_is_trusted_by_its_digest(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"trees").hexdigest()
    (monitor,) = load(tmp_path, f"model: trees.joblib, digest: 'sha256:{digest}', {WHEN}")
    assert monitor.code.digest == digest


def test_a_skops_or_onnx_model_needs_no_digest_but_may_have_one(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"trees").hexdigest()
    for place, more in (("trees.skops", ""), ("trees.onnx", f", digest: {digest}"), ("trees.ONNX", "")):
        (tmp_path / place).write_bytes(b"trees")
        (monitor,) = load(tmp_path, f"model: {place}{more}, {WHEN}")
        assert monitor.code.digest in ("", digest)
    (monitor,) = load(tmp_path, f"model: trees.skops, trusted: [a.B, c], {WHEN}")
    assert (monitor.code.trusted, monitor.code.output) == (("a.B", "c"), "")
    (monitor,) = load(tmp_path, f"model: trees.onnx, output: scores, {WHEN}")
    assert (monitor.code.trusted, monitor.code.output) == ((), "scores")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file: own.py", "monitors.odd.alert_when: is missing."),
        (WHEN, "must have one of file"),
        (f"file: own.py, function: a:b, {WHEN}", "must have one of file"),
        (f"file: other.py, {WHEN}", "monitors.odd: .*other.py cannot be read"),
        (f"file: [own.py], {WHEN}", "monitors.odd.file: must be a text"),
        (f"function: score, {WHEN}", "monitors.odd: must be written module:function"),
        (f"function: nowhere_at_all:f, {WHEN}", "there is no module nowhere_at_all"),
        (f"model: trees.joblib, {WHEN}", "must have a digest beside its model"),
        (f"model: trees.joblib, digest: ab, {WHEN}", "has the SHA-256 [0-9a-f]{64}, and digest says another"),
        (f"file: own.py, digest: ab, {WHEN}", "has a digest, which only a model has"),
        (f"model: trees.joblib, digest: ab, call: score, {WHEN}", "leave out call"),
        (f"model: trees.skops, digest: ab, {WHEN}", "has the SHA-256 [0-9a-f]{64}, and digest says another"),
        (f"model: trees.onnx, trusted: [a], {WHEN}", "has trusted, which only a .skops model has"),
        (f"model: trees.joblib, digest: ab, trusted: [a], {WHEN}", "has trusted, which only a .skops model has"),
        (f"file: own.py, trusted: [], {WHEN}", "has trusted, which only a .skops model has"),
        (f"model: trees.skops, trusted: a.B, {WHEN}", "monitors.odd.trusted: must be a list"),
        (f"model: trees.skops, trusted: [1], {WHEN}", r"monitors.odd.trusted\[0\]: must be a text"),
        (f"model: trees.skops, output: x, {WHEN}", "has output, which only an .onnx model has"),
        (f"file: own.py, output: x, {WHEN}", "has output, which only an .onnx model has"),
        (f"model: trees.onnx, output: [x], {WHEN}", "monitors.odd.output: must be a text"),
        (f"model: none.onnx, {WHEN}", "none.onnx cannot be read"),
        (f"file: own.py, call: run, {WHEN}", "monitors.odd.call: "),
        ("file: own.py, alert_when: '0.5'", "monitors.odd.alert_when: must be a comparison"),
        ("file: own.py, alert_when: 0.5", "monitors.odd.alert_when: must hold keys"),
        ("file: own.py, alert_when: {value: '> x'}", "x is no number"),
        ("file: own.py, alert_when: {vale: '> 1'}", "alert_when.vale: unknown; did you mean value"),
        (f"file: own.py, {WHEN}, timeout: 1h", "monitors.odd.timeout: must be more than nothing and at most 10m"),
        (f"file: own.py, {WHEN}, timeout: soon", "must be a duration"),
        (f"file: own.py, {WHEN}, timeout: true", "must be a duration"),
        (f"file: own.py, {WHEN}, memory: 1KiB", "monitors.odd.memory: must be at least 16MiB"),
        (f"file: own.py, {WHEN}, memory: true", "must be a size"),
        (f"file: own.py, {WHEN}, hold: 0", "monitors.odd.hold: "),
        (f"file: own.py, {WHEN}, hold: 2, clear: 2", r"clear \(2\) must be below hold \(2\)"),
        (f"file: own.py, {WHEN}, hld: 2", "monitors.odd.hld: unknown; did you mean hold"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as error:
        load(tmp_path, text)
    assert str(error.value).startswith("TALLY_CONFIG: ")
    assert str(error.value).endswith((".", "?"))


@pytest.mark.parametrize("name", ["'a b'", "1", "''", "a.b"])
def test_a_name_is_one_of_a_label_and_a_field(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tally.yaml"
    path.write_text(f"models:\n  - match: '*'\n    monitors: {{{name}: {{file: own.py, {WHEN}}}}}\n")
    with pytest.raises(SettingsError, match="monitors"):
        load_rulebook(path)
