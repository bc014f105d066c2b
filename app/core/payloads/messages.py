"""The protobuf messages of the gRPC protocols, as published: their fields' names, numbers and types.

    seldon.protos        https://github.com/SeldonIO/seldon-core/blob/v1.17.1/proto/prediction.proto
    inference            https://github.com/open-inference/open-inference-protocol (open_inference_grpc.proto)
    tensorflow           https://github.com/tensorflow/tensorflow (core/framework: tensor, tensor_shape)
    tensorflow.serving   https://github.com/tensorflow/serving (apis: predict, model)

The packages that carry these definitions (seldon-core, tritonclient, tensorflow-serving-api) bring whole servers with
them, or need an older protobuf. So they are written down here, and the tests compare them with what such packages make.

Messages that are defined within others stand beside them, and what nobody reads is bytes: on the wire that is the same.
"""

from functools import cache
from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_Field = descriptor_pb2.FieldDescriptorProto

#: A field is "[oneof] [repeated] type name = number" or "map type name = number" for a map from string; all fields of a
#: message that say `oneof` exclude each other.
_MESSAGES: Final[dict[str, dict[str, str]]] = {
    "tensorflow": {
        "TensorProto": """
            DataType dtype = 1
            TensorShapeProto tensor_shape = 2
            int32 version_number = 3
            bytes tensor_content = 4
            repeated float float_val = 5
            repeated double double_val = 6
            repeated int32 int_val = 7
            repeated bytes string_val = 8
            repeated float scomplex_val = 9
            repeated int64 int64_val = 10
            repeated bool bool_val = 11
            repeated double dcomplex_val = 12
            repeated int32 half_val = 13
            repeated bytes resource_handle_val = 14
            repeated bytes variant_val = 15
            repeated uint32 uint32_val = 16
            repeated uint64 uint64_val = 17
            bytes float8_val = 18
        """,
        "TensorShapeProto": """
            repeated Dim dim = 2
            bool unknown_rank = 3
        """,
        "Dim": """
            int64 size = 1
            string name = 2
        """,
    },
    "tensorflow.serving": {
        "ModelSpec": """
            string name = 1
            oneof google.protobuf.Int64Value version = 2
            string signature_name = 3
            oneof string version_label = 4
        """,
        "PredictRequest": """
            ModelSpec model_spec = 1
            map tensorflow.TensorProto inputs = 2
            repeated string output_filter = 3
            bytes predict_streamed_options = 5
            bytes client_id = 6
            bytes request_options = 7
        """,
        "PredictResponse": """
            map tensorflow.TensorProto outputs = 1
            ModelSpec model_spec = 2
        """,
    },
    "seldon.protos": {
        "SeldonMessage": """
            Status status = 1
            Meta meta = 2
            oneof DefaultData data = 3
            oneof bytes binData = 4
            oneof string strData = 5
            oneof google.protobuf.Value jsonData = 6
            oneof google.protobuf.Any customData = 7
        """,
        "DefaultData": """
            repeated string names = 1
            oneof Tensor tensor = 2
            oneof google.protobuf.ListValue ndarray = 3
            oneof tensorflow.TensorProto tftensor = 4
        """,
        "Tensor": """
            repeated int32 shape = 1
            repeated double values = 2
        """,
        "Meta": """
            string puid = 1
            map google.protobuf.Value tags = 2
            map int32 routing = 3
            map string requestPath = 4
            repeated Metric metrics = 5
        """,
        "Metric": """
            string key = 1
            MetricType type = 2
            float value = 3
            map string tags = 4
        """,
        "Status": """
            int32 code = 1
            string info = 2
            string reason = 3
            StatusFlag status = 4
        """,
        "Feedback": """
            SeldonMessage request = 1
            SeldonMessage response = 2
            float reward = 3
            SeldonMessage truth = 4
        """,
    },
    "inference": {
        "ModelInferRequest": """
            string model_name = 1
            string model_version = 2
            string id = 3
            map InferParameter parameters = 4
            repeated InferInputTensor inputs = 5
            repeated InferRequestedOutputTensor outputs = 6
            repeated bytes raw_input_contents = 7
        """,
        "InferInputTensor": """
            string name = 1
            string datatype = 2
            repeated int64 shape = 3
            map InferParameter parameters = 4
            InferTensorContents contents = 5
        """,
        "InferRequestedOutputTensor": """
            string name = 1
            map InferParameter parameters = 2
        """,
        "ModelInferResponse": """
            string model_name = 1
            string model_version = 2
            string id = 3
            map InferParameter parameters = 4
            repeated InferOutputTensor outputs = 5
            repeated bytes raw_output_contents = 6
        """,
        "InferOutputTensor": """
            string name = 1
            string datatype = 2
            repeated int64 shape = 3
            map InferParameter parameters = 4
            InferTensorContents contents = 5
        """,
        "InferTensorContents": """
            repeated bool bool_contents = 1
            repeated int32 int_contents = 2
            repeated int64 int64_contents = 3
            repeated uint32 uint_contents = 4
            repeated uint64 uint64_contents = 5
            repeated float fp32_contents = 6
            repeated double fp64_contents = 7
            repeated bytes bytes_contents = 8
        """,
        "InferParameter": """
            oneof bool bool_param = 1
            oneof int64 int64_param = 2
            oneof string string_param = 3
            oneof double double_param = 4
            oneof uint64 uint64_param = 5
        """,
    },
}
#: The values of the enums, numbered from 0.
_ENUMS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "tensorflow": {
        "DataType": (
            "DT_INVALID", "DT_FLOAT", "DT_DOUBLE", "DT_INT32", "DT_UINT8", "DT_INT16", "DT_INT8", "DT_STRING",
            "DT_COMPLEX64", "DT_INT64", "DT_BOOL", "DT_QINT8", "DT_QUINT8", "DT_QINT32", "DT_BFLOAT16", "DT_QINT16",
            "DT_QUINT16", "DT_UINT16", "DT_COMPLEX128", "DT_HALF", "DT_RESOURCE", "DT_VARIANT", "DT_UINT32",
            "DT_UINT64",
        ),
    },
    "seldon.protos": {"StatusFlag": ("SUCCESS", "FAILURE"), "MetricType": ("COUNTER", "GAUGE", "TIMER")},
}  # fmt: skip
_BUILT_IN: Final = (any_pb2, struct_pb2, wrappers_pb2)


