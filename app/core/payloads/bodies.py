"""What a body brings: the bytes of a request, a response or a feedback become the marks of its rows.

The common form, an object with `data.ndarray`, is decoded into structs, which skips all that is not needed; whatever
does not fit them is decoded whole (`decoding`), and read in the form that it has (`forms`), with a reason where it
cannot be used.
"""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite, isinf
from struct import Struct as Packing
from struct import error as PackError  # noqa: N812 - a class by another name
from typing import Any, Final

import msgspec

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.decoding import body_of
from app.core.payloads.forms import carries, table_of
from app.core.payloads.marks import LARGEST_INT, Mark, class_text, given_names, index_mark, mark_of
from app.core.payloads.predictions import NOTHING, SHORT, Predictions, predictions
from app.core.payloads.probability_field import (
    NoProbabilityError,
    ProbabilityField,
    by_columns,
    place_of,
    probabilities_of,
)
from app.core.payloads.seldon import UNSET, Data, Request, Response, decode_feedback, decode_request, decode_response
from app.core.payloads.table import Table
from app.core.payloads.unwrapping import MOST_INFLATED
from app.core.payloads.versions import tag_of, version_text


class Output(msgspec.Struct, gc=False):
    """What a response predicts, row by row."""

    marks: list[Mark]  # none at all where its rows hold no class
    scores: bytes | None = None  # the winning entry of each vector or ranking, little-endian 32-bit floats
    #: In the place of `scores` where all rows are probabilities: of each row those of all classes, little-endian 64-bit
    #: floats. Beside them where only some rows are; the first of any other row is NaN.
    probabilities: bytes | None = None
    names: tuple[str, ...] = ()  # the class names, () when there are none
    width: int = 0  # how many classes its vectors or names fix, 0 where they fix none
    version: str = ""  # the V2 `model_version`
    images: Any = None  # `meta.requestPath`: model → image
    no_class: str = ""  # why its rows hold no class, as a sentence
    no_probabilities: str = ""  # why the field that the user names holds none, as a sentence
    metrics: Any = None  # `meta.metrics`, for `metrics_of`


class FeedbackBody(msgspec.Struct, gc=False):
    """What a feedback states. `labels` and `reward` hold only where stated; None takes an earlier statement back.

    Of labels, one that is None leaves its row alone. It may be that of other feedbacks, too: it is never changed.
    """

    has_label: bool
    labels: list[Mark] | None
    has_reward: bool
    reward: int | None  # in units of 1e-9
    output: Output | None  # of a response that it carries
    has_request: bool
    refused_request: tuple[Reason, str] | None = None  # why the request that it carries counts as none
    metrics: tuple[Any, ...] = ()  # its own `meta.metrics` and that of its truth, for `metrics_of`


class _NoNumbersError(RefusedError):
    """A vector of something else than numbers."""


_LARGEST_REWARD = 1e9
_BEYOND = 2**64
#: Of so many rows it pays to look first whether all are of one kind.
_MANY_ROWS: Final = 8
#: What has fewer bytes is read once for all that are alike.
_SHORT_FEEDBACK: Final = 512
_PACK_ONE = Packing("<f").pack
#: An answer keeps its probabilities where these are so many at most: they have 8 bytes each.
MOST_PROBABILITIES: Final = 512
#: What their sum may be, by rounding.
_LOW, _HIGHEST = 1 - 1e-6, 1 + 1e-6
_PACK: Final = tuple(Packing(f"<{width}d").pack for width in range(MOST_PROBABILITIES + 1))

# -- the common form --------------------------------------------------------------------------------------------------

#: What the structs do not fit, and what they fit but cannot use, is read in the general way, which also says why not.
NOT_COMMON: Final = (msgspec.DecodeError, RecursionError, RefusedError)


