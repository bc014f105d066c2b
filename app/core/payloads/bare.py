"""No form at all: a value or a list in the place of a message, as labels often are."""

from typing import Any, Final

from app.core.payloads.blanking import Redaction, blank_rows
from app.core.payloads.table import Form, Table, rows_table


def _claims(body: Any, _what: str) -> bool:
    return type(body) is not dict


def _table(body: Any, what: str) -> Table:
    return rows_table(body, None, what)


def _blank(body: Any, redaction: Redaction) -> Any:
    return body if type(body) is dict else blank_rows(body, (), redaction)


BARE: Final = Form("bare", frozenset(), _claims, _table, _blank)
