"""A replay compares with the first rows as workers do that have read the same, by any number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.drift.first import first_of, record_of, time_and_rows, until_of
from app.core.drift.recording import Asked
from app.core.join.deciding import decide
from app.core.rules import Rulebook
from app.replay import mixture
from app.replay.first_rows import earliest
from tests.core.join.test_firsts import Job, M, pair, rules
from tests.replay.test_files import line, tally, written

FIRST = 100
SOME = [*(record for n in range(130) for record in pair(f"p{n}", n, n % 90, "DE" if n % 3 else "FR"))]
#: A request of the first rows comes again with other values, and an answer is of another version.
CHANGED = [*pair("p3", 3.5, 91, "IT"), *pair("p4", 4.5, 20, version="2")]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TALLY_"):
            monkeypatch.delenv(name)


def config(folder: Path) -> str:
    file = folder / "tally.yaml"
    file.write_text(f"models: [{{match: '*', least_count: 1, reference: {{first: {FIRST}}}}}]")
    return str(file)


def bins_of(models: Any, version: str = "") -> dict[str, list[tuple[str, int, int]]]:
    (model,) = (one for one in models if one["model_version"] == version)
    return {
        one["feature"]: [(it["bin"], it["reference"], it["rows"]) for it in one["bins"]]
        for one in model["windows"]["total"]["drift"]
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_it_says_what_a_worker_says(processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "_WORTH_PROCESSES", 10)
    records = [*SOME, *CHANGED]
    Random(5).shuffle(records)
    job = Job(rules(FIRST), partitions=2).tell(*records).finish(1000)
    file = written(tmp_path, [line(record) for record in records])
    done = tally(
        file, "--format", "json", "--processes", str(processes), TALLY_CONFIG=config(tmp_path),
        TALLY_NOW="2026-11-21T07:30:00Z",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    found = bins_of(content["models"])
    assert found == {name: job.reading().bins(name) for name in ("age", "country", "(prediction)")}
    assert sum(rows for _, _, rows in found["age"]) == 129 - FIRST
    (second,) = (one for one in content["models"] if one["model_version"] == "2")
    assert second["reference"] == {"digest": None, "first": FIRST, "gathered": 1}
    assert not any("first rows" in note for note in content["notes"])


def test_of_a_stretch_that_begins_later_the_first_rows_are_its_own_which_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, [line(record) for record in SOME])
    done = tally(file, "--from", "2026-11-21T07:00:20Z", "--format", "json", TALLY_CONFIG=config(tmp_path))
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert sum(rows for _, _, rows in bins_of(content["models"])["age"]) == 130 - 20 - FIRST
    assert content["notes"] == [
        "References of first rows are made of this stretch: workers that have read what was before it have others."
    ]


def test_the_tables_say_how_far_each_distribution_is(tmp_path: Path) -> None:
    file = written(tmp_path, [line(record) for record in SOME])
    done = tally(file, TALLY_CONFIG=config(tmp_path))
    assert done.exit_code == 0, done.output
    _, head, _, *rows = done.stdout[done.stdout.index("drift from the reference, in total") :].splitlines()
    assert head.split() == ["of", "rows", "PSI", "Jensen-Shannon", "KS", "p", "(chi-square)", "p", "(KS)", "drifted"]
    told = {row.split()[0]: row.split()[1:] for row in rows if row.strip()}
    assert {name: (own[0], own[-1]) for name, own in told.items()} == {
        "age": ("30", "yes"), "country": ("30", "no"), "(prediction)": ("30", "no"),
    }  # fmt: skip


def test_standard_input_is_read_once_and_compared_with_nothing_which_is_said(tmp_path: Path) -> None:
    given = "".join(f"{line(record)}\n" for record in SOME)
    done = subprocess.run(
        [sys.executable, "-m", "app", "replay", "-", "--format", "json"],
        input=given, capture_output=True, text=True, check=True, env=os.environ | {"TALLY_CONFIG": config(tmp_path)},
    )  # fmt: skip
    content = json.loads(done.stdout)
    assert content["models"][0]["reference"] == {"digest": None, "first": FIRST, "gathered": 130}
    assert content["notes"] == [
        "Nothing is compared with first rows: standard input can be read only once, give a file."
    ]


records_of_rows = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 4)).map(lambda one: record_of(one[0], Asked(1, [[7]] * one[1]), ())),
    max_size=40,
)


@given(records_of_rows, st.integers(1, 6))
def test_the_earliest_rows_make_the_reference_that_all_would_make(records: list[bytes], first: int) -> None:
    book = Rulebook((rules(first),))
    found = earliest(((M, record) for record in records), book)
    until = until_of(records, first)
    decide(found, book)
    reference = book.entries[0].reference
    assert reference is not None
    if until is None:
        assert sorted(found.get(M, [])) == sorted(records)
        assert reference.versions == {}
    else:
        assert all(record in records for record in found[M])
        made = first_of(records, until)
        version = reference.versions[M]
        assert (version.live.reference, version.until) == (made.reference, made.until)
        assert all(time_and_rows(record)[0] <= until for record in found[M])
