"""What a document says of each part of an exchange: a message row by row, a feedback, a detector's word."""

import re
from typing import Any, Final

import msgspec
import orjson

from app.core.clock import format_time
from app.core.events import Kind, Reason, RefusedError
from app.core.outputs.documents.merging import micros
from app.core.outputs.documents.places import Body
from app.core.outputs.documents.records import Part
from app.core.outputs.documents.redaction import LEFTOVERS, redacted
from app.core.payloads.forms import table_of
from app.core.payloads.loosejson import plain, shallow
from app.core.payloads.table import Table
from app.core.rules import Column, Rules

#: Levels of nesting in a payload that are documented as such: Elasticsearch takes 300 in `elements`, orjson 254 in all,
#: and documents have some around it.
DEEPEST: Final = 200
#: So many bytes of one body may be copied to the documents of its rows; of a larger one only the first row has it.
MOST_COPIED: Final = 4 << 20
#: Of `elements`: characters of a name, of the names of a path together (with a value of 1,000 characters they are a
#: term, which has 32,766 bytes at most), and values in all.
_LONGEST_COLUMN: Final = 1000
_LONGEST_PATH: Final = 7000
_MOST_VALUES: Final = 10_000
#: A time that Elasticsearch's `strict_date_optional_time` reads as Python does.
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?")
#: What a name must be for Elasticsearch to read it as one field wherever it stands.
_FIELD: Final = re.compile(r"[A-Za-z0-9_@-]+")


def time_text(text: str) -> str:
    """A time as it came, or as Elasticsearch can read it."""
    return text if _TIME.fullmatch(text) else format_time(micros(text))


def stamps_of(part: Part) -> Body:
    """When a part was sent, and from where."""
    stamps = {"ce-time": time_text(part.time)}
    return stamps | {"ce-source": part.source} if part.source else stamps


def number_of(value: Any) -> Any:
    """A reward as a number: true is 1, and what is whole has no fraction."""
    if type(value) is float and value.is_integer():
        return int(value)
    return int(value) if type(value) is bool else value


def parsed(raw: msgspec.Raw) -> Any:
    """What a payload says, as Elasticsearch takes it: a number that no float holds, and what is nested too deep, is
    text.
    """
    payload: memoryview | bytes = memoryview(raw)
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        payload = plain(bytes(payload))
        try:
            body = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise RefusedError(Reason.DOCUMENT_REFUSED, f"a payload cannot be read: {error}") from None
    if len(payload) > 2 * DEEPEST and _is_deep(body):
        return orjson.loads(shallow(bytes(payload), DEEPEST))
    return body


def _is_deep(body: Any) -> bool:
    """Whether a body may be nested deeper than is allowed: orjson writes 254 levels."""
    for _ in range(254 - DEEPEST):
        body = [body]
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:
        return True
    return False


def message_rows(part: Part, rules: Rules, count: int) -> list[Body]:
    """The part of each row of a request or a response. `count` is the number of its rows where that is known."""
    body = parsed(part.payload)
    table, wrong = _table(body, part.kind)
    count = count or (len(table.rows) if table is not None else 1)
    columns = rules.prediction_schema.requests if part.kind == Kind.REQUEST.value else rules.prediction_schema.responses
    data_type = "" if table is None else table.data_type
    if rules.redact:
        body = redacted(body, part.kind, rules)
        table = _table(body, part.kind)[0]
    common = stamps_of(part)
    if type(body) is dict:
        for name in LEFTOVERS:
            if name in body:
                common[name] = body[name]
    wide = False
    if table is not None:
        wide = _is_wide(table)
        common["dataType"] = data_type
        if table.names is not None and not wide:
            common["names"] = list(table.names)
    elif "status" not in common:
        common.setdefault("error", wrong)
    whole = count * len(part.payload) <= MOST_COPIED
    rows = []
    for index in range(count):
        content: Body = {"payload": body} if whole or not index else {}
        if table is not None and len(table.rows) == count:
            row = table.rows[index]
            content["instance"] = row[0] if wide else row
            content["elements"] = _elements(table, index, columns)
        content.update(common)
        rows.append(content)
    return rows


def _table(body: Any, what: str) -> tuple[Table | None, str]:
    try:
        table = table_of(body, what)
    except RefusedError as refused:
        return None, refused.detail
    return (table, "") if table.rows else (None, f"the {what} has no rows")


def _is_wide(table: Table) -> bool:
    """Whether rows are made of whole tensors. The request logger keeps the first: here it is the `instance`, and
    `elements` are all, by their names.
    """
    return table.record and type(table.rows[0][0]) is list


def _elements(table: Table, index: int, columns: tuple[Column, ...]) -> Body | None:
    row = table.rows[index]
    cells = row if type(row) is list else [row]
    elements = (elements_of(cells, columns) if columns else None) or table.elements(index)
    return elements if elements is not None and _is_searchable(elements) else None


