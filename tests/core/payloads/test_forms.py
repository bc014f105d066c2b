"""What rows a body has, whatever its form, and which of what it says is the prediction."""

import base64
import json
import math
import struct
from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason, RefusedError
from app.core.payloads.bodies import check_request, read_feedback, read_response
from app.core.payloads.forms import FORMS, carries, form_of, table_of
from app.core.payloads.predictions import NOTHING, predictions
from app.core.payloads.table import Table

#: V2's datatypes: how `struct` packs one, and what fits.
NUMBERS: Final[dict[str, tuple[str, st.SearchStrategy[Any]]]] = {
    "BOOL": ("?", st.booleans()),
    "UINT8": ("B", st.integers(0, 2**8 - 1)),
    "UINT16": ("H", st.integers(0, 2**16 - 1)),
    "UINT32": ("I", st.integers(0, 2**32 - 1)),
    "UINT64": ("Q", st.integers(0, 2**64 - 1)),
    "INT8": ("b", st.integers(-(2**7), 2**7 - 1)),
    "INT16": ("h", st.integers(-(2**15), 2**15 - 1)),
    "INT32": ("i", st.integers(-(2**31), 2**31 - 1)),
    "INT64": ("q", st.integers(-(2**63), 2**63 - 1)),
    "FP16": ("e", st.floats(width=16, allow_nan=False, allow_infinity=False)),
    "FP32": ("f", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "FP64": ("d", st.floats(allow_nan=False, allow_infinity=False)),
}


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def tensor(data: Any, datatype: str = "FP32", shape: list[int] | None = None, name: str = "x", **more: Any) -> Any:
    length = len(data) if isinstance(data, list) else 1
    return {"name": name, "datatype": datatype, "shape": [length] if shape is None else shape, "data": data, **more}


def answer(*tensors: Any, content_type: str = "") -> Any:
    return {"outputs": list(tensors)} | ({"parameters": {"content_type": content_type}} if content_type else {})


def rows(body: Any, what: str = "response") -> list[Any]:
    return table_of(body, what).rows


def outcome(read: Callable[[Any], Any], value: Any) -> Reason | None:
    """Why a value is refused, None where it is not; whatever else is raised would end the worker."""
    try:
        read(value)
    except RefusedError as refused:
        return refused.reason
    return None


def why(body: Any, what: str = "response") -> Reason:
    with pytest.raises(RefusedError) as refused:
        table_of(body, what)
    return refused.value.reason


# -- the same rows in every form --------------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    width = draw(st.integers(1, 4))
    cells = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=4))


@given(matrices())
def test_the_rows_of_a_tensor_are_those_of_a_list_in_every_form(matrix: list[list[float]]) -> None:
    shape = [len(matrix), len(matrix[0])]
    values = [value for row in matrix for value in row]
    raw = b64(struct.pack(f"<{len(values)}f", *values))
    snake = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": size} for size in shape]}}
    camel = {"dtype": 1, "tensorShape": {"dim": [{"size": str(size)} for size in shape]}}
    bare = {"name": "x", "datatype": "FP32", "shape": shape}
    for body in (
        {"data": {"ndarray": matrix}},
        {"data": {"tensor": {"shape": shape, "values": values}}},
        {"data": {"tftensor": snake | {"float_val": values}}},
        {"data": {"tftensor": camel | {"floatVal": values}}},
        {"data": {"tftensor": snake | {"tensor_content": raw}}},
        {"data": {"tftensor": camel | {"tensorContent": raw}}},
        {"predictions": matrix},
        {"instances": matrix},
        {"outputs": matrix},
        {"outputs": {"only": matrix}},
        answer(tensor(values, shape=shape)),
        answer(tensor(matrix, shape=shape)),
        answer({**bare, "contents": {"fp32_contents": values}}),
        answer({**bare, "contents": {"fp32Contents": values}}),
        answer(bare) | {"raw_output_contents": [raw]},
        answer(bare) | {"rawOutputContents": [raw]},
    ):
        assert rows(body) == matrix, body
        assert table_of(body, "response").data_type == ("tabular" if shape[1] > 1 else "number"), body


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_raw_contents_of_every_datatype(datatype: str, data: st.DataObject) -> None:
    letter, fits = NUMBERS[datatype]
    values = data.draw(st.lists(fits, min_size=1, max_size=6))
    raw = struct.pack(f"<{len(values)}{letter}", *values)
    body = {"inputs": [{"name": "x", "datatype": datatype, "shape": [len(values)]}], "raw_input_contents": [b64(raw)]}
    found = rows(body, "request")
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_raw_bfloat16_is_the_upper_half_of_a_float(values: list[float]) -> None:
    halves = [struct.pack("<f", value)[2:] for value in values]
    body = answer({"name": "x", "datatype": "BF16", "shape": [len(values)]}) | {
        "raw_output_contents": [b64(b"".join(halves))]
    }
    assert rows(body) == [struct.unpack("<f", b"\0\0" + half)[0] for half in halves]


