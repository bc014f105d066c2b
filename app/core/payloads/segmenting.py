"""What a request or an answer says of the segments of its model: raw values, of the whole and by row.

    tags       `meta.tags` of Seldon's form
    payload    a dotted path from the body's root
    route      `meta.routing` of the answer: the branch of each router, like `router:1`
    features   a column of the request's rows: by the names of its columns, its tensors, or the keys of its rows

The common form is decoded once, by structs made for the segments of a model: what they read, and what is read of any
body of that form. All other bodies are decoded whole.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, get_args

import msgspec

from app.core.events import Kind, RefusedError
from app.core.payloads.bodies import (
    NOT_COMMON,
    Output,
    check_request_body,
    output_of,
    output_of_common,
    rows_of_common,
)
from app.core.payloads.decoding import body_of
from app.core.payloads.forms import table_of
from app.core.payloads.probability_field import ProbabilityField
from app.core.payloads.seldon import Data, Request, Response
from app.core.payloads.table import Table
from app.core.segments import FEATURES, PAYLOAD, ROUTE, TAGS, Segment

_Path = tuple[str, ...]
_Struct = type[msgspec.Struct]
_COMMON: Final[dict[Kind, _Struct]] = {Kind.REQUEST: Request, Kind.RESPONSE: Response}

#: Raw values: of each place of a reader that of the whole, None where nothing is said; and those of single rows, each
#: with the place of its segment.
Said = tuple[Sequence[Any], Sequence[tuple[int, list[Any]]]]
NOTHING_SAID: Final[Said] = (), ()


def _path_of(segment: Segment, kind: Kind) -> _Path | None:
    """Where a body of a kind has the value of a segment, None where it has none in one place."""
    if segment.source == TAGS:
        return ("meta", "tags", segment.field)
    if segment.source == PAYLOAD:
        return tuple(segment.field.split("."))
    return ("meta", "routing") if segment.source == ROUTE and kind is Kind.RESPONSE else None


class BodyReader:
    """Reads bodies of one kind by the segments of a model. `places` are those of the segments that it reads."""

    def __init__(self, segments: Sequence[Segment], kind: Kind) -> None:
        self._kind = kind
        paths = [(place, _path_of(segment, kind)) for place, segment in enumerate(segments)]
        found = [(place, path) for place, path in paths if path is not None]
        self._paths = [path for _, path in found]
        self._features = [
            (place, segment.field)
            for place, segment in enumerate(segments)
            if segment.source == FEATURES and kind is Kind.REQUEST
        ]
        self.places = (*(place for place, _ in found), *(place for place, _ in self._features))
        self._routes = [number for number, (place, _) in enumerate(found) if segments[place].source == ROUTE]
        self._decode, self._pick = _decoder(self._paths, kind)

    def read_request(
        self, value: bytes, largest: int, rewritten: dict[bytes, bytes] | None = None
    ) -> tuple[Data, Said]:
        """The rows of a request, as `check_request` gives them, and what it says."""
        if self._decode is not None and value.isascii():
            try:
                body = self._decode(value)
                data = rows_of_common(body)
                if data is not None:
                    return data, self._said_by(body, data)
            except NOT_COMMON:
                pass
        body = body_of(value, self._kind, largest, rewritten)
        return check_request_body(body), self.of_body(body)

    def read_response(
        self,
        value: bytes,
        longest: int,
        largest: int,
        rewritten: dict[bytes, bytes] | None = None,
        *,
        keeps: bool | ProbabilityField = True,
    ) -> tuple[Output, Said]:
        """The predictions of a response, as `read_response` gives them, and what it says."""
        if self._decode is not None and type(keeps) is bool and value.isascii():
            try:
                body = self._decode(value)
                output = output_of_common(body, longest, keeps=keeps)
                if output is not None:
                    return output, self._said_by(body, None)
            except NOT_COMMON:
                pass
        body = body_of(value, self._kind, largest, rewritten)
        return output_of(body, longest, keeps=keeps), self.of_body(body)

    def _said_by(self, body: Any, data: Data | None) -> Said:
        """What a body of the common form says."""
        whole = self._pick(body)
        if data is None or not self._features:
            return self._said(whole, None, None) if self._routes else (whole, ())
        rows, names = data.ndarray, data.names
        row = rows[0] if len(rows) == 1 else None
        if type(row) is not list or names is None or len(row) != len(names):
            return self._said(whole, rows, names)
        for _, feature in self._features:  # one row of named columns: nearly all are so
            whole.append(row[names.index(feature)] if feature in names else None)
        return whole, ()

    def of_body(self, body: Any) -> Said:
        """The same of a decoded body of any form."""
        whole: list[Any] = []
        for path in self._paths:
            found = body
            for key in path:
                found = found.get(key) if type(found) is dict else None
            whole.append(found)
        if not self._features:
            return self._said(whole, None, None)
        try:
            table = table_of(body, self._kind.value)
        except RefusedError:  # of a request that a feedback carries
            return self._said(whole, None, None)
        return self._said(whole, table.rows, table.names if not table.tensor else None, table)

    def _said(self, whole: list[Any], rows: Any, names: Any, table: Table | None = None) -> Said:
        for number in self._routes:
            whole[number] = _route(whole[number])
        columns = []
        for place, feature in self._features:
            cells = [None] if rows is None else _column(rows, names, feature, table)
            if len(cells) != 1:
                columns.append((place, cells))
            whole.append(cells[0] if len(cells) == 1 else None)
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


def _decoder(paths: Sequence[_Path], kind: Kind) -> tuple[Callable[[bytes], Any] | None, Callable[[Any], list[Any]]]:
    """What decodes bodies of the common form, with the values at some paths; and what gives these.

    Nothing does where one path is the beginning of another, or leads to what the common form itself reads.
    """
    attributes: dict[_Path, str] = {}
    found = _extended(_COMMON[kind], {*paths}, (), attributes, frozen=False)
    if found is None:
        return None, _nothing
    return msgspec.json.Decoder(found).decode, _picker([attributes[path] for path in paths])


def _extended(
    base: _Struct, paths: set[_Path], above: tuple[tuple[str, str], ...], attributes: dict[_Path, str], *, frozen: bool
) -> _Struct | None:
    """A struct, with all that stands at some paths; `above` are the keys that lead to it, with their attributes.

    What need not be there is as if it were empty: so nobody asks whether it is there.
    """
    if not paths:
        return base
    known = {field.encode_name: field for field in msgspec.structs.fields(base)}
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for number, key in enumerate(sorted({path[len(above)] for path in paths})):
        field = known.get(key)
        name = f"f{number}" if field is None else field.name
        rename[name] = key
        lead = (*above, (key, name))
        own = tuple(step for step, _ in lead)
        below = {path for path in paths if path[: len(own)] == own}
        if own in below:
            if field is not None or len(below) > 1:
                return None
            attributes[own] = ".".join(attribute for _, attribute in lead)
            fields.append((name, Any, None))
            continue
        of = _Empty if field is None else _struct_in(field.type)
        required = field is not None and field.required
        struct = None if of is None else _extended(of, below, lead, attributes, frozen=not required)
        if struct is None:
            return None
        fields.append((name, struct) if required else (name, struct, struct()))
    return msgspec.defstruct("Segments", fields, bases=(base,), rename=rename, gc=False, frozen=frozen, kw_only=True)


class _Empty(msgspec.Struct, gc=False, frozen=True):
    pass


def _struct_in(kind: Any) -> _Struct | None:
    """The struct that a field holds, which may be None; None where it holds something else."""
    return next(
        (one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, msgspec.Struct)), None
    )


def _picker(attributes: list[str]) -> Callable[[Any], list[Any]]:
    """What gives the values of some dotted attributes."""
    if not attributes:
        return _nothing
    get = attrgetter(*attributes)
    return (lambda body: [*get(body)]) if len(attributes) > 1 else (lambda body: [get(body)])


def _nothing(_body: Any) -> list[Any]:
    return []
