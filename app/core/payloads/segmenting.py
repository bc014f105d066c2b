"""What a request or an answer says of the segments of its model: raw values, of the whole and by row.

    tags       `meta.tags` of Seldon's form
    payload    a dotted path from the body's root
    route      `meta.routing` of the answer: the branch of each router, like `router:1`
    features   a column of the request's rows: by the names of its columns, its tensors, or the keys of its rows

Only what is named is decoded: the common form, a JSON object, by structs made for the segments of a model. All other
bodies are decoded whole.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from app.core.events import Kind, RefusedError
from app.core.payloads.decoding import body_of
from app.core.payloads.forms import table_of
from app.core.payloads.table import Table
from app.core.segments import FEATURES, PAYLOAD, ROUTE, TAGS, Segment

_NAMES: Final = ("data", "names")
_ROWS: Final = ("data", "ndarray")
_Path = tuple[str, ...]


#: Raw values: of each segment that of the whole, None where nothing is said; and those of single rows, each with the
#: place of its segment.
Said = tuple[list[Any], Sequence[tuple[int, list[Any]]]]


def _path_of(segment: Segment, kind: Kind) -> _Path | None:
    """Where a body of a kind has the value of a segment, None where it has none in one place."""
    if segment.source == TAGS:
        return ("meta", "tags", segment.field)
    if segment.source == PAYLOAD:
        return tuple(segment.field.split("."))
    return ("meta", "routing") if segment.source == ROUTE and kind is Kind.RESPONSE else None


class BodyReader:
    """Reads bodies of one kind by the segments of a model."""

    def __init__(self, segments: Sequence[Segment], kind: Kind, largest: int) -> None:
        self._kind = kind
        self._largest = largest
        self._count = len(segments)
        found = [(place, _path_of(segment, kind)) for place, segment in enumerate(segments)]
        self._paths: list[tuple[int, _Path]] = [(place, path) for place, path in found if path is not None]
        self._routes = {place for place, segment in enumerate(segments) if segment.source == ROUTE}
        self._features = [
            (place, segment.field)
            for place, segment in enumerate(segments)
            if segment.source == FEATURES and kind is Kind.REQUEST
        ]
        paths = [path for _, path in self._paths] + ([_NAMES, _ROWS] if self._features else [])
        self._decode, places = _decoder(paths)
        #: By the attributes that lead to what holds them: the places of values, and their attributes.
        self._found = [
            (above, [(place, places[path][-1]) for place, path in own])
            for above, own in (_by_parent(self._paths, places) if self._decode is not None else {}).items()
        ]
        self._names, self._rows = (places[_NAMES], places[_ROWS]) if self._features else ((), ())
        self.reads = bool(paths)

    def read(self, value: bytes) -> Said:
        """What the bytes of a body say, which has been read before."""
        if self._decode is not None:
            try:
                body = self._decode(value)
                whole: list[Any] = [None] * self._count
                for above, own in self._found:
                    holder = _at(body, above)
                    if holder is not None:
                        for place, name in own:
                            whole[place] = getattr(holder, name)
                if not self._features:
                    return self._said(whole, None, None) if self._routes else (whole, ())
                rows, names = _at(body, self._rows), _at(body, self._names)
                if type(rows) is list:
                    row = rows[0] if len(rows) == 1 else None
                    if type(row) is not list or type(names) is not list or len(row) != len(names):
                        return self._said(whole, rows, names)
                    for place, feature in self._features:  # one row of named columns: nearly all are so
                        if feature in names:
                            whole[place] = row[names.index(feature)]
                    return self._said(whole, None, None) if self._routes else (whole, ())
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                pass
        return self.of_body(body_of(value, self._kind, self._largest))

    def of_body(self, body: Any) -> Said:
        """The same of a decoded body."""
        whole: list[Any] = [None] * self._count
        for place, path in self._paths:
            found = body
            for key in path:
                found = found.get(key) if type(found) is dict else None
            whole[place] = found
        if not self._features:
            return self._said(whole, None, None)
        try:
            table = table_of(body, self._kind.value)
        except RefusedError:  # of a request that a feedback carries
            return self._said(whole, None, None)
        return self._said(whole, table.rows, table.names if not table.tensor else None, table)

    def _said(self, whole: list[Any], rows: Any, names: Any, table: Table | None = None) -> Said:
        for place in self._routes:
            whole[place] = _route(whole[place])
        if not self._features or rows is None:
            return whole, ()
        columns = []
        for place, feature in self._features:
            cells = _column(rows, names, feature, table)
            if len(cells) == 1:
                whole[place] = cells[0]
            else:
                columns.append((place, cells))
        return whole, columns


def _column(rows: list[Any], names: Any, feature: str, table: Table | None) -> list[Any]:
    """The value of each row in a column, None where it has none."""
    if table is not None and table.tensor == feature:
        return rows
    if type(names) in (list, tuple) and feature in names:
        place, width = names.index(feature), len(names)
        return [
            row[place]
            if type(row) is list and len(row) == width
            else row
            if width == 1 and type(row) is not list
            else None
            for row in rows
        ]
    return [row.get(feature) if type(row) is dict else None for row in rows]


def _route(routing: Any) -> Any:
    """The routers that an answer has passed, with the branch of each: `eg-router:1`, several in the order of names.

    A branch below 0 is no choice: all branches were asked.
    """
    if type(routing) is not dict:
        return None
    chosen = [(name, branch) for name, branch in sorted(routing.items()) if type(branch) in (int, float)]
    return ",".join(f"{name}:{int(branch)}" for name, branch in chosen if branch >= 0) or None


def _decoder(paths: Sequence[_Path]) -> tuple[Callable[[bytes], Any] | None, dict[_Path, tuple[str, ...]]]:
    """What decodes the values at some paths, and the attributes that lead to each.

    There is none for no paths, or where one is the beginning of another.
    """
    attributes: dict[_Path, tuple[str, ...]] = dict.fromkeys(paths, ())
    if not paths or any(path != other and other[: len(path)] == path for path in paths for other in paths):
        return None, attributes
    kind = _struct({*paths}, (), (), attributes)
    return msgspec.json.Decoder(kind).decode, attributes


def _struct(
    paths: set[_Path], above: _Path, via: tuple[str, ...], attributes: dict[_Path, tuple[str, ...]]
) -> type[msgspec.Struct]:
    """The struct of all that stands below a path, which the attributes `via` lead to."""
    fields: list[tuple[str, Any, Any]] = []
    keys = sorted({path[len(above)] for path in paths})
    names = {f"f{number}": key for number, key in enumerate(keys)}
    for name, key in names.items():
        own = (*above, key)
        if own in paths:
            attributes[own] = (*via, name)
            fields.append((name, Any, None))
        else:
            below = {path for path in paths if path[: len(own)] == own}
            fields.append((name, _struct(below, own, (*via, name), attributes) | None, None))
    return msgspec.defstruct("Segments", fields, rename=names, gc=False)


def _by_parent(
    paths: Sequence[tuple[int, _Path]], places: dict[_Path, tuple[str, ...]]
) -> dict[tuple[str, ...], list[tuple[int, _Path]]]:
    """Paths, and whose they are, by the attributes that lead to what holds their values."""
    found: dict[tuple[str, ...], list[tuple[int, _Path]]] = {}
    for place, path in paths:
        found.setdefault(places[path][:-1], []).append((place, path))
    return found


def _at(body: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        if body is None:
            return None
        body = getattr(body, name)
    return body
