"""Model files that monitors run: scikit-learn's as joblib or skops wrote them, and ONNX.

Each gives a value a row, over the inputs, or inputs and outputs, by how many columns it was made for.
"""

import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.core.monitors import Code, model_form

#: Gives the values of rows; its width is how many columns it takes, None where it does not say.
Model = tuple[Callable[[Any], Any], int | None]

_LIBRARIES: Final = ("joblib", "onnxruntime", "skops", "sklearn")
#: Methods of a scikit-learn model that give a value a row, the first that it has.
_METHODS: Final = ("decision_function", "score_samples", "predict")
#: What the output of an ONNX model of an outlier detector is called that has its values.
_SCORES: Final = "scores"
#: The types of an ONNX input that numbers can be given as.
_TYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


def load_model(code: Code) -> Callable[[Any, Any], Any]:
    """The function of a model file. Raises ValueError where it is another file than is trusted, or gives no values, and
    what its library raises.
    """
    content = Path(code.place).read_bytes()
    if code.digest and sha256(content).hexdigest() != code.digest:
        raise ValueError("its file is another than its digest says")
    form = model_form(code.place)
    try:
        values, width = _LOADERS[form](content, code)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        extra = "onnx" if form == "onnx" else "monitors"
        raise ValueError(f"it needs {error.name} beside the worker: pip install 'tally[{extra}]'") from None

    def score(inputs: Any, outputs: Any) -> Any:
        if width in (None, inputs.shape[1]):
            return values(inputs)
        if width == inputs.shape[1] + outputs.shape[1]:
            return values(np.hstack([inputs, outputs]))
        raise ValueError(
            f"it was fitted to {width} columns; there are {inputs.shape[1]} of inputs and {outputs.shape[1]} of outputs"
        )

    return score


def _of_joblib(content: bytes, _code: Code) -> Model:
    import joblib

    return _of_sklearn(joblib.load(io.BytesIO(content)))


def _of_skops(content: bytes, code: Code) -> Model:
    from skops import io as skops

    unknown = [name for name in skops.get_untrusted_types(data=content) if name not in code.trusted]
    if unknown:
        raise ValueError(f"it holds types that nobody trusts: if you do, name them under trusted: {', '.join(unknown)}")
    return _of_sklearn(skops.loads(content, trusted=list(code.trusted)))


def _of_sklearn(model: Any) -> Model:
    method = next((getattr(model, name) for name in _METHODS if callable(getattr(model, name, None))), None)
    if method is None:
        raise ValueError(f"it has none of the methods {', '.join(_METHODS)}")
    return method, getattr(model, "n_features_in_", None)


def _of_onnx(content: bytes, code: Code) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
    kind = _TYPES.get(inputs[0].type) if len(inputs) == 1 and len(inputs[0].shape) == 2 else None
    if kind is None:
        said = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise ValueError(f"it must have one input, a table of numbers; it has {said}")
    output = code.output or (_SCORES if _SCORES in outputs else outputs[0])
    if output not in outputs or (len(outputs) > 1 and not code.output and output != _SCORES):
        raise ValueError(f"say under output which of {', '.join(outputs)} is the value")

    def values(rows: Any) -> Any:
        found = np.asarray(session.run([output], {inputs[0].name: rows.astype(kind)})[0])
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    width = inputs[0].shape[1]
    return values, width if isinstance(width, int) else None


_LOADERS: Final = {"joblib": _of_joblib, "skops": _of_skops, "onnx": _of_onnx}
