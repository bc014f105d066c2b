"""gRPC bodies say what the JSON bodies that mean the same say."""

import base64
import math
import struct
from decimal import Decimal
from typing import Any, Final

import orjson
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import example, given
from hypothesis import strategies as st
from open_inference.grpc import protocol  # as published: the encoder that the V2 messages are compared with

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.bodies import check_request, read_feedback, read_response
from app.core.payloads.decoding import body_of
from app.core.payloads.forms import table_of
from app.core.payloads.marks import class_text
from app.core.payloads.messages import message_class
from app.core.payloads.protobuf import decode, to_json

#: What seldon-core 1.17.1's `prediction_pb2` (protobuf 3.20.3) makes of the JSON beside it, and prints of it again.
SELDON: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "a list": (
        (
            "1a4f0a01610a01621a470a1832160a0911000000000000f03f0a091100000000000004400a0b32090a031a01780a0208000a1e321c0a02"
            "20010a162a140a120a016b120d320b0a09110000000000000840"
        ),
        {"data": {"names": ["a", "b"], "ndarray": [[1, 2.5], ["x", None], [True, {"k": [3]}]]}},
    ),
    "what the executor logged of a gRPC call": (
        "1a1c1a1a0a1832160a0911000000000000f03f0a09110000000000000040",
        {"data": {"ndarray": [[1, 2]]}},
    ),
    "a tensor": (
        "1a320a03743a300a03743a3112260a0202021220000000000000d03f000000000000e83f000000000000f03f0000000000000000",
        {"data": {"names": ["t:0", "t:1"], "tensor": {"shape": [2, 2], "values": [0.25, 0.75, 1, 0]}}},
    ),
    "a tftensor of raw bytes": (
        "1a1c221a0809120412020802221001000000000000000200000000000000",
        {
            "data": {
                "tftensor": {
                    "dtype": "DT_INT64",
                    "tensor_shape": {"dim": [{"size": "2"}]},
                    "tensor_content": "AQAAAAAAAAACAAAAAAAAAA==",
                }
            }
        },
    ),
    "a tftensor of values": (
        "1a1822160801120812020801120208022a080000803e0000403f",
        {
            "data": {
                "tftensor": {
                    "dtype": "DT_FLOAT",
                    "tensor_shape": {"dim": [{"size": "1"}, {"size": "2"}]},
                    "float_val": [0.25, 0.75],
                }
            }
        },
    ),
    "a text": ("2a086772c3b6c39f6572", {"strData": "größer"}),
    "bytes": ("2203313233", {"binData": "MTIz"}),
    "any JSON": (
        "322a2a280a260a04736f6d65121e321c0a071a0576616c75650a0911000000000000f03f0a0208000a022001",
        {"jsonData": {"some": ["value", 1, None, True]}},
    ),
    "a message of one's own": (
        "3a1d0a17747970652e676f6f676c65617069732e636f6d2f782e5912020801",
        {"customData": {"@type": "type.googleapis.com/x.Y", "value": "CAE="}},
    ),
    "an error": (
        "0a2608f40312086e6f206d6f64656c1a154d4943524f534552564943455f4241445f444154412001",
        {"status": {"code": 500, "info": "no model", "reason": "MICROSERVICE_BAD_DATA", "status": "FAILURE"}},
    ),
    "all of meta": (
        (
            "12600a027031120f0a07636f756e74727912041a026465120e0a016e120911000000000000f83f1a060a026162100122130a03636c6612"
            "0c7265706f2f636c663a312e342a080a01631d0000803f2a120a017410021dcdcccc3d22060a01781201791a0d1a0b0a09110000000000"
            "001040"
        ),
        {
            "meta": {
                "puid": "p1",
                "tags": {"country": "de", "n": 1.5},
                "routing": {"ab": 1},
                "requestPath": {"clf": "repo/clf:1.4"},
                "metrics": [
                    {"key": "c", "type": "COUNTER", "value": 1.0},
                    {"key": "t", "type": "TIMER", "value": 0.1, "tags": {"x": "y"}},
                ],
            },
            "data": {"ndarray": [4]},
        },
    ),
}
FEEDBACK: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "all of it": (
        (
            "0a1e1a1c1a1a0a1832160a0911000000000000f03f0a09110000000000000040121e1a1c1a1a0a1832160a0911000000000000d03f0a09"
            "11000000000000e83f1dcdcccc3d220f1a0d1a0b0a0911000000000000f03f"
        ),
        {
            "request": {"data": {"ndarray": [[1, 2]]}},
            "response": {"data": {"ndarray": [[0.25, 0.75]]}},
            "reward": 0.1,
            "truth": {"data": {"ndarray": [1]}},
        },
    ),
    "a label, and no reward or one of 0": (
        "220f1a0d1a0b0a0911000000000000f03f",
        {"truth": {"data": {"ndarray": [1]}}},
    ),
    "a reward of 0 for a route": ("120912071a050a01721001", {"response": {"meta": {"routing": {"r": 1}}}, "reward": 0}),
    "a reward of 0 beside a truth that is no label": (
        "220f120d120b0a047573657212031a0175",
        {"truth": {"meta": {"tags": {"user": "u"}}}, "reward": 0},
    ),
}
#: What tensorflow_serving.apis' `predict_pb2` makes (min-tfs-client 1.0.2, protobuf 3.20.3).
TENSORFLOW: Final[dict[str, tuple[Kind, str, dict[str, Any]]]] = {
    "raw bytes": (
        Kind.REQUEST,
        (
            "0a170a0468616c661a0f73657276696e675f64656661756c7412230a0178121e08011208120208021202080222100000803f0000004000"
            "00404000009040"
        ),
        {"model_name": "half", "inputs": {"x": [[1, 2], [3, 4.5]]}},
    ),
    "values and texts": (
        Kind.RESPONSE,
        (
            "0a1d0a07636c61737365731212080712041202080242036361744203646f670a280a0673636f726573121e080112081202080212020802"
            "2a100000803e0000403f0000003f0000003e120a0a0468616c661202087b"
        ),
        {
            "model_name": "half",
            "model_version": "123",
            "outputs": {"classes": ["cat", "dog"], "scores": [[0.25, 0.75], [0.5, 0.125]]},
        },
    ),
    "half precision": (
        Kind.RESPONSE,
        "0a160a0179121108131204120208036a0780788078808001",
        {"outputs": {"y": [1, 1, 2]}},
    ),
}
PACKED: Final = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