def check_request(value: bytes, largest: int = MOST_INFLATED, rewritten: dict[bytes, bytes] | None = None) -> Data:
    """The rows of a request. Refuses one whose rows cannot be read, though nothing of them may be counted.

    `largest` and `rewritten` are those of `body_of`, here and below.
    """
    if value.isascii():  # structs skip texts without checking them
        try:
            data = rows_of_common(decode_request(value))
            if data is not None:
                return data
        except NOT_COMMON:
            pass
    return check_request_body(body_of(value, Kind.REQUEST, largest, rewritten))


def rows_of_common(body: Request) -> Data | None:
    """The rows of a request of the common form; None where they are of another. Raises RefusedError."""
    data = body.data
    rows = data.ndarray
    if type(rows) is not list or len(rows) != 1 or rows[0] == []:  # nearly all have one row
        _check_rows(rows)
        if type(rows) is not list:
            return None
    data.names = data.names or None
    return data


def read_response(
    value: bytes,
    longest: int = 200,
    largest: int = MOST_INFLATED,
    rewritten: dict[bytes, bytes] | None = None,
    *,
    keeps: bool | ProbabilityField = True,
) -> Output:
    """The predictions of a response: the argmax of vectors, else the scalars themselves.

    Of vectors that are probabilities these are kept, if `keeps` says so; or those that stand where it says.
    """
    if type(keeps) is bool and value.isascii():
        try:
            output = output_of_common(decode_response(value), longest, keeps=keeps)
            if output is not None:
                return output
        except NOT_COMMON:
            pass
    return output_of(body_of(value, Kind.RESPONSE, largest, rewritten), longest, keeps=keeps)


def output_of_common(body: Response, longest: int, *, keeps: bool) -> Output | None:
    """The predictions of a response of the common form; None where they are read in the general way. Raises
    RefusedError.
    """
    rows = body.data.ndarray
    if type(rows) is not list or not rows:
        return None
    first = rows[0]
    meta = body.meta
    images = metrics = None
    if meta is not None:
        images = meta.requestPath
        metrics = meta.metrics
    version = version_text(body.model_version) if body.model_version is not None else ""
    if type(first) is list and len(first) > 1:
        output = _vectors(rows, body.data.names, version, images, keeps=keeps)
        output.metrics = metrics
        return output
    names = body.data.names  # more than one are those of the values
    if len(rows) == 1 and (not names or len(names) == 1) and (type(first) is not str or len(first) < SHORT):
        return Output([_scalar(first, longest)], None, None, (), 0, version, images, metrics=metrics)
    return None


def read_feedback(
    value: bytes,
    longest: int = 200,
    largest: int = MOST_INFLATED,
    rewritten: dict[bytes, bytes] | None = None,
    *,
    keeps: bool | ProbabilityField = True,
) -> FeedbackBody:
    """What a feedback states: absent leaves alone, null takes back."""
    said = _common_feedback(value, longest) if len(value) < _SHORT_FEEDBACK else _uncached_feedback(value, longest)
    if said is not None:
        return said
    return feedback_of(body_of(value, Kind.FEEDBACK, largest, rewritten), longest, keeps=keeps)


@lru_cache(maxsize=4096)
def _common_feedback(value: bytes, longest: int) -> FeedbackBody | None:
    """What a feedback of the common form states, None where it is of another. Short ones are often alike."""
    if not value.isascii():
        return None
    try:
        body = decode_feedback(value)
        rows = body.truth.data.ndarray
        if type(rows) is not list or not rows or body.response is not None:
            return None
        labels = _label_marks(rows, body.truth.data.names, longest)
        states = body.reward is not UNSET
        reward = parse_reward(body.reward) if states else None
    except NOT_COMMON:
        return None
    said = FeedbackBody(True, labels, states, reward, None, False)
    own = body.meta.metrics if body.meta is not None else None
    of_truth = body.truth.meta.metrics if body.truth.meta is not None else None
    if own is not None or of_truth is not None:
        said.metrics = tuple(one for one in (own, of_truth) if one is not None)
    return said


_uncached_feedback = _common_feedback.__wrapped__


# -- any form ---------------------------------------------------------------------------------------------------------