@given(st.lists(st.binary(max_size=5) | st.text(max_size=5).map(str.encode), min_size=1, max_size=5))
def test_raw_bytes_are_texts_where_they_can_be_and_base64_elsewhere(elements: list[bytes]) -> None:
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    body = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [len(elements)]}], "raw_input_contents": [b64(raw)]}
    for row, element in zip(rows(body, "request"), elements, strict=True):
        try:
            assert row == element.decode()
        except UnicodeDecodeError:
            assert row == b64(element)


@pytest.mark.parametrize(
    ("dtype", "fields", "values"),
    [
        ("DT_DOUBLE", {"doubleVal": [0.25]}, [0.25]),
        ("DT_INT32", {"intVal": [-1]}, [-1]),
        ("DT_INT64", {"int64Val": ["-9007199254740993"]}, [-9007199254740993]),
        ("DT_UINT64", {"uint64_val": [str(2**64 - 1)]}, [2**64 - 1]),
        ("DT_BOOL", {"bool_val": [True]}, [True]),
        ("DT_STRING", {"stringVal": [b64("größer".encode())]}, ["größer"]),
        ("DT_STRING", {"stringVal": [b64(b"\xff")]}, [b64(b"\xff")]),
        ("DT_HALF", {"halfVal": [0x3C00]}, [1.0]),
        ("DT_BFLOAT16", {"halfVal": [0x3F80]}, [1.0]),
        ("DT_UINT8", {"tensorContent": b64(b"\xff")}, [255]),
        (19, {"tensor_content": b64(struct.pack("<e", 1.5))}, [1.5]),
        ("DT_FLOAT", {}, [0]),
        ("DT_STRING", {}, [""]),
    ],
)
def test_the_values_of_a_tftensor(dtype: Any, fields: Any, values: list[Any]) -> None:
    body = {"data": {"tftensor": {"dtype": dtype, "tensorShape": {"dim": [{"size": "1"}]}, **fields}}}
    assert rows(body) == values


def test_the_last_value_of_a_tftensor_stands_for_all_that_are_missing() -> None:
    shape = {"dim": [{"size": 2}, {"size": 2}]}
    assert rows({"data": {"tftensor": {"dtype": 1, "tensor_shape": shape, "float_val": [1, 2]}}}) == [[1, 2], [2, 2]]


# -- V2: several tensors, frames, texts -------------------------------------------------------------------------------


def test_the_tensors_of_a_request_are_the_columns_of_its_rows() -> None:
    ages, names = tensor([31, None], "FP64", [2, 1], "age"), tensor(["A", "B"], "BYTES", name="name")
    table = table_of({"inputs": [ages, names]}, "request")
    assert (table.rows, table.names, table.data_type) == ([[31, "A"], [None, "B"]], ("age", "name"), "tabular")
    assert table.elements(1) == {"age": None, "name": "B"}


def test_columns_that_are_wide_stay_lists_in_the_rows() -> None:
    table = table_of({"inputs": [tensor([1, 2, 3, 4], shape=[2, 2], name="a"), tensor([5, 6], name="b")]}, "request")
    assert table.rows == [[[1, 2], 5], [[3, 4], 6]]
    assert table.elements(0) == {"a": [1, 2], "b": 5}


def test_a_tensor_of_one_row_is_meant_for_all_rows() -> None:
    table = table_of({"inputs": [tensor([1, 2], name="x"), tensor([0.7], name="temperature")]}, "request")
    assert table.rows == [[1, 0.7], [2, 0.7]]