def why(value: bytes, kind: Kind = Kind.RESPONSE, protocol: str = "") -> Reason:
    with pytest.raises(RefusedError) as refused:
        to_json(value, kind, protocol)
    return refused.value.reason


def seldon(**fields: Any) -> Any:
    return message_class("seldon.protos.SeldonMessage")(**fields)


def a_response(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> Any:
    response = protocol.ModelInferResponse(model_name="m", model_version="3")
    output = response.outputs.add(name="x", datatype=datatype, shape=shape)
    if raw is not None:
        response.raw_output_contents.append(raw)
    for name, values in contents.items():
        getattr(output.contents, name).extend(values)
    return response


# -- Seldon -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SELDON)
@pytest.mark.parametrize("protocol", ["", "seldon", "v2", "tensorflow", "another"])
def test_a_seldon_message_is_its_json(name: str, protocol: str) -> None:
    value, body = SELDON[name]
    for kind in (Kind.REQUEST, Kind.RESPONSE):
        assert orjson.loads(to_json(bytes.fromhex(value), kind, protocol)) == body


@pytest.mark.parametrize("name", FEEDBACK)
@pytest.mark.parametrize("protocol", ["", "seldon", "v2"])
def test_a_feedback_is_its_json(name: str, protocol: str) -> None:
    value, body = FEEDBACK[name]
    assert orjson.loads(to_json(bytes.fromhex(value), Kind.FEEDBACK, protocol)) == body


def test_whole_numbers_have_no_fraction_as_in_the_executors_json() -> None:
    value = bytes.fromhex(SELDON["what the executor logged of a gRPC call"][0])
    assert to_json(value, Kind.REQUEST) == b'{"data":{"ndarray":[[1,2]]}}'


def digits(number: float) -> int:
    """How many significant digits its shortest text has."""
    return len(Decimal(repr(number)).normalize().as_tuple().digits)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(99999997952.0)  # as a 32-bit number 1e11
def test_a_reward_is_the_shortest_number_that_it_can_be(reward: float) -> None:
    feedback = message_class("seldon.protos.Feedback")(reward=reward, response=seldon(strData="x"))
    said = decode(feedback.SerializeToString(), Kind.FEEDBACK)["reward"]
    assert struct.pack("<f", said) == struct.pack("<f", reward)
    assert digits(said) <= digits(reward)


def test_numbers_that_are_not_finite_are_refused() -> None:
    message = seldon()
    message.data.tensor.shape.append(1)
    message.data.tensor.values.append(math.nan)
    assert why(message.SerializeToString()) == Reason.NOT_FINITE
    message.data.ndarray.values.add(number_value=math.inf)
    assert why(message.SerializeToString()) == Reason.NOT_FINITE
    message = seldon(strData="x")
    message.meta.tags["x"].number_value = math.nan
    assert why(message.SerializeToString()) == Reason.NOT_FINITE
    feedback = message_class("seldon.protos.Feedback")(reward=math.nan)
    assert why(feedback.SerializeToString(), Kind.FEEDBACK) == Reason.NOT_FINITE


# -- TensorFlow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TENSORFLOW)
@pytest.mark.parametrize("protocol", ["", "seldon", "tensorflow"])
def test_a_tensorflow_message_is_its_columns(name: str, protocol: str) -> None:
    kind, value, body = TENSORFLOW[name]
    assert orjson.loads(to_json(bytes.fromhex(value), kind, protocol)) == body


# -- V2 ---------------------------------------------------------------------------------------------------------------


def shape_of(descriptor: Descriptor) -> dict[str, tuple[int, int, bool]]:
    """The wire form of a message: of each field number, type and whether it is repeated."""
    return {field.name: (field.number, field.type, field.is_repeated) for field in descriptor.fields}


@pytest.mark.parametrize(
    "name", ["ModelInferRequest", "ModelInferResponse", "InferTensorContents", "InferParameter"]
)  # fmt: skip
def test_the_v2_messages_are_the_published_ones(name: str) -> None:
    published = getattr(protocol, name).DESCRIPTOR
    assert shape_of(message_class(f"inference.{name}").DESCRIPTOR) == shape_of(published)
    for part in published.nested_types:
        if part.name != "ParametersEntry":
            assert shape_of(message_class(f"inference.{part.name}").DESCRIPTOR) == shape_of(part)


@pytest.mark.parametrize("datatype", PACKED)
@given(data=st.data())
def test_raw_contents_of_every_datatype(datatype: str, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=16, max_size=16))
    width = struct.calcsize(PACKED[datatype])
    values = struct.unpack(f"<{16 // width}{PACKED[datatype]}", raw)
    response = a_response(datatype, [16 // width], raw).SerializeToString()
    if not all(math.isfinite(value) for value in values):
        assert why(response) == Reason.NOT_FINITE
        return
    assert table_of(decode(response, Kind.RESPONSE), "response").rows == list(values)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-1, 2]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.25, 0.5]),
        ("FP64", "fp64_contents", [0.1, 0.2]),
        ("BYTES", "bytes_contents", [b"cat", "größer".encode()]),
    ],
)
def test_contents_of_every_field(datatype: str, field: str, values: list[Any]) -> None:
    body = decode(a_response(datatype, [2], None, **{field: values}).SerializeToString(), Kind.RESPONSE)
    rows = table_of(body, "response").rows
    assert rows == [value.decode() if isinstance(value, bytes) else value for value in values]
    assert (body["model_name"], body["model_version"]) == ("m", "3")