def check_request_body(body: Any) -> Data:
    """The same for a decoded body."""
    if type(body) is not dict and type(body) is not list:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the request is neither a JSON object nor a list of rows")
    table = table_of(body, "request")
    _check_rows(table.rows)
    return Data(table.rows, table.names)


def _check_rows(rows: Any) -> None:
    if type(rows) is not list:
        if rows is None or type(rows) is dict:
            raise RefusedError(Reason.BAD_PAYLOAD, "the request has no rows that can be read")
        return
    if not rows or rows[0] == []:
        raise RefusedError(Reason.EMPTY, "the request has no rows")
    if type(rows[0]) is list and len(rows) > 1:
        width = len(rows[0])
        for row in rows:
            # Lists of words may differ in length (tokens); numbers may not.
            if type(row) is not list or (len(row) != width and not all(type(cell) is str for cell in row)):
                raise RefusedError(Reason.RAGGED, "the request's rows have different lengths")


def output_of(body: Any, longest: int = 200, *, keeps: bool | ProbabilityField = True) -> Output:
    """The predictions of a decoded response body: of each row what `predictions` finds, None where it alone has none.

    An error in the place of rows is one failed prediction.
    """
    output = _output_of(body, longest, keeps=keeps)
    output.metrics = _metrics_of(body)
    return output


def _metrics_of(body: Any) -> Any:
    meta = body.get("meta") if type(body) is dict else None
    return meta.get("metrics") if type(meta) is dict else None


def _output_of(body: Any, longest: int, *, keeps: bool | ProbabilityField) -> Output:
    if type(body) is list:
        return _output(body, longest, "", None, keeps=keeps)
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the response is neither a JSON object nor a list of rows")
    version = version_text(body.get("model_version"))
    meta = body.get("meta")
    images = meta.get("requestPath") if type(meta) is dict else None
    if not carries(body) and ("error" in body or type(body.get("status")) is dict):
        return Output([None], version=version, images=images)
    try:
        return _output(body, longest, version, images, keeps=keeps)
    except RefusedError as refused:
        if refused.reason in (Reason.BAD_PAYLOAD, Reason.EMPTY) and _reports_failure(body):
            return Output([None], version=version, images=images)
        raise


def _output(body: Any, longest: int, version: str, images: Any, *, keeps: bool | ProbabilityField) -> Output:
    try:
        return _read_output(body, longest, version, images, keeps=keeps)
    except OverflowError:
        raise RefusedError(Reason.NOT_FINITE, "a number in the response is too large") from None


def _read_output(body: Any, longest: int, version: str, images: Any, *, keeps: bool | ProbabilityField) -> Output:
    table = table_of(body, "response")
    if isinstance(keeps, ProbabilityField):
        table = by_columns(keeps, table)
        return _with_field(keeps, predictions(table), table, body, longest, version, images)
    return _of_predictions(predictions(table), longest, version, images, keeps=keeps)


def _with_field(
    field: ProbabilityField, found: Predictions, table: Table, body: Any, longest: int, version: str, images: Any
) -> Output:
    """What the answer predicts, and the probabilities that it has in the field; where nothing else is its class, they
    say which it is.
    """
    plain = _of_predictions(found, longest, version, images, keeps=False)
    try:
        vectors, classes, raws = probabilities_of(field, table, body)
    except NoProbabilityError as error:
        plain.no_probabilities = str(error)
        return plain
    width = next(len(vector) for vector in vectors if vector is not None)
    if len(vectors) * width > MOST_PROBABILITIES or any(len(name) > longest for name in classes):
        return plain
    alone = bool(found.no_class) or found.values == raws  # nothing but the probabilities says the class
    if alone and all(type(raw) in (int, float) for raw in raws):  # single scores, which the threshold reads
        return Output([_scalar(raw, longest) for raw in raws], version=version, images=images)
    nothing = [float("nan")] * width
    places: list[int | None]
    if alone:
        places = [None if vector is None else _argmax(vector, width, "response") for vector in vectors]
    elif plain.marks and type(found.values[0]) is list and len(found.values[0]) > 1:
        return plain  # the answer is a vector of scores itself
    else:
        values = [value[0] if type(value) is list and len(value) == 1 else value for value in found.values]
        places = [place_of(value, classes, width, longest) for value in values]
        if None in places:
            plain.no_probabilities = f"{field.name} has no probability of the class that is predicted"
            return plain
    are = [vector is not None and _sums_to_one(vector) for vector in vectors]
    probabilities = None
    if any(are):
        pack = _PACK[width]
        rows = zip(vectors, are, strict=True)
        probabilities = b"".join(
            pack(*(vector if vector is not None and is_one else nothing)) for vector, is_one in rows
        )
    marks: list[Mark] = [None if place is None else index_mark(place) for place in places]
    return Output(marks, None, probabilities, classes, width, version, images)


