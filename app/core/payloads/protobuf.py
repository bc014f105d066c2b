"""gRPC bodies: protobuf becomes the JSON body that means the same.

Seldon's executor logs what a gRPC call carried as it is: `SeldonMessage` and `Feedback`, and for models of other
protocols `ModelInferRequest` and `ModelInferResponse`, or TensorFlow's `PredictRequest` and `PredictResponse`. Seldon
Core 2 writes the V2 messages to Kafka itself. Their definitions are in `app.core.payloads.messages`.
"""

from base64 import b64encode
from collections.abc import Callable
from math import isfinite
from struct import pack
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.json_format import SerializeToJsonError as NoJsonError
from google.protobuf.message import DecodeError

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.messages import message_class
from app.core.payloads.tensorflow import tftensor_rows
from app.core.payloads.tensors import DATATYPES, finite, text_of, unpacked

#: The V2 protocol by the names that headers give it.
_V2_NAMES: Final = frozenset({"v2", "kfserving", "kserve", "core2"})
#: Up to here floats hold every whole number.
_LARGEST_WHOLE: Final = 2.0**53

_Read = Callable[[Any, str], dict[str, Any] | None]


def to_json(value: bytes, kind: Kind, protocol: str = "") -> bytes:
    """The JSON body that means what a protobuf body does; see `decode`."""
    return orjson.dumps(decode(value, kind, protocol))


def decode(value: bytes, kind: Kind, protocol: str = "") -> dict[str, Any]:
    """What a protobuf body says, as its JSON would be read.

    A message must fit whole: nothing in it is unknown, and in V2 and TensorFlow all tensors have a known type. Only
    where none does, fields that are not known are passed over in that of `protocol`, which is what the event's headers
    say: "seldon", "v2", "kfserving", "core2", "tensorflow". A feedback is Seldon's at any protocol.
    """
    value = _unframed(value)
    readers = _readers(kind, protocol)
    for name, read, _ in readers:
        message = _parsed(name, value)
        if (
            message is not None
            and not _has_unknown_fields(message)
            and (body := _body(read, message, kind.value)) is not None
        ):
            return body
    for name, read, named in readers:
        message = _parsed(name, value) if named else None
        if message is not None and (body := _body(read, message, kind.value)) is not None:
            return body
    raise RefusedError(Reason.BAD_PAYLOAD, f"the value is no protobuf message of a {kind.value} that Tally reads")


def _readers(kind: Kind, protocol: str) -> list[tuple[str, _Read, bool]]:
    """The messages to try: (name, how it is read, whether the protocol says that it is this one).

    V2 comes before Seldon. Its tensors (field 5) can pass for Seldon's text (field 5), but no text for tensors.
    """
    if kind is Kind.FEEDBACK:
        return [("seldon.protos.Feedback", _feedback, protocol != "")]
    side = "Request" if kind is Kind.REQUEST else "Response"
    seldon: tuple[str, _Read, bool] = ("seldon.protos.SeldonMessage", _seldon, protocol == "seldon")
    tensorflow: tuple[str, _Read, bool] = (f"tensorflow.serving.Predict{side}", _tensorflow, protocol == "tensorflow")
    others = [tensorflow, seldon] if protocol == "tensorflow" else [seldon, tensorflow]
    return [(f"inference.ModelInfer{side}", _v2, protocol in _V2_NAMES), *others]


def _parsed(name: str, value: bytes) -> Any:
    """The message, or None where the bytes are none of its kind, or say nothing."""
    message = message_class(name)()
    try:
        message.ParseFromString(value)
    except DecodeError:
        return None
    return message if message.ListFields() else None


def _has_unknown_fields(message: Any) -> bool:
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return bool(message.ByteSize() != size)


def _body(read: _Read, message: Any, what: str) -> dict[str, Any] | None:
    try:
        return read(message, what)
    except NoJsonError as error:
        raise RefusedError(Reason.NOT_FINITE, f"the message cannot be JSON: {error}") from None


def _unframed(value: bytes) -> bytes:
    """The message without the frame of a schema registry's clients, where it has one.

    A 0, the schema's number in 4 bytes, and which message of the schema it is, as a count and as many varints:
    https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
    """
    if len(value) < 6 or value[0] != 0:  # no message begins with a 0
        return value
    place = 6
    for _ in range(value[5] >> 1):  # the count is in zigzag
        while place < len(value) and value[place] >= 0x80:
            place += 1
        place += 1
    return value[place:]


# -- Seldon -----------------------------------------------------------------------------------------------------------


