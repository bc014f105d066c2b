"""No form at all: a value or a list of rows in the place of a message, as labels and MLflow's old answers are."""

from typing import Any, Final

from app.core.payloads.blanking import Redaction, blank_rows
from app.core.payloads.ranking import is_one_ranking
from app.core.payloads.table import Form, Table, rows_table


def _claims(body: Any, _what: str) -> bool:
    return type(body) is not dict


def _table(body: Any, what: str) -> Table:
    # A pipeline of Hugging Face that was asked for one row answers with its classes alone.
    if what == "response" and type(body) is list and is_one_ranking(body):
        return Table([body])
    return rows_table(body, None, what)


def _blank(body: Any, redaction: Redaction) -> Any:
    return body if type(body) is dict else blank_rows(body, (), redaction)


BARE: Final = Form(
    "bare",
    frozenset(),
    _claims,
    _table,
    _blank,
    (
        ("request", "[[31, 1.5], [47, 2.5]]"),
        ("response", "[1, 0]"),
        ("response", '[{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]'),
        ("truth", '"cat"'),
    ),
)
