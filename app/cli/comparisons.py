"""Where `tally compare` finds the comparisons: a worker that runs, or what workers have written to Elasticsearch."""

import warnings
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import aiohttp
import orjson
from elastic_transport import TransportError
from elasticsearch import ApiError, ElasticsearchWarning, NotFoundError
from yarl import URL

from app.cli.ends import InputError
from app.core.counts.panes import TOTAL
from app.core.outputs.compared import INDEX
from app.exporters.elasticsearch.client import connect, sentence
from app.settings import Settings
from app.worker.asking import session

_SECONDS: Final = 10.0
#: Documents of one answer.
_PAGE: Final = 1000
_OF_VERSIONS: Final = frozenset({"before", "after", "sentence", "windows", "scores", "scores_before"})
_FIELDS: Final = frozenset({"current", "shadow", "sentence", "classes", "windows"})


class Kept(NamedTuple):
    """A comparison as `/api/comparisons` says it, and when that was: RFC 3339, empty where it is now."""

    report: Mapping[str, Any]
    written: str = ""


async def _asked(address: str, path: str, settings: Settings) -> Any:
    """What a worker answers. Raises InputError where it does not."""
    token = settings.http_token
    try:
        async with session(settings, _SECONDS) as asks, asks.get(URL(f"{address}{path}", encoded=True)) as reply:
            if reply.status == HTTPStatus.UNAUTHORIZED:
                what = "is not" if token else "is missing here: set it to"
                raise InputError(f"TALLY_HTTP_TOKEN {what} that of the worker at {address}.")
            return orjson.loads(await reply.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No worker answers at {address} ({type(error).__name__}): start one with `tally worker`, or name one's "
            "address with --url."
        ) from None


async def of_worker(address: str, settings: Settings) -> list[Kept]:
    """All comparisons that a worker knows. Raises InputError where it does not say them."""
    answer = await _asked(address, "/api/comparisons", settings)
    try:
        return [Kept(_report(one)) for one in answer["comparisons"]]
    except (LookupError, TypeError, AttributeError):
        said = answer.get("error") if isinstance(answer, dict) else None
        raise InputError(f"{address} is no worker that compares: {said or 'its answer is another one.'}") from None


async def models_of_worker(address: str, settings: Settings) -> list[Mapping[str, str]]:
    """All models that a worker knows, by the names of `/api/overview`. Raises InputError where it does not say them."""
    answer = await _asked(address, "/api/overview", settings)
    try:
        return [dict(one) for one in answer["models"]]
    except (LookupError, TypeError, ValueError):
        raise InputError(f"{address} is no worker that knows models: its answer is another one.") from None


async def versions_of_worker(address: str, before: str, after: str, settings: Settings) -> Mapping[str, Any]:
    """What a worker says of two versions of a model, by their keys. Raises InputError where it says nothing."""
    asked = urlencode({"before": before, "after": after})
    answer = await _asked(address, f"/api/comparisons/versions?{asked}", settings)
    if not isinstance(answer, dict) or not answer.keys() >= _OF_VERSIONS:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise InputError(f"{address}: {said or 'its answer is another one.'}")
    return answer


async def of_elasticsearch(settings: Settings) -> list[Kept]:
    """All comparisons that are in Elasticsearch, as they were written last.

    Raises InputError where it does not say them, SettingsError where the certificates cannot be read.
    """
    warnings.simplefilter("ignore", ElasticsearchWarning)
    found: list[Kept] = []
    client = connect(settings)
    asking = client.options(request_timeout=_SECONDS)
    after: list[Any] | None = None
    try:
        while True:
            reply = await asking.search(
                index=INDEX,
                query={"term": {"window": TOTAL}},
                sort=["current.identity", "shadow.identity"],
                source_includes=["report", "end"],
                size=_PAGE,
                search_after=after,
            )
            hits = reply.body["hits"]["hits"]
            found += [Kept(_report(hit["_source"]["report"]), hit["_source"]["end"]) for hit in hits]
            if len(hits) < _PAGE:
                return found
            after = hits[-1]["sort"]
    except NotFoundError:
        raise InputError(
            f"Elasticsearch at {settings.elasticsearch_url} has no index {INDEX}: a worker with "
            "TALLY_ELASTICSEARCH_URL makes it once two models have answered the same request."
        ) from None
    except (TransportError, ApiError) as error:
        raise InputError(sentence(error, settings)) from None
    except (LookupError, TypeError, AttributeError):
        raise InputError(
            f"{INDEX} in Elasticsearch at {settings.elasticsearch_url} has documents that no worker has written: name "
            "the Elasticsearch that the workers write to."
        ) from None
    finally:
        await client.close()


def _report(said: Any) -> Mapping[str, Any]:
    """A comparison as `/api/comparisons` says it. Raises an error of many kinds where it is none."""
    if not said.keys() >= _FIELDS:
        raise LookupError
    report: Mapping[str, Any] = said
    return report