def _sums_to_one(vector: list[Any]) -> bool:
    total: float = sum(vector)
    return min(vector) >= 0 and _LOW <= total < _HIGHEST


def _of_predictions(found: Predictions, longest: int, version: str, images: Any, *, keeps: bool) -> Output:
    if found.no_class:
        return Output([], version=version, images=images, no_class=f"the answer's {found.no_class}")
    _check_values(found.values, "response")
    values = [value for value in found.values if value is not NOTHING] if found.partial else found.values
    if type(values[0]) is list and len(values[0]) > 1:
        try:
            output = _vectors(values, found.names, version, images, keeps=keeps)
        except _NoNumbersError:
            no_class = _why_no_vectors(values[0])
            if not no_class:
                raise
            return Output([], version=version, images=images, no_class=no_class)
    else:
        known = _names_of_scalars(found.names) if found.names is not None else ()
        scores = None if found.scores is None else _packed(found.scores)
        output = Output(_scalars(values, longest), scores, None, known, len(known), version, images)
    if found.partial:
        marks = iter(output.marks)
        output.marks = [None if value is NOTHING else next(marks) for value in found.values]
        output.scores = output.probabilities = None
    return output


def _why_no_vectors(row: list[Any]) -> str:
    """Why a row that is no vector of numbers has no class, empty where it should have one."""
    if type(row[0]) is list:
        return "the answer's rows are arrays of several dimensions, which hold no class"
    return "the answer's rows are lists of texts, which hold no class" if all(type(cell) is str for cell in row) else ""


def _names_of_scalars(names: Any) -> tuple[str, ...]:
    """Names that outnumber the one column of scalars are those of their values."""
    return given_names(names, len(names)) if names and len(names) > 1 else ()


def _check_values(values: list[Any], what: str) -> None:
    """Refuse what is missing in the place of a class or a score. In a truth, null in the place of a row is a row that
    is left alone.
    """
    for row, value in enumerate(values):
        if type(value) is list:
            try:
                total = sum(value)
            except (TypeError, OverflowError):  # not of numbers alone, or one that no float holds
                total = None
            if total is not None and total - total == 0:  # else something in it is not finite, or too large a sum
                continue
        elif value is not None and (type(value) is not float or value - value == 0):
            continue
        cells = value if type(value) is list else [value]
        if len(cells) == 1 and cells[0] is None and what == "truth":
            continue
        for cell in cells:
            if cell is None or (type(cell) is float and not isfinite(cell)):
                word = "null" if cell is None else str(cell)
                raise RefusedError(Reason.NOT_FINITE, f"row {row} of the {what} has {word} in the place of a class")