def elements_of(cells: list[Any], columns: tuple[Column, ...]) -> Body | None:
    """The values of a row by the columns of a prediction schema, None where they do not fit it."""
    if sum(len(column.parts) or 1 for column in columns) != len(cells):
        return None
    elements: Body = {}
    values = iter(cells)
    for name, parts, categories in columns:
        if parts:
            elements[name] = {part: next(values) for part in parts}
        else:
            value = next(values)
            elements[name] = dict(categories).get(_code(value), value) if categories else value
    return elements


def _code(value: Any) -> str:
    return str(int(value)) if type(value) is float and value.is_integer() else str(value)


def _is_searchable(elements: Body) -> bool:
    """Whether Elasticsearch takes these names as keys, and the values are not so many that nobody would search them."""
    waiting: list[tuple[Any, int]] = [(elements, 0)]
    values = 0
    for now, before in waiting:
        values += len(now)
        if values > _MOST_VALUES:
            return False
        inner, path = now, before
        if type(now) is dict:
            longest = len(max(now, key=len, default=""))
            path += longest + 1
            if "\0" in "".join(now) or longest > _LONGEST_COLUMN or path > _LONGEST_PATH:
                return False
            inner = now.values()
        waiting += [(value, path) for value in inner if type(value) is list or type(value) is dict]
    return True


def feedback_fields(body: Any) -> Body:
    """The body as it is, with the reward as a number. A field of a name that Elasticsearch would not read as one, or
    that is this document's own, is under `payload` with all the others.
    """
    if type(body) is not dict:
        return {"payload": body}
    fields = {
        name: value
        for name, value in body.items()
        if _FIELD.fullmatch(name) and not name.startswith(("ce-", "payload"))
    }
    if len(fields) < len(body):
        fields["payload"] = body
    if "reward" in fields:
        fields["reward"] = number_of(fields["reward"])
    return fields


def outlier_rows(body: Any) -> list[Body]:
    """What an outlier detector says of each row: its lists with one entry a row are split."""
    data = body.get("data") if type(body) is dict else None
    if type(data) is not dict or not _are_fields(body) or not _are_fields(data):
        return [{"payload": body}]
    outliers = data.get("is_outlier")
    count = len(outliers) if type(outliers) is list and outliers else 1
    rows = []
    for index in range(count):
        row = dict(data)
        for name in ("is_outlier", "instance_score", "feature_score"):
            value = data.get(name)
            if type(value) is list and len(value) == count and (value is outliers or outliers is not None):
                row[name] = value[index]
        if not all(_is_numeric(row.get(name)) for name in ("is_outlier", "instance_score")):
            return [{"payload": body}]
        if type(row.get("is_outlier")) is bool:
            row["is_outlier"] = int(row["is_outlier"])
        rows.append({**body, "data": row})
    return rows


def result_rows(body: Any) -> tuple[str, list[Body]]:
    """The name of a monitor, and what its result (`app.core.join.monitored`) says of each row."""
    if "failed" in body:
        row = {"outcome": "failed", "version": body["version"]}
        return body["monitor"], [row | ({"why": str(body["why"])} if "why" in body else {})] * body["failed"]
    why = body.get("why") or {}
    rows: list[Body] = []
    for index, (value, outcome) in enumerate(zip(body["values"], body["outcomes"], strict=True)):
        row = {"value": value, "outcome": outcome, "version": body["version"]}
        if str(index) in why:
            row["why"] = str(why[str(index)])
        rows.append({name: content for name, content in row.items() if content is not None})
    return body["monitor"], rows


def drift_content(body: Any, columns: tuple[Column, ...]) -> Body:
    """What a drift detector says: `drift_type` feature where it says it feature by feature, then by their names."""
    data = body.get("data") if type(body) is dict else None
    if type(data) is not dict or not _are_fields(body) or not _are_fields(data):
        return {"payload": body}
    data = dict(data)
    by_feature = False
    for name in ("distance", "p_val"):
        if type(data.get(name)) is list:
            by_feature = True
            data[f"feature_{name}"] = _by_feature(data.pop(name), columns)
    data["drift_type"] = "feature" if by_feature else "batch"
    if not all(_is_numeric(data.get(name)) for name in ("is_drift", "distance", "p_val", "threshold")):
        return {"payload": body}
    if type(data.get("is_drift")) in (int, float):
        data["is_drift"] = bool(data["is_drift"])
    return {**body, "data": data}


def _by_feature(values: list[Any], columns: tuple[Column, ...]) -> Any:
    for names in ([column.name for column in columns], [name for column in columns for name in column.names]):
        if names and len(names) == len(values):
            return dict(zip(names, values, strict=True))
    return values


def _are_fields(content: Body) -> bool:
    return all(_FIELD.fullmatch(name) and not name.startswith("ce-") for name in content)


def _is_numeric(value: Any) -> bool:
    """Whether a field of numbers takes a value."""
    if type(value) is list:
        return all(type(one) in (int, float, bool) for one in value)
    return value is None or type(value) in (int, float, bool)
