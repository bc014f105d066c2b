"""TensorFlow Serving's classify and regress: {"examples": [{…}, …]} → {"results": [[["cat", 0.9], …], …]} or [0.5, …].

https://www.tensorflow.org/tfx/serving/api_rest#classify_and_regress_api. It writes `result`; servers write `results`.
"""

from typing import Any, Final

from app.core.payloads.blanking import Redaction, blank_row, blank_rows
from app.core.payloads.table import Form, Table, rows_table

_ANSWERS: Final = ("results", "result")


def _claims(body: Any, _what: str) -> bool:
    return type(body) is dict and not EXAMPLES.members.isdisjoint(body)


def _table(body: Any, what: str) -> Table:
    order = ("examples", *_ANSWERS) if what == "request" else (*_ANSWERS, "examples")
    value = next((body[member] for member in order if body.get(member) is not None), None)
    return Table([value]) if type(value) is dict and value else rows_table(value, None, what)


def _blank(body: Any, redaction: Redaction) -> Any:
    for member in EXAMPLES.members.intersection(body) if type(body) is dict else ():
        blank = blank_row if type(body[member]) is dict else blank_rows
        body[member] = blank(body[member], (), redaction.under(member))
    return body


EXAMPLES: Final = Form(
    "TensorFlow examples",
    frozenset({"examples", *_ANSWERS}),
    _claims,
    _table,
    _blank,
    (
        ("request", '{"examples": [{"age": 31}, {"age": 47}]}'),
        ("response", '{"results": [[["cat", 0.9], ["dog", 0.1]], [["cat", 0.2], ["dog", 0.8]]]}'),
        ("response", '{"results": [3.5, 4.25]}'),
    ),
)