def test_tensors_whose_rows_do_not_pair_are_one_row() -> None:
    table = table_of({"inputs": [tensor([1, 2], name="x"), tensor([1, 2, 3], name="y")]}, "request")
    assert table.rows == [[[1, 2], [1, 2, 3]]]


def test_what_is_said_once_is_not_repeated_without_bound() -> None:
    columns = {str(number): 0 for number in range(10_000)}
    assert len(rows({"inputs": {**columns, "x": [0] * 10_000}}, "request")) == 1
    huge = {"dtype": 1, "tensor_shape": {"dim": [{"size": 10**12}]}, "float_val": [0]}
    assert why({"data": {"tftensor": huge}}) == Reason.RAGGED


def test_a_frame_of_one_column_has_rows_of_one_column() -> None:
    table = table_of(answer(tensor([1, 2], name="a"), content_type="pd"), "response")
    assert (table.rows, table.names) == ([[1], [2]], ("a",))


def test_a_single_tensor_names_its_column_only_where_it_is_one() -> None:
    assert table_of(answer(tensor([4], name="predict")), "response").elements(0) == {"predict": 4}
    assert table_of(answer(tensor([1, 2], shape=[1, 2])), "response").names is None


@pytest.mark.parametrize(
    ("data", "content_type", "found"),
    [
        (["cat", "Wild"], "", ["cat", "Wild"]),  # "Wild" is base64 of "Z)]"
        (["dGVzdA==", "Wild"], "", ["test", "Z)]"]),
        (["dGVzdA==", "cat"], "", ["dGVzdA==", "cat"]),
        (["dGVzdA=="], "str", ["dGVzdA=="]),
        (["Wild"], "base64", ["Z)]"]),
        (["/w=="], "base64", ["/w=="]),
        (["[1]", '{"a": 2}', "cat", None], "pd_json", [[1], {"a": 2}, "cat", None]),
        ([None], "", [None]),
        ([4], "", [4]),
        ("hello", "", ["hello"]),
    ],
)
def test_the_texts_of_an_answer(data: Any, content_type: str, found: list[Any]) -> None:
    assert rows(answer(tensor(data, "BYTES", parameters={"content_type": content_type}))) == found


def test_texts_of_a_request_are_never_base64_unless_it_says_so() -> None:
    assert rows({"inputs": [tensor(["dGVzdA=="], "BYTES")]}, "request") == ["dGVzdA=="]


def test_texts_that_do_not_fill_their_shape_are_kept_and_it_is_said() -> None:
    table = table_of({"inputs": [tensor(["test"], "BYTES", [1, 10])]}, "request")
    assert (table.rows, table.fits) == (["test"], False)
    assert table_of({"inputs": [tensor(["test"], "BYTES", [1, 1])]}, "request") == Table(["test"], ("x",))


def test_in_a_request_what_is_not_finite_is_null_as_in_the_json_of_v2() -> None:
    raw = b64(struct.pack("<3f", math.nan, 1, math.inf))
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3]}], "raw_input_contents": [raw]}
    assert rows(body, "request") == [None, 1, None]
    body = {"inputs": [{"datatype": "FP32", "shape": [1], "contents": {"fp32Contents": ["NaN"]}}]}
    assert rows(body, "request") == [None]
    tensor_proto = {"dtype": 1, "float_val": ["NaN", 2], "tensor_shape": {"dim": [{"size": 2}]}}
    assert rows({"data": {"tftensor": tensor_proto}}, "request") == [None, 2]


def test_a_request_may_say_which_outputs_it_wants() -> None:
    body = {"inputs": [tensor([1])], "outputs": [{"name": "predict"}]}
    assert rows(body, "request") == [1]
    assert rows(body | {"outputs": []}, "response") == [1]


