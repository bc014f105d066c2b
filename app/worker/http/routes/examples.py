"""Rows that show something: of a model's confusion, and of two legs of which one alone was right.

They come from the documents in Elasticsearch, where one is configured and answers, else from the newest exchanges of
this worker's partitions.
"""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from app.core.counts.accounts import Pair
from app.core.events import Identity
from app.core.outputs.examples import (
    INDEX,
    Wanted,
    example_of,
    examples_in,
    filters_of,
    pair_examples_in,
    pair_examples_of,
    wanted_filters,
)
from app.core.outputs.shapes import Example, Examples, PairExample, PairExamples
from app.worker.elasticsearch.search import Hit, Search, SearchError
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.guard import shortened
from app.worker.http.looking import look
from app.worker.http.routes.asked import count_of, model_in_path
from app.worker.http.routes.comparisons import CURRENT, SHADOW, pair_asked
from app.worker.http.routes.route import KEY, Parameter, Route
from app.worker.running import Running

_MOST: Final = 500
#: Documents of the leg that was wrong, among which the other one's are looked for.
_MOST_WRONG: Final = 1000
_NEWEST: Final = [{"@timestamp": {"order": "desc", "unmapped_type": "date"}}]
_LIMIT: Final = Parameter("limit", "How many rows.", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": 20})
_ACTUAL: Final = Parameter("actual", "Only rows with this label; with no `predicted` either, rows that are not right.")
_PREDICTED: Final = Parameter("predicted", "Only rows for which this was predicted.")
_RIGHT: Final = Parameter(
    "right", "Which of the two was right; by default either.", {"type": "string", "enum": ["current", "shadow"]}
)


class ExampleRoutes:
    """The routes. `search` is None where no Elasticsearch is configured."""

    def __init__(self, started: Callable[[], Running], search: Search | None) -> None:
        self._started = started
        self._search = search

    def routes(self) -> list[Route]:
        """The rows."""
        return [
            Route(
                "GET",
                "/api/models/{key:.+}/examples",
                self.examples,
                "Rows of a cell of a model's confusion, or rows that were not right.",
                Examples,
                (KEY, _ACTUAL, _PREDICTED, _LIMIT),
                (404,),
            ),
            Route(
                "GET",
                "/api/comparisons/examples",
                self.pair_examples,
                "Rows of which only one of two legs was right.",
                PairExamples,
                (CURRENT, SHADOW, _RIGHT, _LIMIT),
                (404,),
            ),
        ]

    async def examples(self, request: web.Request) -> web.Response:
        """`GET /api/models/{key}/examples`."""
        running = self._started()
        identity = model_in_path(request, running.readings, "/examples")
        wanted = Wanted(request.query.get("actual"), request.query.get("predicted"))
        limit = count_of(request, "limit", 20, _MOST)
        trouble = ""
        if self._search is not None:
            try:
                filters = [*filters_of(identity), *wanted_filters(wanted)]
                hits = await self._search.find(INDEX, {"bool": {"filter": filters}}, sort=_NEWEST, most=limit)
                documents: Examples = {"examples": [*_readable(hits)], "source": "elasticsearch", "note": None}
                return json_response(documents)
            except SearchError as error:
                trouble = f"{error} "
        found, looked = await look(running.lane, lambda known: examples_in(known, identity, wanted), limit)
        found.sort(key=lambda one: -(one["time_at"] or 0))
        exchanges: Examples = {"examples": found, "source": "exchanges", "note": trouble + looked.sentence()}
        return json_response(exchanges)

    async def pair_examples(self, request: web.Request) -> web.Response:
        """`GET /api/comparisons/examples`."""
        running = self._started()
        pair = pair_asked(request, running.readings)
        right = request.query.get("right")
        if right not in (None, "current", "shadow"):
            raise AnswerError(400, f"right: {shortened(right)!r} is neither current nor shadow.")
        limit = count_of(request, "limit", 20, _MOST)
        trouble = ""
        if self._search is not None:
            try:
                rows: list[PairExample] = []
                for one in ("current", "shadow") if right is None else (right,):
                    rows += await self._pair_documents(self._search, pair, one, limit)
                rows.sort(key=lambda row: -(row["time_at"] or 0))
                documents: PairExamples = {"examples": rows[:limit], "source": "elasticsearch", "note": None}
                return json_response(documents)
            except SearchError as error:
                trouble = f"{error} "
        found, looked = await look(running.lane, lambda known: pair_examples_in(known, pair, right), limit)
        found.sort(key=lambda row: -(row["time_at"] or 0))
        exchanges: PairExamples = {"examples": found, "source": "exchanges", "note": trouble + looked.sentence()}
        return json_response(exchanges)

    async def _pair_documents(self, search: Search, pair: Pair, right: str, limit: int) -> list[PairExample]:
        wrong_leg, right_leg = (pair.second, pair.first) if right == "current" else pair
        wrong = await search.find(INDEX, _verdicts(wrong_leg, correct=False), sort=_NEWEST, most=_MOST_WRONG)
        puids = [*{hit.body.get("RequestId") for hit in wrong}]
        query = _verdicts(right_leg, correct=True)
        query["bool"]["filter"].append({"terms": {"RequestId": puids}})
        rights = await search.find(INDEX, query, sort=_NEWEST, most=_MOST_WRONG) if puids else []
        pairs = ([(hit.place[1], hit.body) for hit in hits] for hits in (wrong, rights))
        return [*pair_examples_of(right, *pairs)][:limit]


def _verdicts(leg: Identity, *, correct: bool) -> dict[str, Any]:
    return {"bool": {"filter": [*filters_of(leg), {"term": {"verdict.correct": correct}}]}}


def _readable(hits: list[Hit]) -> list[Example]:
    """The rows of documents; those that nobody of Tally's has written are left out."""
    found = []
    for hit in hits:
        try:
            found.append(example_of(hit.place[1], hit.body))
        except (LookupError, TypeError, ValueError):
            continue
    return found
