"""What a user keeps out of documents: keys and columns that never leave Kafka.

Each form takes out of its own bodies what is kept back (`blank`); keys and dotted paths go whatever the form is.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Final

from app.core.events import Kind, RefusedError
from app.core.outputs.documents.places import Body
from app.core.payloads.blanking import Redaction
from app.core.payloads.forms import FORMS, carries, table_of
from app.core.payloads.loosejson import dumps, loads
from app.core.payloads.predictions import predictions, without_brackets
from app.core.rules import Rules

#: What a message has beside its rows.
LEFTOVERS: Final = ("meta", "id", "parameters", "status", "error")
_MESSAGES: Final = ("request", "response", "truth")


def redacted(body: Any, what: str, rules: Rules) -> Any:
    """A body without what the rules of its model keep back; it may be changed.

    `what` is the kind of event that brought it, or "truth".
    """
    if not rules.redact:
        return body
    if what == Kind.FEEDBACK.value:
        for name in _MESSAGES if type(body) is dict else ():
            if name in body:
                below = tuple(entry.removeprefix(name + ".") for entry in rules.redact if entry.count(".") > 1)
                body[name] = _redacted_message(body[name], name, (*rules.redact, *below), rules)
    elif what in _MESSAGES:
        return _redacted_message(body, what, rules.redact, rules)
    return without(body, rules.redact)


def _redacted_message(body: Any, what: str, entries: tuple[str, ...], rules: Rules) -> Any:
    schema = rules.prediction_schema
    columns = schema.requests if what == "request" else schema.responses
    entries += tuple(part for column in columns if column.name in entries for part in column.parts)
    redaction = Redaction(frozenset(entries), columns)
    if redaction.by_place and not carries(body):  # nobody can say which of its values is whose
        body = {name: body[name] for name in LEFTOVERS if name in body}
    for form in FORMS:
        body = form.blank(body, redaction)
    return without(body, entries)


def hides_class(before: Any, after: Any, what: str) -> bool:
    """Whether a class that a body (a response or a truth) names is not in what is left of it."""
    classes = _classes(before, what)
    return bool(classes) and _classes(after, what) != classes


def _classes(body: Any, what: str) -> list[Any]:
    """The classes of rows that are values; a vector has its class by place, which says none of its values."""
    try:
        values = without_brackets(predictions(table_of(body, what)).values)
    except RefusedError:
        return []
    return [value for value in values if type(value) not in (list, dict)]


# -- keys -------------------------------------------------------------------------------------------------------------


def without(body: Any, entries: tuple[str, ...]) -> Any:
    """A body without the keys of these names, wherever they stand, and without what these dotted paths lead to.

    The body is changed. Lists on the way of a path are gone through; a text that is JSON is read like the rest.
    """
    if type(body) is str:
        return _cleaned(body, entries)
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            for entry in entries:
                value.pop(entry, None)
            inner: Any = value.items()
        elif type(value) is list:
            inner = enumerate(value)
        else:
            continue
        for place, item in inner:
            if type(item) is str:
                value[place] = _cleaned(item, entries)
            else:
                waiting.append(item)
    for entry in entries:
        *way, last = entry.split(".")
        found = [body]
        for step in way:
            found = [value[step] for value in _spread(found) if step in value]
        for value in _spread(found):
            value.pop(last, None)
    return body


def _cleaned(text: str, entries: tuple[str, ...]) -> str | None:
    """A text that is JSON, without these keys. Where that is in base64 it goes as a whole."""
    inner = _json_in(text)
    plain = inner is not None
    if not plain:
        try:
            inner = _json_in(b64decode(text, validate=True))
        except (Base64Error, ValueError):
            return text
    try:
        before = dumps(inner)
        after = dumps(without(inner, entries))
    except RefusedError:  # nested too deep
        return None
    if before == after:
        return text
    return after.decode() if plain else None


def _json_in(text: str | bytes) -> Any:
    """The object or list that a text is, None where it is neither."""
    if text.lstrip()[:1] not in ("{", "[", b"{", b"["):
        return None
    try:
        value = loads(text)
    except RefusedError:
        return None
    return value if type(value) in (dict, list) else None


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
