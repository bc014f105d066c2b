"""MLflow's data frames: {"dataframe_split": {"columns", "data"}}, {"dataframe_records": [{…}, …]}, and the old split.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#json-input

Its `instances` and `inputs` are TensorFlow's, as its answers are; before version 2 those were bare lists.
"""

from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.blanking import Redaction, blank_rows
from app.core.payloads.table import Form, Table, rows_table

_SPLIT: Final = "dataframe_split"
_RECORDS: Final = "dataframe_records"


def _claims(body: Any, _what: str) -> bool:
    return type(body) is dict and (_SPLIT in body or _RECORDS in body or _is_old(body))


def _is_old(body: dict[str, Any]) -> bool:
    """Whether a body is a split frame itself, as before version 2."""
    return "columns" in body and type(body.get("data")) is list


def _table(body: Any, what: str) -> Table:
    if _RECORDS in body:
        return rows_table(body[_RECORDS], None, what)
    frame = body if _is_old(body) else body[_SPLIT]
    if type(frame) is not dict or type(frame.get("data")) is not list:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s {_SPLIT} needs columns and data")
    return rows_table(frame["data"], frame.get("columns"), what)


def _blank(body: Any, redaction: Redaction) -> Any:
    if type(body) is not dict:
        return body
    if _RECORDS in body:
        body[_RECORDS] = blank_rows(body[_RECORDS], (), redaction.under(_RECORDS))
    frames = [(body[_SPLIT], redaction.under(_SPLIT))] if _SPLIT in body else []
    if _is_old(body):
        frames.append((body, redaction))
    for frame, own in frames:
        if type(frame) is dict and "data" in frame:
            columns = frame.get("columns")
            names = [name if type(name) is str else "" for name in columns] if type(columns) is list else []
            frame["data"] = blank_rows(frame["data"], names, own.under("data"))
        elif type(frame) is not dict:
            body[_SPLIT] = blank_rows(frame, (), own)
    return body


MLFLOW: Final = Form(
    "MLflow",
    frozenset({_SPLIT, _RECORDS, "columns"}),
    _claims,
    _table,
    _blank,
    (
        ("request", '{"dataframe_split": {"columns": ["age", "city"], "index": [0], "data": [[31, "Rome"]]}}'),
        ("request", '{"dataframe_records": [{"age": 31, "city": "Rome"}, {"age": 47, "city": "Oslo"}]}'),
    ),
)
