"""Model files in the process of a monitor: each form gives the values that the model itself gives."""

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops import io as skops

from app.core.monitors import Code, Columns
from app.worker.monitors.models import load_model
from app.worker.monitors.process import MonitorProcess
from app.worker.monitors.scorer import Asked, Value

ROWS = np.random.default_rng(3).normal(size=(200, 3))
FOREST = IsolationForest(n_estimators=20, random_state=1).fit(ROWS)
#: What skops does not trust by itself in a forest.
TREE = "sklearn.tree._tree.Tree"
#: The first two columns are inputs, the third is the output.
ASKED: Asked = (
    Columns(("a", "b"), ROWS[:50, :2].tolist()),
    Columns(("output",), ROWS[:50, 2:].tolist()),
)
WIDE: Asked = Columns(("a", "b", "c"), ROWS[:50].tolist()), Columns(("output",), [[1.0]] * 50)

Ask = Callable[..., list[Value]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """What is said of rows by a model of this content."""
    running: list[MonitorProcess] = []

    def asked(content: bytes, name: str, asked: Asked = ASKED, **more: Any) -> list[Value]:
        (tmp_path / name).write_bytes(content)
        process = MonitorProcess("odd", Code("model", str(tmp_path / name), str(tmp_path), **more))
        running.append(process)
        (values,) = asyncio.run(process.score([asked]))
        return values

    yield asked
    for process in running:
        process.close()


def onnx_of(model: Any, rows: Any = ROWS, **options: Any) -> bytes:
    made = to_onnx(model, rows[:1].astype(np.float32), target_opset={"": 15, "ai.onnx.ml": 3}, **options)
    content: bytes = made.SerializeToString()
    return content


def joblib_of(folder: Path, model: Any) -> bytes:
    joblib.dump(model, folder / "written")
    return (folder / "written").read_bytes()


@pytest.mark.parametrize("form", ["joblib", "skops", "onnx"])
@pytest.mark.parametrize("asked", [ASKED, WIDE])
def test_a_model_says_the_same_whatever_wrote_it(tmp_path: Path, ask: Ask, form: str, asked: Asked) -> None:
    if form == "joblib":
        content = joblib_of(tmp_path, FOREST)
        values = ask(content, "forest.joblib", asked, digest=hashlib.sha256(content).hexdigest())
    elif form == "skops":
        values = ask(skops.dumps(FOREST), "forest.skops", asked, trusted=(TREE,))
    else:
        values = ask(onnx_of(FOREST), "forest.onnx", asked)
    assert values == pytest.approx(FOREST.decision_function(ROWS[:50]), abs=1e-6)


def test_an_onnx_model_has_its_only_output_or_the_one_that_is_named_as_the_value(ask: Ask) -> None:
    line = LinearRegression().fit(ROWS, ROWS @ [1, 2, 3])
    assert ask(onnx_of(line), "line.onnx") == pytest.approx(ROWS[:50] @ [1, 2, 3], abs=1e-5)
    classes = LogisticRegression().fit(ROWS, ROWS[:, 0] > 0)
    content = onnx_of(classes, options={"zipmap": False})
    assert ask(content, "classes.onnx", output="label") == classes.predict(ROWS[:50]).tolist()


#: Of each form what is said of every row, where it is not as it must be.
FAILING: dict[str, tuple[str, Callable[[], bytes], dict[str, Any], str]] = {
    "untrusted": ("m.skops", lambda: skops.dumps(FOREST), {}, f"name them under trusted: {TREE})"),
    "another type is trusted": (
        "m.skops", lambda: skops.dumps(FOREST), {"trusted": ("a.b",)}, f"name them under trusted: {TREE})",
    ),
    "a function in it": (
        "m.skops", lambda: skops.dumps(make_pipeline(FunctionTransformer(np.save), FOREST)), {"trusted": (TREE,)},
        "it holds types that nobody trusts: if you do, name them under trusted: ",
    ),
    "no values": (
        "m.skops", lambda: skops.dumps(StandardScaler().fit(ROWS)), {},
        "it has none of the methods decision_function, score_samples, predict",
    ),
    "no skops file": ("m.skops", lambda: b"forest", {}, "BadZipFile"),
    "digest of a skops file": ("m.skops", lambda: b"forest", {"digest": "ab"}, "another than its digest says"),
    "no ONNX file": ("m.onnx", lambda: b"forest", {}, "INVALID_PROTOBUF"),
    "several outputs": (
        "m.onnx", lambda: onnx_of(LogisticRegression().fit(ROWS, ROWS[:, 0] > 0), options={"zipmap": False}), {},
        "say under output which of label, probabilities is the value",
    ),
    "no such output": ("m.onnx", lambda: onnx_of(FOREST), {"output": "score"}, "which of label, scores is the value"),
    "several values a row": (
        "m.onnx", lambda: onnx_of(LogisticRegression().fit(ROWS, ROWS[:, 0] > 0), options={"zipmap": False}),
        {"output": "probabilities"}, "it gave 50 x 2 values for 50 rows",
    ),
    "other columns": (
        "m.onnx", lambda: onnx_of(IsolationForest(n_estimators=2).fit(ROWS[:, :1]), ROWS[:, :1]), {},
        "it was fitted to 1 columns; there are 2 of inputs and 1 of outputs",
    ),
    "texts": (
        "m.onnx",
        lambda: to_onnx(
            OneHotEncoder().fit([["a"]]), initial_types=[("text", StringTensorType([None, 1]))]
        ).SerializeToString(),
        {}, "it must have one input, a table of numbers; it has text tensor(string)",
    ),
    "an input a column": (
        "m.onnx",
        lambda: to_onnx(
            make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, ROWS[:, 0]),
            initial_types=[(name, FloatTensorType([None, 1])) for name in "abc"],
            target_opset={"": 15, "ai.onnx.ml": 3},
        ).SerializeToString(),
        {}, "it must have one input, a table of numbers; it has a tensor(float), b tensor(float), c tensor(float)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "more", "why"), FAILING.values(), ids=FAILING)
def test_a_model_that_cannot_be_scored_says_why(
    ask: Ask, name: str, content: Callable[[], bytes], more: dict[str, Any], why: str
) -> None:
    values = ask(content(), name, **more)
    assert len(values) == 50
    assert {*values} == {values[0]}
    assert why in str(values[0])


@pytest.mark.parametrize(
    ("name", "missing", "sentence"),
    [
        ("m.skops", "skops", "it needs skops beside the worker: pip install 'tally[monitors]'"),
        ("m.onnx", "onnxruntime", "it needs onnxruntime beside the worker: pip install 'tally[onnx]'"),
        ("m.bin", "joblib", "it needs joblib beside the worker: pip install 'tally[monitors]'"),
    ],
)
def test_a_library_that_is_not_there_is_said_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, missing: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_model(Code("model", str(tmp_path / name)))
