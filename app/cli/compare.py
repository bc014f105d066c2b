"""`tally compare`: is the shadow better? A worker is asked, or Elasticsearch; the exit code is for a promotion
pipeline.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

from app.cli.client import run
from app.cli.comparisons import Kept, models_of_worker, of_elasticsearch, of_worker, versions_of_worker
from app.cli.ends import InputError
from app.cli.screen import counted, screen, table
from app.cli.telling import UNDEFINED, name_of, shown
from app.cli.versions import compare_versions, names_of
from app.core.clock import parse_time
from app.core.outputs.compared import INDEX
from app.settings import Settings, load_settings

#: A document that is older than so many seconds is said to be.
_OLD_SECONDS: Final = 60.0
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


def _of_this_machine(settings: Settings) -> str:
    """The address of its worker: with TLS the one that its certificate is for."""
    return f"http://127.0.0.1:{settings.web_port}" if settings.web_cert_file is None else settings.url


def compare(
    current: str, shadow: str, *, window: str, url: str | None, elasticsearch: str | None, as_json: bool
) -> int:
    """Print the comparison of two legs, which are named by patterns, and return the exit code of its verdict.

    `url` is a worker's address, `elasticsearch` that of the documents, empty for that of the settings; where there is
    neither the worker of this machine is asked.
    """
    if url is not None and elasticsearch is not None:
        raise InputError("--url and --elasticsearch: give one of them, a worker is asked or Elasticsearch.")
    settings = load_settings(**({"elasticsearch_url": elasticsearch} if elasticsearch else {}))
    address = (url or _of_this_machine(settings)).rstrip("/")
    if elasticsearch is None:
        source = "the worker"
        known = run(of_worker(address, settings))
        if "@" in current and "@" in shadow and not _fitting(known, current, shadow):
            versions = run(_versions(address, current, shadow, settings))
            if versions is not None:
                return compare_versions(versions, window, as_json=as_json)
    else:
        if settings.elasticsearch_url is None:
            raise InputError("TALLY_ELASTICSEARCH_URL is not set: set it, or give --elasticsearch an address.")
        source = f"{INDEX} in Elasticsearch at {settings.elasticsearch_url}"
        known = run(of_elasticsearch(settings))
    kept = _only(known, current, shadow, source)
    numbers = kept.report["windows"].get(window)
    if numbers is None:
        raise InputError(f"--window: there is no {window}; there are {', '.join(kept.report['windows'])}.")
    if as_json:
        print(orjson.dumps(kept.report, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(kept.report, window)
    _tell_age(kept, settings)
    return EXITS[numbers["verdict"]]


def _only(known: Iterable[Kept], current: str, shadow: str, source: str) -> Kept:
    """The comparison that the patterns name."""
    known = list(known)
    found = _fitting(known, current, shadow)
    if not found:
        raise InputError(
            f"No comparison of {current} with {shadow}: {source} knows {_listed(known)}. Two are compared once both "
            "have answered the same request; two versions of a model where each is named as model@version."
        )
    if len(found) > 1:
        raise InputError(f"{current} and {shadow} fit {len(found)} comparisons, name one: {_listed(found)}.")
    return found[0]


def _fitting(known: Iterable[Kept], current: str, shadow: str) -> list[Kept]:
    return [kept for kept in known if _fits(kept.report["current"], current) and _fits(kept.report["shadow"], shadow)]


async def _versions(address: str, before: str, after: str, settings: Settings) -> Mapping[str, Any] | None:
    """What is said of the two versions of one model that patterns name; None where they do not name just these."""
    models = [(one["key"], names_of(one)) for one in await models_of_worker(address, settings)]
    one, other = ([(key, leg) for key, leg in models if _fits(leg, pattern)] for pattern in (before, after))
    if len(one) != 1 or len(other) != 1 or one == other:
        return None
    (first, of_first), (second, of_second) = one[0], other[0]
    if {**of_first, "model_version": ""} != {**of_second, "model_version": ""}:
        return None
    return await versions_of_worker(address, first, second, settings)


def _tell_age(kept: Kept, settings: Settings) -> None:
    """Say of what was written a while ago that it was: nobody can tell whether workers still write."""
    written = parse_time(kept.written.encode())
    now = time.time() if settings.now is None else settings.now
    if written is not None and written / 1e6 < now - _OLD_SECONDS:
        print(
            f"As of {kept.written}: nothing that it says has changed since, or no worker has written.", file=sys.stderr
        )


def _fits(leg: Mapping[str, str], pattern: str) -> bool:
    """Whether a leg is named: by its predictor, by `namespace/service/predictor/model`, or that with its version."""
    name = name_of(leg)
    return any(fnmatchcase(text, pattern) for text in (leg["predictor"], name, name.partition("@")[0]))


def _listed(comparisons: Iterable[Kept]) -> str:
    return ", ".join(f"{name_of(one['current'])} {name_of(one['shadow'])}" for one, _ in comparisons) or "none"


def _print(one: Mapping[str, Any], window: str) -> None:
    console = screen()
    rows = table(f"{name_of(one['current'])} against {name_of(one['shadow'])}", *_COLUMNS)
    for name, numbers in one["windows"].items():
        rows.add_row(*_row(name, numbers))
    for name, numbers in one["classes"].items():
        rows.add_row(*_row(f"class {name}", numbers))
    console.print(rows)
    numbers = one["windows"][window]
    if numbers.get("prediction_psi") is not None:  # an older worker does not say it
        console.print(
            f"What they answer, on {counted(numbers['prediction_rows'], 'row')} whether labelled or not: PSI "
            f"{numbers['prediction_psi']:.3g}, Jensen-Shannon {numbers['prediction_js']:.3g}, p "
            f"{shown(numbers['prediction_chi2_p'], '.2g')} (chi-square).",
            soft_wrap=True,
        )
    if numbers.get("score_ks") is not None:
        console.print(
            f"Their probabilities, on {counted(numbers['score_rows'], 'row')}: Kolmogorov-Smirnov "
            f"{numbers['score_ks']:.3g}, p {shown(numbers['score_ks_p'], '.2g')}.",
            soft_wrap=True,
        )
    said = one["sentence"] if window == "total" else f"{window}: {one['windows'][window]['verdict']}"
    console.print(said[:1].upper() + said[1:])


def _row(of: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    difference = "error_difference" if numbers["measures"] else "accuracy_difference"
    low, high = numbers[f"{difference}_low_always"], numbers[f"{difference}_high_always"]
    yield of
    for name in ("samples", "only_current_right", "only_shadow_right"):
        yield shown(numbers.get(name), ",")
    yield shown(numbers[difference], "+.4g")
    yield UNDEFINED if low is None else f"{low:+.4g} to {high:+.4g}"
    yield shown(numbers["p_value_always"], ".2g")
    yield shown(numbers["p_value"], ".2g")
    yield numbers["verdict"]