# -- names, types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "data_type"),
    [
        ({"data": {"ndarray": [1.0]}}, "number"),
        ({"data": {"ndarray": [True]}}, "number"),
        ({"data": {"ndarray": ["text"]}}, "text"),
        ({"data": {"ndarray": [[None], ["text"]]}}, "text"),
        ({"data": {"ndarray": [[5], [6]]}}, "number"),
        ({"data": {"ndarray": [[1, 2]]}}, "tabular"),
        ({"data": {"ndarray": [["x", 1]]}}, "tabular"),
        ({"data": {"ndarray": [[[1]]]}}, "tabular"),
        ({"data": {"ndarray": [[[[1]]]]}}, "image"),
        ({"data": {"ndarray": [{"a": 1}]}}, "json"),
        ({"strData": "text"}, "text"),
        ({"binData": "MTIz"}, "image"),
        ({"jsonData": "text"}, "json"),
        ({"instances": [{"a": 1}]}, "json"),
        ({"inputs": {"a": [1], "b": [2]}}, "tabular"),
        ({"inputs": {"picture": [[[[1]]]], "id": [2]}}, "image"),
    ],
)
def test_the_type_of_the_rows_in_the_request_loggers_words(body: Any, data_type: str) -> None:
    assert table_of(body, "request").data_type == data_type


@pytest.mark.parametrize(
    ("data", "names", "elements"),
    [
        ({"ndarray": [[1, 2]], "names": ["a", "b"]}, ("a", "b"), {"a": 1, "b": 2}),
        ({"ndarray": [1.5], "names": ["a"]}, ("a",), {"a": 1.5}),
        ({"ndarray": [[1, "x"]], "names": ["a", "b"]}, ("a", "b"), {"a": 1, "b": "x"}),
        ({"ndarray": [[1]], "names": ["a", "b"]}, ("a", "b"), None),
        ({"ndarray": [[1, 2]]}, None, None),
        ({"ndarray": [[1, 2]], "names": []}, None, None),
        ({"ndarray": [[1, 2]], "names": "ab"}, None, None),
        ({"ndarray": [[1, 2]], "names": [1, 2]}, None, None),
    ],
)
def test_the_values_of_a_row_by_column(data: Any, names: Any, elements: Any) -> None:
    table = table_of({"data": data}, "request")
    assert (table.names, table.elements(0)) == (names, elements)


def test_numbers_keep_their_types() -> None:
    found = rows({"data": {"ndarray": [[1, 1.0, True, "1"]]}})[0]
    assert list(map(type, found)) == [int, float, bool, str]


# -- what says the class ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["scores", "predict"], "predict"),
        (["predict_proba", "predict"], "predict"),
        (["output_probability", "output_label"], "output_label"),
        (["label", "prediction"], "prediction"),
        (["class_ids", "classes"], "classes"),
        (["all_classes", "class_ids", "probabilities"], "class_ids"),
        (["x", "OUTPUT0", "OUTPUT1"], "OUTPUT0"),
        (["x", "softmax"], None),
        (["a", "b"], None),
        (["", ""], None),
    ],
)
def test_which_of_several_tensors_is_the_prediction(names: list[str], found: str | None) -> None:
    body = answer(*(tensor([number], name=name) for number, name in enumerate(names)))
    assert predictions(table_of(body, "response")).values == ([] if found is None else [names.index(found)])


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"prediction": 4, "took": 7}, [4]),
        ({"probabilities": [0.1, 0.9]}, [[0.1, 0.9]]),
        ({"classes": ["cat", "dog"], "scores": [0.1, 0.9]}, ["dog"]),
        ({"classes": ["2"], "probabilities": [0.1, 0.2, 0.7]}, [["2"]]),
        ({"classes": ["cat", "dog"], "scores": ["high", "low"]}, []),
        ({"took": 7}, []),
        ({"only": 7}, []),
        ({"label": {"is": "nested"}}, []),
        ({"label": None}, [None]),
        ({}, []),
    ],
)
def test_which_entry_of_an_object_is_the_prediction(row: Any, found: list[Any]) -> None:
    assert predictions(table_of({"predictions": [row]}, "response")).values == found
    assert predictions(table_of({"jsonData": row}, "response")).values == found


def test_a_row_whose_object_says_nothing_has_no_prediction() -> None:
    assert predictions(table_of({"predictions": [{"label": 1}, {}]}, "response")).values == [1, NOTHING]
    assert read_response(b'{"predictions": [{"label": 1}, {}]}').marks == [1, None]
    assert read_response(b'{"predictions": [{}, {"probabilities": [0.1, 0.9]}]}').marks == [None, -2]


