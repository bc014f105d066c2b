"""Payload forms: a decoded body of any protocol becomes a table of rows. Each form is one file and one entry here.

Which members a body has decides, not what kind of event it is: KServe logs responses with `instances` too.
"""

from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.bare import BARE
from app.core.payloads.mlflow import MLFLOW
from app.core.payloads.seldon import SELDON
from app.core.payloads.table import Form, Table
from app.core.payloads.tensorflow import TENSORFLOW
from app.core.payloads.tensorflow_examples import EXAMPLES
from app.core.payloads.v2 import V2

#: All forms, in the order in which a body is shown to them.
FORMS: Final[tuple[Form, ...]] = (MLFLOW, SELDON, V2, TENSORFLOW, EXAMPLES, BARE)
_MOST_NAMED: Final = 5
_MEMBERS: Final = frozenset().union(*(form.members for form in FORMS))
#: Of objects, those without any of a form's members are passed over first: it is half of the cost of a question.
_OF_OBJECTS: Final = tuple((form.members.isdisjoint, form.claims, form) for form in FORMS if form.members)


def carries(body: Any) -> bool:
    """Whether a body has a payload in one of the forms; an error response and `{"meta": …}` have none."""
    return type(body) is not dict or not _MEMBERS.isdisjoint(body)


def form_of(body: Any, what: str) -> Form | None:
    """The form of a decoded body, None where it has none. `what` is "request", "response" or "truth"."""
    if type(body) is dict:
        for lacks_members, claims, form in _OF_OBJECTS:
            if not lacks_members(body) and claims(body, what):
                return form
        return None
    return next((form for form in FORMS if form.claims(body, what)), None)


def table_of(body: Any, what: str) -> Table:
    """The rows of a decoded body. `what` is "request", "response" or "truth": it names the part in a refusal.

    Refuses what has no rows, and what none of the forms explains. Rows of different lengths are let through: texts cut
    into words have them.
    """
    form = form_of(body, what)
    if form is None:
        shown = ", ".join(repr(name[:40]) for name in list(body)[:_MOST_NAMED]) if type(body) is dict else ""
        members = f"the members {shown}" if shown else "no members"
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what} has none of the forms that are read: it has {members}")
    return form.table(body, what)