def test_bytes_that_are_no_text_are_base64_and_texts_are_never_taken_for_it() -> None:
    value = a_response("BYTES", [2], bytes_contents=[b"\xff\x00", b"dGVzdA=="]).SerializeToString()
    rows = table_of(decode(value, Kind.RESPONSE), "response").rows
    assert rows == [base64.b64encode(b"\xff\x00").decode(), "dGVzdA=="]


def test_parameters_are_kept() -> None:
    request = protocol.ModelInferRequest(id="p1")
    request.parameters["content_type"].string_param = "pd"
    request.parameters["n"].int64_param = 3
    request.parameters["nothing"].SetInParent()
    tensor = request.inputs.add(name="a", datatype="INT64", shape=[1, 1])
    tensor.contents.int64_contents.append(4)
    tensor.parameters["deep"].bool_param = True
    assert decode(request.SerializeToString(), Kind.REQUEST) == {
        "id": "p1",
        "parameters": {"content_type": "pd", "n": 3, "nothing": None},
        "inputs": [{"name": "a", "datatype": "INT64", "shape": [1, 1], "data": [4], "parameters": {"deep": True}}],
    }


def test_a_tensor_without_a_models_name_is_no_text_of_seldons() -> None:
    """Core 2's pipelines log requests without `model_name`; what is left of them is a valid SeldonMessage of a text."""
    request = protocol.ModelInferRequest()
    request.inputs.add(name="INPUT0", datatype="INT32", shape=[1, 2]).contents.int_contents.extend([1, 2])
    value = request.SerializeToString()
    assert message_class("seldon.protos.SeldonMessage").FromString(value).strData
    for said in ("", "v2", "seldon", "tensorflow"):
        assert table_of(decode(value, Kind.REQUEST, said), "request").rows == [[1, 2]]