def test_of_several_tensors_the_text_with_the_highest_score_is_the_prediction() -> None:
    body = answer(
        tensor(["cat", "dog"], "BYTES", [1, 2], name="classes"), tensor([0.1, 0.9], shape=[1, 2], name="scores")
    )
    assert predictions(table_of(body, "response")).values == ["dog"]


@pytest.mark.parametrize(
    ("body", "there"),
    [
        ({}, False),
        ({"meta": {}}, False),
        ({"status": {}}, False),
        ({"error": "x"}, False),
        ({"data": None}, True),
        ({"jsonData": None}, True),
        ({"outputs": []}, True),
        (0, True),
    ],
)
def test_whether_a_body_has_a_payload(body: Any, there: bool) -> None:
    assert carries(body) is there


# -- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, Reason.BAD_PAYLOAD),
        ({"data": {}}, Reason.BAD_PAYLOAD),
        ({"predictions": None}, Reason.BAD_PAYLOAD),
        ({"data": {"ndarray": []}}, Reason.EMPTY),
        ({"instances": []}, Reason.EMPTY),
        ({"outputs": {}}, Reason.EMPTY),
        ({"outputs": {"a": []}}, Reason.EMPTY),
        (answer(), Reason.EMPTY),
        (answer(tensor([], shape=[0, 3])), Reason.EMPTY),
        (answer(tensor([1], shape=[2])), Reason.RAGGED),
        (answer(tensor([1], shape=[-1])), Reason.BAD_PAYLOAD),
        (answer(tensor([1], shape=[1] * 33)), Reason.BAD_PAYLOAD),
        (answer({"name": "x", "datatype": "FP32", "shape": [1]}), Reason.BAD_PAYLOAD),
        (answer({"datatype": "FP32", "shape": [1]}) | {"raw_output_contents": ["?"]}, Reason.BAD_PAYLOAD),
        (answer({"datatype": "FP32", "shape": [1]}) | {"raw_output_contents": ["AAA="]}, Reason.RAGGED),
        (answer({"datatype": "BYTES", "shape": [1]}) | {"raw_output_contents": ["/////w=="]}, Reason.RAGGED),
        (answer({"datatype": "BYTES", "shape": [1]}) | {"raw_output_contents": ["AAA="]}, Reason.RAGGED),
        (answer({"datatype": "FP7", "shape": [1]}) | {"raw_output_contents": ["AAA="]}, Reason.BAD_PAYLOAD),
        (answer({"datatype": "FP32", "shape": [1]}) | {"raw_output_contents": ["AACAfw=="]}, Reason.NOT_FINITE),
        (answer({"datatype": "FP32", "shape": [1], "contents": {"f": ["-Infinity"]}}), Reason.NOT_FINITE),
        ({"data": {"tftensor": 1}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": "DT_RESOURCE"}}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": [1]}}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": 1, "tensor_shape": {"dim": 1}}}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": 1, "tensor_shape": {"dim": [1]}}}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": 1, "float_val": [1, 2]}}}, Reason.RAGGED),
        ({"data": {"tftensor": {"dtype": 1, "float_val": ["a"]}}}, Reason.BAD_PAYLOAD),
        ({"data": {"tftensor": {"dtype": 1, "float_val": ["NaN"]}}}, Reason.NOT_FINITE),
        ({"data": {"tftensor": {"dtype": 1, "tensorContent": "AADAfw=="}}}, Reason.NOT_FINITE),
        ({"data": {"tftensor": {"dtype": 19, "half_val": [70000]}}}, Reason.BAD_PAYLOAD),
    ],
)
def test_why_a_body_has_no_rows(body: Any, reason: Reason) -> None:
    assert why(body) == reason


# -- nothing raises ---------------------------------------------------------------------------------------------------

