"""What a user keeps out of documents: keys and columns that never leave Kafka."""

from collections.abc import Collection
from typing import Any

from app.core.outputs.documents.places import Body
from app.core.payloads.forms import Table
from app.core.rules import Column


def redacted(body: Any, entries: tuple[str, ...]) -> Any:
    """A body of any kind without these; the body is changed."""
    if not entries:
        return body
    body = without(body, entries)
    messages = [body, *(body.get(name) for name in ("request", "response", "truth"))] if type(body) is dict else []
    for message in messages:
        blank(message, (), entries)
    return body


def without(body: Any, entries: tuple[str, ...]) -> Any:
    """A body without the keys of these names, wherever they stand, and without what these dotted paths lead to.

    The body is changed. Lists on the way of a path are gone through.
    """
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            for entry in entries:
                value.pop(entry, None)
            waiting += value.values()
        elif type(value) is list:
            waiting += [item for item in value if type(item) in (dict, list)]
    for entry in entries:
        *way, last = entry.split(".")
        found = [body]
        for step in way:
            found = [value[step] for value in _spread(found) if step in value]
        for value in _spread(found):
            value.pop(last, None)
    return body


def _spread(values: list[Any]) -> list[Body]:
    """The objects among values, and in lists among them."""
    found = []
    waiting = values[::-1]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            found.append(value)
        elif type(value) is list:
            waiting += value[::-1]
    return found


def _places(names: Collection[str], columns: tuple[Column, ...], entries: tuple[str, ...]) -> list[int]:
    """Which columns are meant: by their own names, or by those of the schema."""
    meant = [index for index, name in enumerate(names) if name in entries]
    index = 0
    for column in columns:
        for part in column.names:
            if column.name in entries or part in entries:
                meant.append(index)
            index += 1
    return meant


def blanked_table(table: Table, body: Any, columns: tuple[Column, ...], entries: tuple[str, ...]) -> Table | None:
    """A table with null in the place of what is left out; None where it is not known what that is."""
    places = _places(table.names or (), columns, entries)
    if any(tensor.get("name") in entries for tensor in _tensors(body)) and not places:
        return None  # a single tensor, whose columns have no names
    if not places:
        return table
    rows: list[Any] = []
    for row in table.rows:
        if type(row) is list:
            rows.append([None if index in places else cell for index, cell in enumerate(row)])
        else:
            rows.append(None)
    return table._replace(rows=rows, own_type=table.data_type)


def _tensors(body: Any) -> list[Body]:
    lists = [body.get(name) for name in ("inputs", "outputs")] if type(body) is dict else []
    return [tensor for value in lists if type(value) is list for tensor in value if type(tensor) is dict]


def blank(body: Any, columns: tuple[Column, ...], entries: tuple[str, ...]) -> None:
    """Take these columns out of a payload: null in rows, no data in tensors of their names."""
    if type(body) is not dict:
        return
    for tensor in _tensors(body):
        if tensor.get("name") in entries:
            for name in ("data", "contents"):
                tensor.pop(name, None)
            for name in ("raw_input_contents", "raw_output_contents", "rawInputContents", "rawOutputContents"):
                body.pop(name, None)
    data = body.get("data")
    names = data.get("names") if type(data) is dict else None
    places = _places(names if type(names) is list else (), columns, entries)
    if not places:
        return
    if type(data) is dict:
        for name in ("tensor", "tftensor"):  # flat: only with its shape it is known which value is whose
            data.pop(name, None)
        _blank_rows(data.get("ndarray"), places)
    for name in ("instances", "predictions"):
        _blank_rows(body.get(name), places)


def _blank_rows(rows: Any, places: list[int]) -> None:
    if type(rows) is not list:
        return
    for index, row in enumerate(rows):
        if type(row) is not list:
            rows[index] = None
            continue
        for place in places:
            if place < len(row):
                row[place] = None