@pytest.mark.parametrize("index", [b"\0", b"\x02\x00", b"\x04\x81\x01\x02"])
def test_the_frame_of_a_schema_registry_is_taken_off(index: bytes) -> None:
    value = b"\0\0\0\0\x07" + index + a_response("FP32", [1], fp32_contents=[4]).SerializeToString()
    assert table_of(decode(value, Kind.RESPONSE, "core2"), "response").rows == [4]


# -- which message it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0",
        b"\0\0\0\0\0\0",
        b"text",
        b"BadRequest\n",
        b"\x89PNG\r\n",
        b"\x1a\x1c",
        b"\xff" * 9,
        b"{}",
        b"\x78\x01",
    ],
)
@pytest.mark.parametrize("protocol", ["", "seldon", "v2", "tensorflow"])
def test_other_bytes_are_no_message(value: bytes, protocol: str) -> None:
    for kind in Kind:
        assert why(value, kind, protocol) == Reason.BAD_PAYLOAD


def test_a_field_that_is_not_known_is_passed_over_only_where_the_protocol_is_said() -> None:
    newer = seldon(strData="cat").SerializeToString() + b"\x98\x06\x01"  # field 99
    assert why(newer) == Reason.BAD_PAYLOAD
    assert decode(newer, Kind.RESPONSE, "seldon") == {"strData": "cat"}


def test_a_v2_tensor_of_an_unknown_type_is_no_v2() -> None:
    assert why(a_response("FP7", [1], fp32_contents=[1]).SerializeToString()) == Reason.BAD_PAYLOAD


def test_raw_contents_of_another_length_are_refused() -> None:
    assert why(a_response("FP32", [1], b"\0\0\0").SerializeToString()) == Reason.RAGGED


@given(st.binary(max_size=60), st.sampled_from(list(Kind)), st.sampled_from(["", "seldon", "v2", "tensorflow", "x"]))
def test_any_bytes_are_json_or_a_refusal(value: bytes, kind: Kind, protocol: str) -> None:
    try:
        body = orjson.loads(to_json(value, kind, protocol))
    except RefusedError:
        return
    assert isinstance(body, dict)