KEYS: Final = (
    "data", "names", "ndarray", "tensor", "tftensor", "shape", "values", "strData", "jsonData", "binData",
    "customData", "instances", "predictions", "inputs", "outputs", "name", "datatype", "contents", "parameters",
    "content_type", "raw_input_contents", "raw_output_contents", "rawInputContents", "fp32_contents",
    "bytes_contents", "dtype", "tensor_shape", "tensorShape", "dim", "size", "float_val", "half_val", "string_val",
    "tensor_content", "status", "code", "error", "meta", "requestPath", "model_version", "truth", "response",
    "request", "reward", "classes", "scores", "label", "score", "dataframe_split", "dataframe_records", "columns",
    "examples", "results", "result", "prob_a", "prob_b", "Probability_a", "displayNames", "confidences", "box", "0",
    "1", "prediction", "id",
)  # fmt: skip
WORDS: Final = (
    "",
    "x",
    "pd",
    "str",
    "base64",
    "pd_json",
    "BYTES",
    "FP32",
    "AAAA",
    "NaN",
    "FAILURE",
    "1",
    "9" * 20,
    "é",
    "a",
    "hg_jsonlist",
    '{"label": "a", "score": 0.5}',
    "0.5:1:a",
    "0.25:0",
    "Oslo is the capital of Norway, and has been.",
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 25)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)
v2ish = st.fixed_dictionaries(
    {"datatype": st.sampled_from(["BYTES", "FP32", "BF16", "INT64"]), "shape": st.lists(st.integers(0, 3), max_size=3)},
    optional={"name": leaves, "data": anything, "contents": anything, "parameters": anything},
)
pairs = st.tuples(leaves, leaves).map(list)
items = st.fixed_dictionaries({"label": leaves, "score": leaves}, optional={"box": leaves})
rankings = st.lists(pairs | items, max_size=3)
bodies = (
    st.dictionaries(st.sampled_from(["predictions", "results", "jsonData", "instances"]), rankings | st.lists(rankings))
    | st.dictionaries(st.sampled_from(KEYS), anything, max_size=4)
    | st.fixed_dictionaries({"outputs": st.lists(v2ish, max_size=3)}, optional={"raw_output_contents": anything})
    | st.builds(lambda tensor: {"data": {"tftensor": tensor}}, st.dictionaries(st.sampled_from(KEYS), anything))
)


@given(bodies)
def test_any_json_is_rows_or_a_refusal(body: Any) -> None:
    before = json.dumps(body)
    for what in ("request", "response", "truth"):
        try:
            table = table_of(body, what)
        except RefusedError:
            continue
        form = form_of(body, what)
        assert form is not None
        assert form in FORMS
        assert table.rows
        assert table.data_type in ("tabular", "number", "text", "image", "json")
        assert orjson.loads(orjson.dumps(table.rows)) == json.loads(json.dumps(table.rows))
        assert outcome(predictions, table) in (None, Reason.NOT_FINITE)
        for index in range(len(table.rows)):
            elements = table.elements(index)
            assert elements is None or elements.keys() == set(table.names or ())
    assert json.dumps(body) == before


@given(bodies | anything)
def test_any_json_is_an_event_or_a_refusal(body: Any) -> None:
    value = json.dumps(body).encode()
    carried = json.dumps({"truth": body, "response": body, "request": body, "reward": 1}).encode()
    for read, given_value in (
        (check_request, value),
        (read_response, value),
        (read_feedback, value),
        (read_feedback, carried),
    ):
        assert outcome(read, given_value) in (None, *Reason)


@pytest.mark.parametrize("depth", [100, 900, 1015])
@pytest.mark.parametrize(
    "body",
    [
        b'{"predictions": %s}',
        b'{"predictions": [{"label": %s}]}',
        b'{"jsonData": %s}',
        b'{"inputs": {"a": %s, "b": %s}}',
        b'{"outputs": [{"datatype": "FP32", "shape": [1], "data": %s}]}',
        b'{"outputs": [{"datatype": "BYTES", "data": %s}]}',
        b'{"outputs": [{"datatype": "FP32", "shape": %s, "data": [1]}]}',
        b'{"data": {"tftensor": {"dtype": 1, "float_val": %s}}}',
    ],
)
def test_deep_bodies_never_raise(body: bytes, depth: int) -> None:
    value = body.replace(b"%s", b"[" * depth + b"]" * depth)
    for read in (check_request, read_response, read_feedback):
        assert outcome(read, value) in (None, *Reason)


def test_a_long_tail_behind_a_deep_list_takes_no_time() -> None:
    value = b'{"outputs": [{"datatype": "FP32", "shape": [1], "data": [%s%s]}]}' % (
        b"[" * 900 + b"]" * 900,
        b",1" * 300_000,
    )
    assert outcome(read_response, value) == Reason.RAGGED
