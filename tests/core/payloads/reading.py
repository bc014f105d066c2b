"""What is read of a body, as these tests compare it."""

import json
from collections.abc import Callable
from typing import Any

from app.core.events import Reason, RefusedError
from app.core.payloads.bodies import output_of, read_feedback, read_response
from app.core.payloads.marks import Mark, class_text


def texts(marks: list[Mark], names: tuple[str, ...] = ()) -> list[Any]:
    """Class texts, measurements as they are, None for no prediction."""
    return [class_text(mark, names) if isinstance(mark, (int, str)) else mark for mark in marks]


def classes(body: Any) -> list[Any]:
    """The classes of a response, by its bytes."""
    output = read_response(written(body))
    return texts(output.marks, output.names)


def no_class(body: Any) -> str:
    """Why a response has no class."""
    output = output_of(body)
    assert output.marks == []
    return output.no_class


def label(truth: Any) -> list[Any]:
    """The labels of a truth."""
    return texts(read_feedback(written({"truth": truth})).labels or [])


def outcome(read: Callable[..., Any], *arguments: Any) -> Reason | None:
    """Why something is refused, None where it is not; whatever else is raised would end the worker."""
    try:
        read(*arguments)
    except RefusedError as refused:
        assert refused.detail  # noqa: PT017 - a refusal has a sentence
        return refused.reason
    return None


def written(body: Any) -> bytes:
    """A body as Python's json writes it."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
