"""A route of `/api`: what answers it, and what OpenAPI says of it, in one row, so that neither is forgotten."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import web

from app.worker.http.answers import AnswerError
from app.worker.http.guard import shortened

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TEXT: Final[Mapping[str, Any]] = {"type": "string"}
NUMBER: Final[Mapping[str, Any]] = {"type": "number"}


class Parameter(NamedTuple):
    """One parameter: of the query, or of the path."""

    name: str
    says: str
    schema: Mapping[str, Any] = TEXT
    needed: bool = False
    place: str = "query"


class Route(NamedTuple):
    """One route. `answer` is the type of what it answers with 200, and `body` of what it takes; `errors` are the other
    statuses that it may answer, besides those that any route may.
    """

    method: str
    path: str
    handler: Handler
    says: str
    answer: Any
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    body: Any = None


KEY: Final = Parameter(
    "key",
    "Which model: namespace/service/predictor/model@version, each part percent-encoded where it holds one of `/@%`; "
    "one without version has no `@`.",
    needed=True,
    place="path",
)
CLOCK: Final = Parameter(
    "clock",
    "`predictions`: a label counts when its prediction was made; `labels`: when the label came.",
    {"type": "string", "enum": ["predictions", "labels"], "default": "predictions"},
)
WINDOW: Final = Parameter(
    "window",
    "A name of TALLY_WINDOWS, or `total`; by default the shortest window of an hour or more, else the longest.",
)
STEP: Final = Parameter(
    "step",
    "How long each stretch is: a duration like 5m, or seconds. By default so long that there are about 120, since "
    "`from` or since the first count, whichever is later.",
)
BACK: Final = Parameter(
    "back",
    "In the place of `from`: how far back from `to`, as a duration like 7d or in seconds; `kept`, as far as panes are "
    "kept; `all`, since the model was first seen. What is older than panes is from Elasticsearch, where it is set.",
)
FROM: Final = Parameter("from", "Seconds since 1970; by default as far back as panes are kept.", NUMBER)
TO: Final = Parameter("to", "Seconds since 1970; by default now.", NUMBER)


def checked(route: Route) -> Handler:
    """The handler of a route, which refuses what the route has no parameter for: it may be misspelt."""
    names = [parameter.name for parameter in route.parameters if parameter.place == "query"]

    async def answer(request: web.Request) -> web.StreamResponse:
        for name in request.query:
            if name not in names:
                known = f"it has {', '.join(names)}" if names else "it has none"
                raise AnswerError(400, f"{shortened(request.path)} has no parameter {shortened(name)}: {known}.")
            if len(request.query.getall(name)) > 1:
                raise AnswerError(400, f"{name} is given more than once: give it once.")
        return await route.handler(request)

    return answer