def feedback_of(body: Any, longest: int = 200, *, keeps: bool | ProbabilityField = True) -> FeedbackBody:
    """What a decoded feedback body states."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the feedback is not a JSON object")
    truth = body.get("truth")
    has_label = "truth" in body and (truth is None or brings_label(truth))
    labels = labels_of(truth, longest) if has_label and truth is not None else None
    all_null = bool(labels) and all(label is None for label in labels or ())  # all rows are left alone
    if all_null:
        has_label, labels = False, None
    has_reward = "reward" in body
    reward = parse_reward(body.get("reward"))
    response: Any = body.get("response")
    request = body.get("request")
    # A carried response of only `meta` has no prediction.
    answers = bool(response) and (carries(response) or "status" in response or "error" in response)
    output = output_of(response, longest, keeps=keeps) if answers else None
    refused = _refusal_of_request(request) if request and output is not None else None
    metrics = tuple(one for one in (_metrics_of(body), _metrics_of(truth)) if one is not None)
    if not has_label and not has_reward and output is None and not metrics:
        detail = "its labels are all null" if all_null else "it has neither reward nor label nor response"
        raise RefusedError(Reason.EMPTY, f"the feedback brings nothing: {detail}")
    has_request = output is not None and bool(request) and refused is None
    return FeedbackBody(has_label, labels, has_reward, reward, output, has_request, refused, metrics)


def _refusal_of_request(request: Any) -> tuple[Reason, str] | None:
    """Why a carried request cannot be read: the answer beside it counts all the same."""
    try:
        check_request_body(request)
    except RefusedError as refused:
        return refused.reason, refused.detail
    return None


def labels_of(truth: Any, longest: int = 200) -> list[Mark]:
    """The labels in a truth message, one a row: a vector by its argmax, else the scalar; None for a row with null."""
    try:
        return _read_labels(truth, longest)
    except OverflowError:
        raise RefusedError(Reason.NOT_FINITE, "a number in the truth is too large") from None


def _read_labels(truth: Any, longest: int) -> list[Mark]:
    found = predictions(table_of(truth, "truth"))
    if found.no_class:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the truth names no class: its {found.no_class}")
    values = found.values
    if found.partial:
        raise RefusedError(Reason.BAD_PAYLOAD, f"row {values.index(NOTHING)} of the truth names no class")
    _check_values(values, "truth")
    present = [value for value in values if value is not None and value != [None]]
    marks = iter(_label_marks(present, found.names, longest) if present else ())
    return [None if value is None or value == [None] else next(marks) for value in values]


def brings_label(truth: Any) -> bool:
    """Whether a truth states a label: `{}` and a truth with only `meta` do not."""
    return carries(truth)


def _reports_failure(body: dict[str, Any]) -> bool:
    """Whether a body reports, beside data without rows, that the model failed."""
    status = body.get("status")
    if type(status) is not dict:
        return bool(body.get("error"))
    code = status.get("code")
    failed: bool = status.get("status") in (1, "FAILURE")
    return failed or (isinstance(code, int) and code != 0 and not 200 <= code < 300)


def parse_reward(value: Any) -> int | None:
    """A reward in units of 1e-9, None for null."""
    if value is None:
        return None
    kind = type(value)
    if kind is not int and kind is not float and kind is not bool:
        shown = repr(value[:40]) if kind is str else f"of type {kind.__name__}"
        raise RefusedError(Reason.BAD_REWARD, f"the reward is {shown}; it must be a number up to 1e9")
    if not abs(value) <= _LARGEST_REWARD:
        if kind is float and not isfinite(value):
            raise RefusedError(Reason.NOT_FINITE, f"the reward is {value}")
        raise RefusedError(Reason.BAD_REWARD, "the reward is beyond 1e9")
    points: int = value * 1_000_000_000 if kind is int else round(value * 1_000_000_000)
    return points


# -- rows -------------------------------------------------------------------------------------------------------------


def _label_marks(rows: list[Any], names: Any, longest: int) -> list[Mark]:
    first = rows[0]
    if type(first) is not list or len(first) < 2:
        if names and len(names) > 1 and (known := _names_of_scalars(names)):
            return [_named(mark, known) for mark in _scalars(rows, longest)]
        return _scalars(rows, longest)
    width = len(first)
    known = given_names(names, width) if names else ()
    if known:
        return [mark_of(known[_argmax(row, width, "truth")], longest) for row in rows]
    if len(rows) == 1:
        return [-_argmax(first, width, "truth") - 1]
    return [index_mark(_argmax(row, width, "truth")) for row in rows]


def _named(mark: Mark, names: tuple[str, ...]) -> Mark:
    return mark if mark is None or isinstance(mark, float) else mark_of(class_text(mark, names))


def _vectors(rows: list[Any], names: Any, version: str, images: Any, *, keeps: bool) -> Output:
    width = len(rows[0])
    known = given_names(names, width) if names else ()
    try:
        if len(rows) == 1:
            row = rows[0]
            index = _argmax(row, width, "response")
            if keeps and width <= MOST_PROBABILITIES and min(row) >= 0 and _LOW <= sum(row) < _HIGHEST:
                return Output([-index - 1], None, _PACK[width](*row), known, width, version, images)
            return Output([-index - 1], _PACK_ONE(row[index]), None, known, width, version, images)
        indices = [_argmax(row, width, "response") for row in rows]
        scores: bytes | None = _packed([row[index] for row, index in zip(rows, indices, strict=True)])
    except (OverflowError, PackError):
        raise RefusedError(Reason.NOT_FINITE, "a score is too large") from None
    probabilities, whole = _probabilities(rows, width) if keeps else (None, False)
    return Output(
        [-index - 1 for index in indices], None if whole else scores, probabilities, known, width, version, images
    )


def _probabilities(rows: list[list[Any]], width: int) -> tuple[bytes | None, bool]:
    """The probabilities of rows, and whether all of them have such; None where none has, or there are too many."""
    if len(rows) * width > MOST_PROBABILITIES:
        return None, False
    are = [min(row) >= 0 and _LOW <= sum(row) < _HIGHEST for row in rows]
    if not any(are):
        return None, False
    nothing = [float("nan")] * width
    pack = _PACK[width]
    return b"".join(pack(*(row if is_one else nothing)) for row, is_one in zip(rows, are, strict=True)), all(are)


def _packed(scores: list[Any]) -> bytes:
    packed = array("f", scores)
    if any(map(isinf, packed)):
        raise RefusedError(Reason.NOT_FINITE, "a score is too large")
    return packed.tobytes()


def _scalars(rows: list[Any], longest: int) -> list[Mark]:
    """The marks of rows of one value each. Of many rows the classes are found out once each."""
    if len(rows) >= _MANY_ROWS:
        kinds = {*map(type, rows)}
        if kinds == {int} and min(rows) >= 0 and max(rows) < LARGEST_INT:
            return list(rows)  # as `mark_of` has it
        if kinds == {str}:
            marks = {text: mark_of(text, longest) for text in dict.fromkeys(rows)}
            return [marks[text] for text in rows]
    return [_scalar(row, longest) for row in rows]


def _scalar(row: Any, longest: int) -> Mark:
    if type(row) is list:
        if len(row) != 1:
            if not row:
                raise RefusedError(Reason.EMPTY, "one of the rows is empty")
            raise RefusedError(Reason.RAGGED, "the rows have different lengths")
        row = row[0]
    return mark_of(row, longest)


def _argmax(row: Any, width: int, what: str) -> int:
    if type(row) is not list or len(row) != width:
        raise RefusedError(Reason.RAGGED, f"the {what}'s rows have different lengths")
    try:
        largest = max(row)
    except (TypeError, RecursionError):
        largest = None
    kind = type(largest)
    if kind is not float and kind is not int and kind is not bool:
        raise _NoNumbersError(Reason.BAD_PAYLOAD, f"a row of the {what} holds something else among its numbers")
    if kind is int and largest >= _BEYOND:  # of several that are one float the first is the largest
        try:
            largest = float(largest)
        except OverflowError:
            raise RefusedError(Reason.NOT_FINITE, f"a number in the {what} is too large") from None
        return next(index for index, value in enumerate(row) if value >= _BEYOND and float(value) == largest)
    return row.index(largest)


def version_of(output: Output, model: str) -> str:
    """The version that a response names: V2 `model_version`, else the tag of the model's image."""
    if output.version:
        return output.version
    image = output.images.get(model) if type(output.images) is dict else None
    return tag_of(image) if type(image) is str else ""


def class_list(output: Output) -> Sequence[str]:
    """The classes that a response's vectors fix: its names, else "0", "1" …"""
    return output.names or tuple(str(index) for index in range(output.width))
