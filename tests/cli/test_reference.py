"""`tally reference`: training data in, a file of boxkite's form out, drawn; and what is refused in which words."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from app.core.drift.reference import Reference
from app.reference_file import read_reference
from tests.cli.test_cli import assert_sentence, tally

HEADER = ["id", "age", "country", "churned"]
ROWS: list[list[object]] = [
    [f"c{number}", 18 + number % 60, ("DE", "FR", None)[number % 3], number % 2 == 0] for number in range(300)
]


def training(folder: Path, form: str) -> Path:
    file = folder / f"training.{form}"
    if form == "csv":
        texts = [["" if cell is None else str(cell) for cell in row] for row in ROWS]
        file.write_text("\n".join(map(",".join, [HEADER, *texts])))
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS))
    else:
        columns = zip(*ROWS, strict=True)
        parquet.write_table(pa.table({name: list(column) for name, column in zip(HEADER, columns, strict=True)}), file)
    return file


def built(folder: Path, form: str, *more: str) -> Reference:
    output = folder / f"{form}.prom"
    result = tally("reference", "build", training(folder, form), "--output", output, *more)
    assert result.exit_code == 0, result.output
    return read_reference(output)


def test_a_reference_is_the_same_whatever_the_form_of_the_training_data(tmp_path: Path) -> None:
    found = [built(tmp_path, form, "--label", "churned", "--exclude", "id") for form in ("csv", "jsonl", "parquet")]
    assert found[0] == found[1] == found[2]
    age, country = found[0].features
    assert (age.name, age.kind, age.rows, age.edges[0], age.edges[-1]) == ("age", "continuous", 300, 18.0, 77.0)
    assert (country.categories, country.counts, country.missing) == (("DE", "FR"), (100, 100), 100)
    assert found[0].label is not None
    assert dict(zip(found[0].label.categories, found[0].label.counts, strict=True)) == {"0": 150, "1": 150}
    assert (found[0].prediction, found[0].score) == (None, None)


def test_features_stand_in_the_order_that_is_asked_for_and_are_what_is_asked_for(tmp_path: Path) -> None:
    found = built(tmp_path, "csv", "--feature", "country", "--feature", "age", "--categorical", "age", "--bins", "5")
    assert [(one.name, one.kind) for one in found.features] == [("country", "categorical"), ("age", "categorical")]
    few = built(tmp_path, "csv", "--feature", "age", "--bins", "4")
    assert len(few.features[0].edges) == 5


def test_a_reference_is_drawn(tmp_path: Path) -> None:
    built(tmp_path, "csv", "--label", "churned", "--exclude", "id")
    shown = tally("reference", "show", tmp_path / "csv.prom")
    assert shown.exit_code == 0
    assert re.search(r"^missing +100 +33\.3% +█+", shown.stdout, re.MULTILINE)
    assert re.search(r"^0 +age +continuous +300 +0 +11", shown.stdout, re.MULTILINE)
    assert re.search(r"^ +\(label\) +categorical", shown.stdout, re.MULTILINE)
    alone = tally("reference", "show", tmp_path / "csv.prom", "--feature", "age").stdout
    assert "≤ 77" in alone
    assert "country" not in alone


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--label", "truth"), r"--label truth: .* has no such column; it has id, age, country, churned\."),
        (("--prediction", "p"), "--prediction p: .* has no such column; .*"),
        (("--score", "p"), "--score p: .* has no such column; .*"),
        (("--feature", "Age"), "--feature Age: .* has no such column; .*"),
        (("--exclude", "x"), "--exclude x: .* has no such column; .*"),
        (("--categorical", "x"), "--categorical x: .* has no such column; .*"),
        (("--feature", "age", "--exclude", "age"), "--exclude age: it is a --feature too; it can be one of both."),
        (("--categorical", "age", "--continuous", "age"), "--continuous age: it is --categorical too; .*"),
        (("--exclude", "age", "--continuous", "age"), "--continuous age: this column is left out, so it has no kind."),
        (
            tuple(word for name in HEADER for word in ("--exclude", name)),
            ".* has no column left that could be a feature.",
        ),
        (("--bins", "1"), "Invalid value for '--bins': 1 is not in the range 2<=x<=100: see `tally reference build .*"),
        (("--categories", "many"), "Invalid value for '--categories': .*"),
        (("--format", "xml"), "Invalid value for '--format': .*"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_sentence(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    output = tmp_path / "out.prom"
    assert_sentence(tally("reference", "build", training(tmp_path, "csv"), "--output", output, *options), sentence)
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "a,b\n", r".*t\.csv has no rows: a reference is made of at least one\."),
        ("t.csv", "", r".*t\.csv is empty: .*"),
        ("t.csv", "a,b\n1,2\n3\n", r".*t\.csv, line 3 has 1 fields, and the header has 2: mend it, or take it out\."),
        ("t.csv", "a,a\n1,2\n", r".*t\.csv has two columns named 'a': give each its own name\."),
        ("t.csv", ",".join(f"c{n}" for n in range(1001)) + "\n", r".*t\.csv has 1,001 columns, and at most 1,000 .*"),
        ("t.jsonl", '{"a": 1}\n[1]\n', r".*t\.jsonl, line 2 is no JSON object: mend it, or take it out\."),
        ("t.parquet", "a,b\n", r".*t\.parquet is no Parquet file that can be read .*"),
        ("t.bin", "a", r".*t\.bin does not say by its name what it is: give --format csv\|jsonl\|parquet\."),
    ],
)
def test_training_data_that_cannot_be_used_is_said_in_a_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    assert_sentence(tally("reference", "build", tmp_path / name, "--output", tmp_path / "out.prom"), sentence)


def test_files_that_are_not_there_are_said_in_a_sentence(tmp_path: Path) -> None:
    file = training(tmp_path, "csv")
    assert_sentence(
        tally("reference", "build", file, "--output", tmp_path / "no" / "x.prom"), "--output .* cannot be .*"
    )
    assert_sentence(tally("reference", "build", "-", "--output", tmp_path / "x.prom"), "TRAINING must name a file: .*")
    assert_sentence(tally("reference", "build", tmp_path / "x.csv", "--output", "y"), r".*x\.csv cannot be read .*")
    assert_sentence(tally("reference", "show", tmp_path / "x.prom"), r".*x\.prom cannot be read \(No such file .*\)\.")
    assert_sentence(tally("reference", "show", file), r".*training\.csv is no text in Prometheus's format .*")
    built(tmp_path, "csv")
    assert_sentence(
        tally("reference", "show", tmp_path / "csv.prom", "--feature", "size"),
        r"--feature size: .*csv\.prom has no such feature; it has id, age, country, churned\.",
    )