def _seldon(message: Any, what: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for field in ("status", "meta"):
        if message.HasField(field):
            body[field] = MessageToDict(getattr(message, field), preserving_proto_field_name=True)
    for metric in body.get("meta", {}).get("metrics", ()):  # on the wire the first type and 0 are left out
        metric.setdefault("type", "COUNTER")
        metric.setdefault("value", 0.0)
    form = message.WhichOneof("choice")
    if form == "data":
        body[form] = _seldon_data(message.data, what)
    elif form == "binData":
        body[form] = b64encode(message.binData).decode()
    elif form == "strData":
        body[form] = message.strData
    elif form == "jsonData":
        body[form] = _json_value(message.jsonData, what)
    elif form == "customData":
        body[form] = {
            "@type": message.customData.type_url,
            "value": b64encode(message.customData.value).decode(),
        }
    return body


def _seldon_data(data: Any, what: str) -> dict[str, Any]:
    body: dict[str, Any] = {"names": list(data.names)} if data.names else {}
    form = data.WhichOneof("choice")
    if form == "tensor":
        values = finite(list(data.tensor.values), what)
        body[form] = {"shape": list(data.tensor.shape), "values": [_number(value) for value in values]}
    elif form == "ndarray":
        body[form] = [_json_value(value, what) for value in data.ndarray.values]
    elif form == "tftensor":
        body[form] = MessageToDict(data.tftensor, preserving_proto_field_name=True)
    return body


def _json_value(value: Any, what: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(finite([value.number_value], what)[0])
    if kind == "list_value":
        return [_json_value(item, what) for item in value.list_value.values]
    if kind == "struct_value":
        return {name: _json_value(item, what) for name, item in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)


def _number(value: float | None) -> float | None:
    """A number as JSON has it that was made from the same message by Go: whole numbers without a fraction."""
    return int(value) if value is not None and abs(value) <= _LARGEST_WHOLE and value.is_integer() else value


def _feedback(message: Any, _what: str) -> dict[str, Any]:
    """Protobuf has no absent number: a reward of 0 beside a label was most likely never given."""
    body: dict[str, Any] = {
        field: _seldon(getattr(message, field), field)
        for field in ("request", "response", "truth")
        if message.HasField(field)
    }
    labelled = message.truth.WhichOneof("choice") is not None
    if message.reward != 0 or not labelled:
        body["reward"] = _shortest(message.reward)
    return body


def _shortest(value: float) -> float:
    """The shortest number that a float of 32 bits stands for: 0.1, not 0.10000000149."""
    if not isfinite(value):
        raise RefusedError(Reason.NOT_FINITE, "the reward is NaN or an infinity")
    raw = pack("<f", value)
    return next(number for digits in (6, 7, 8, 9) if pack("<f", number := float(f"{value:.{digits}g}")) == raw)


# -- V2 and TensorFlow ------------------------------------------------------------------------------------------------


def _v2(message: Any, what: str) -> dict[str, Any] | None:
    request = message.DESCRIPTOR.name == "ModelInferRequest"
    tensors = message.inputs if request else message.outputs
    raw = message.raw_input_contents if request else message.raw_output_contents
    if not tensors or not all(tensor.datatype in DATATYPES for tensor in tensors):
        return None
    body = _texts_of(message, ("model_name", "model_version", "id"))
    body["inputs" if request else "outputs"] = [
        _v2_tensor(tensor, raw[index] if index < len(raw) else None, what) for index, tensor in enumerate(tensors)
    ]
    return body


def _v2_tensor(tensor: Any, raw: bytes | None, what: str) -> dict[str, Any]:
    body = _texts_of(tensor, ("name", "datatype"))
    body["shape"] = list(tensor.shape)
    if raw is not None:
        values = unpacked(raw, tensor.datatype, what)
    else:
        values = next((list(values) for _, values in tensor.contents.ListFields()), [])
    if tensor.datatype == "BYTES":
        values = [value if type(value) is str else text_of(value) for value in values]
        body.setdefault("parameters", {}).setdefault("content_type", "str")  # without it, it might be base64
    body["data"] = finite(values, what)
    return body


def _texts_of(message: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """The texts that are not empty, and the parameters if there are any."""
    body: dict[str, Any] = {field: text for field in fields if (text := getattr(message, field))}
    if message.parameters:
        body["parameters"] = {
            name: getattr(value, kind) if (kind := value.WhichOneof("choice")) else None
            for name, value in message.parameters.items()
        }
    return body


def _tensorflow(message: Any, what: str) -> dict[str, Any] | None:
    request = message.DESCRIPTOR.name == "PredictRequest"
    tensors = message.inputs if request else message.outputs
    if not tensors or not all(tensor.dtype for tensor in tensors.values()):
        return None
    body: dict[str, Any] = {
        "inputs" if request else "outputs": {
            name: tftensor_rows(MessageToDict(tensors[name], preserving_proto_field_name=True), what)
            for name in sorted(tensors)
        }
    }
    if message.model_spec.name:
        body["model_name"] = message.model_spec.name
    if message.model_spec.HasField("version"):
        body["model_version"] = str(message.model_spec.version.value)
    return body
