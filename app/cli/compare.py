"""`tally compare`: is the shadow better? A worker is asked; the exit code is for a promotion pipeline."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson

from app.cli.ends import InputError
from app.cli.screen import screen, table
from app.settings import load_settings

_SECONDS: Final = 10.0
#: What the command returns for each verdict.
EXITS: Final = {"better": 0, "no difference": 1, "worse": 1, "not enough": 3}
_COLUMNS: Final = (
    "of",
    "samples",
    "only current right",
    "only shadow right",
    "difference",
    "95 % interval",
    "p",
    "p, one look",
    "verdict",
)
_UNDEFINED: Final = "-"

Legs = Mapping[str, str]


def compare(current: str, shadow: str, *, window: str, url: str | None, as_json: bool) -> int:
    """Print the comparison of two legs, which are named by patterns, and return the exit code of its verdict."""
    settings = load_settings()
    address = (url or f"http://127.0.0.1:{settings.web_port}").rstrip("/")
    known = asyncio.run(_ask(address, settings.http_token))
    found = [one for one in known if _fits(one["current"], current) and _fits(one["shadow"], shadow)]
    if not found:
        raise InputError(
            f"No comparison of {current} with {shadow}: the worker knows {_listed(known)}. Two are compared once both "
            "have answered the same request."
        )
    if len(found) > 1:
        raise InputError(f"{current} and {shadow} fit {len(found)} comparisons, name one: {_listed(found)}.")
    (one,) = found
    numbers = one["windows"].get(window)
    if numbers is None:
        raise InputError(f"--window: there is no {window}; there are {', '.join(one['windows'])}.")
    if as_json:
        print(orjson.dumps(one, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(one, window)
    return EXITS[numbers["verdict"]]


def _name(leg: Legs) -> str:
    names = "/".join(leg[name] for name in ("model_namespace", "model_service", "predictor", "model"))
    return f"{names}@{leg['model_version']}" if leg["model_version"] else names


def _fits(leg: Legs, pattern: str) -> bool:
    """Whether a leg is named: by its predictor, by `namespace/service/predictor/model`, or that with its version."""
    name = _name(leg)
    return any(fnmatchcase(text, pattern) for text in (leg["predictor"], name, name.partition("@")[0]))


def _listed(comparisons: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{_name(one['current'])} {_name(one['shadow'])}" for one in comparisons) or "none"


def _print(one: Mapping[str, Any], window: str) -> None:
    console = screen()
    rows = table(f"{_name(one['current'])} against {_name(one['shadow'])}", *_COLUMNS)
    for name, numbers in one["windows"].items():
        rows.add_row(*_row(name, numbers))
    for name, numbers in one["classes"].items():
        rows.add_row(*_row(f"class {name}", numbers))
    console.print(rows)
    said = one["sentence"] if window == "total" else f"{window}: {one['windows'][window]['verdict']}"
    console.print(said[:1].upper() + said[1:])


def _row(of: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    difference = "error_difference" if numbers["measures"] else "accuracy_difference"
    low, high = numbers[f"{difference}_low_always"], numbers[f"{difference}_high_always"]
    yield of
    for name in ("samples", "only_current_right", "only_shadow_right"):
        yield _shown(numbers.get(name), ",")
    yield _shown(numbers[difference], "+.4g")
    yield _UNDEFINED if low is None else f"{low:+.4g} to {high:+.4g}"
    yield _shown(numbers["p_value_always"], ".2g")
    yield _shown(numbers["p_value"], ".2g")
    yield numbers["verdict"]


def _shown(value: float | None, form: str) -> str:
    return _UNDEFINED if value is None else format(value, form)


async def _ask(address: str, token: str | None) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{address}/api/comparisons", headers=headers) as reply,
        ):
            if reply.status == HTTPStatus.UNAUTHORIZED:
                what = "is not" if token else "is missing here: set it to"
                raise InputError(f"TALLY_HTTP_TOKEN {what} that of the worker at {address}.")
            answer = orjson.loads(await reply.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No worker answers at {address} ({type(error).__name__}): start one with `tally worker`, or name one's "
            "address with --url."
        ) from None
    if not isinstance(answer, dict) or "comparisons" not in answer:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise InputError(f"{address} is no worker that compares: {said or 'its answer is another one'}")
    return list(answer["comparisons"])