@given(st.sampled_from([*SELDON.values(), *FEEDBACK.values()]), st.integers(0, 120), st.binary(max_size=3))
def test_broken_messages_are_events_or_refusals(recorded: tuple[str, Any], place: int, noise: bytes) -> None:
    value = bytes.fromhex(recorded[0])
    value = value[:place] + noise + value[place + len(noise) :]
    for read in (check_request, read_response, read_feedback):
        try:
            read(value)
        except RefusedError as refused:
            found = refused.reason
            assert found in Reason


# -- as events --------------------------------------------------------------------------------------------------------


def said(value: bytes) -> list[Any]:
    output = read_response(value)
    return [class_text(mark, output.names) if isinstance(mark, (int, str)) else mark for mark in output.marks]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("a tensor", ["1", "0"]),
        ("a tftensor of raw bytes", ["1", "2"]),
        ("a tftensor of values", ["1"]),
        ("a text", ["größer"]),
        ("bytes", []),
        ("any JSON", []),
        ("a message of one's own", []),
        ("an error", [None]),
        ("all of meta", ["4"]),
    ],
)
def test_a_response_is_read_where_it_is_protobuf(name: str, classes: list[Any]) -> None:
    assert said(bytes.fromhex(SELDON[name][0])) == classes


def test_a_request_is_read_where_it_is_protobuf() -> None:
    for value, _ in SELDON.values():
        if value != SELDON["an error"][0]:
            check_request(bytes.fromhex(value))


def test_a_feedback_is_read_where_it_is_protobuf() -> None:
    feedback = read_feedback(bytes.fromhex(FEEDBACK["all of it"][0]))
    assert (feedback.reward, feedback.labels, feedback.has_request) == (100_000_000, [1], True)
    assert feedback.output is not None
    label = read_feedback(bytes.fromhex(FEEDBACK["a label, and no reward or one of 0"][0]))
    assert (label.has_label, label.has_reward) == (True, False)


def test_a_v2_response_is_read_where_it_is_protobuf() -> None:
    value = a_response("FP32", [2, 2], fp32_contents=[0.1, 0.9, 0.8, 0.2]).SerializeToString()
    assert said(value) == ["1", "0"]
    assert read_response(value).version == "3"
    assert why(a_response("FP64", [2], fp64_contents=[1, math.nan]).SerializeToString()) == Reason.NOT_FINITE


def test_what_is_not_finite_among_the_features_of_protobuf_is_missing() -> None:
    seldon = [message_class("seldon.protos.SeldonMessage")() for _ in range(2)]
    seldon[0].data.tensor.shape.extend([1, 2])
    seldon[0].data.tensor.values.extend([math.nan, 1])
    seldon[1].data.ndarray.extend([[math.inf, 1]])
    v2 = message_class("inference.ModelInferRequest")(model_name="m")
    v2.inputs.add(name="x", datatype="FP64", shape=[1, 2]).contents.fp64_contents.extend([math.nan, 1])
    for message in (*seldon, v2):
        value = message.SerializeToString()
        check_request(value)
        assert table_of(body_of(value, Kind.REQUEST), "request").rows == [[None, 1]]
        if message is not v2:
            assert why(value) == Reason.NOT_FINITE
    carrying = message_class("seldon.protos.Feedback")(request=seldon[0], reward=1)
    carrying.response.data.ndarray.extend([1])
    assert read_feedback(carrying.SerializeToString()).has_request


def test_why_bytes_that_are_neither_cannot_be_read() -> None:
    for value, reason in (
        (b"\x89PNG", Reason.BAD_JSON),
        (b"[NaN", Reason.BAD_JSON),
        (a_response("FP32", [1], b"\0").SerializeToString(), Reason.RAGGED),
    ):
        with pytest.raises(RefusedError) as refused:
            body_of(value, Kind.RESPONSE)
        assert refused.value.reason == reason
