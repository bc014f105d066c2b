"""The newest version of a model against the one before it, by the classes that each names."""

import pytest

from app.core.counts.panes import Window
from app.core.drift.distances import chi2_p, js, psi
from app.core.outputs.versions import versions_report
from app.core.rules import Rules
from tests.builders import START, Ledger, Record, a_feedback, a_request, a_response


def answers(version: str, at: float, *classes: object) -> list[Record]:
    return [
        a_response(name, puid=f"{version}-{at}-{number}", at=at, version=version) for number, name in enumerate(classes)
    ]


def report(*records: Record, now: float = 0, least_count: int = 2) -> list[dict[str, object]]:
    ledger = Ledger(Rules(least_count=least_count), windows=(Window("5m", 300),)).absorb(*records).cut()
    return versions_report(ledger.readings(), START + now)


def test_the_newest_version_is_held_against_all_that_the_one_before_has_answered() -> None:
    old = answers("1", 1, "cat", "cat", "dog", "dog")
    first, second = answers("2", 4000, "cat", "dog"), answers("2", 8000, "dog", "dog", "eel")
    (found,) = report(*answers("0", 0.5, "eel"), *second, *first, *old, a_feedback("cat", puid="1-1-0"), now=8001)
    assert [found[side]["model_version"] for side in ("before", "after")] == ["1", "2"]  # type: ignore[index]
    assert found["rows_before"] == 4
    before, total, window = (2, 2, 0), (1, 3, 1), (0, 2, 1)
    assert found["windows"] == {
        name: {
            "rows": sum(after),
            "psi": pytest.approx(psi(before, after)),
            "js": pytest.approx(js(before, after)),
            "chi2_p": pytest.approx(chi2_p(before, after)),
            "drifted": False,
        }
        for name, after in (("total", total), ("5m", window))
    }


def test_a_version_that_answers_otherwise_has_drifted() -> None:
    (found,) = report(*answers("1", 1, *["cat"] * 50), *answers("2", 100, *["dog"] * 50), now=9000)
    assert found["windows"]["total"]["drifted"] is True  # type: ignore[index]
    assert found["windows"]["5m"] == dict.fromkeys(("psi", "js", "chi2_p", "drifted")) | {"rows": 0}  # type: ignore[index]


@pytest.mark.parametrize(
    "records",
    [
        [],
        answers("1", 1, "cat"),
        [a_request(puid="asked"), *answers("1", 1, "cat")],
        [*answers("1", 1, 1.5, 2.5), *answers("2", 100, 1.5)],
    ],
)
def test_a_model_of_one_version_or_that_measures_is_left_out(records: list[Record]) -> None:
    assert report(*records) == []