@cache
def message_class(name: str) -> Any:
    """The class of a message by its full name, such as "seldon.protos.Feedback"."""
    return GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> DescriptorPool:
    """A pool of our own: the process's may hold the same messages, of a client library."""
    pool = DescriptorPool()
    for module in _BUILT_IN:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    files = [module.DESCRIPTOR.name for module in _BUILT_IN]
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{package}.proto", package=package, syntax="proto3", dependency=files
        )
        for name, values in _ENUMS.get(package, {}).items():
            enum = file.enum_type.add(name=name)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for line in filter(None, map(str.strip, fields.splitlines())):
                _add_field(message, package, line)
        pool.AddSerializedFile(file.SerializeToString())
        files.append(file.name)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, package: str, line: str) -> None:
    declared, _, number = line.rpartition(" = ")
    *prefix, kind, name = declared.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if "oneof" in prefix:
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0
    if "repeated" in prefix:
        field.label = _Field.LABEL_REPEATED
    if "map" in prefix:
        entry = message.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        _add_field(entry, package, "string key = 1")
        _add_field(entry, package, f"{kind} value = 2")
        field.label = _Field.LABEL_REPEATED
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{message.name}.{entry.name}"
    elif scalar := getattr(_Field, f"TYPE_{kind.upper()}", None):
        field.type = scalar
    else:
        field.type = _Field.TYPE_ENUM if kind in _ENUMS.get(package, {}) else _Field.TYPE_MESSAGE
        field.type_name = f".{kind}" if "." in kind else f".{package}.{kind}"


def _entry_name(field: str) -> str:
    """The name that protobuf wants of the message which a map's entries are."""
    return "".join(word[:1].upper() + word[1:] for word in field.split("_")) + "Entry"
