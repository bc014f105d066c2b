"""Files of labels: each form as it is written, and what is wrong with them in one sentence."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from app.cli.labels.statements import COLUMNS, LEG, Stated, Statements
from app.cli.labels.tables import open_table
from app.commands.tally import main

TIME = 1_795_244_400_000_000  # 2026-11-21T07:00:00Z
NAN, INF = float("nan"), float("inf")


def stated(
    file: Path, *, empty: tuple[str, ...] = (), **columns: str
) -> tuple[list[Stated], list[tuple[int, str]], int]:
    """What a file states, what is bad in it, and how many lines say nothing."""
    table = open_table(str(file), None, None)
    names = {what: name for what, name in COLUMNS.items() if name in table.columns}
    statements = Statements(names, {}, time=TIME, longest=200, largest=9_000, of_texts=table.of_texts)
    found: list[Stated] = []
    bad: list[tuple[int, str]] = []
    for piece in table.pieces(list(names.values())):
        bad += piece.bad
        found += statements.of(piece, bad)
    return found, sorted(bad), statements.silent


def told(some: list[Stated]) -> list[tuple[str, Any]]:
    """Puid and body of statements."""
    return [(dict(one.event.headers)["ce_requestid"].decode(), orjson.loads(one.event.value)) for one in some]


def label(value: Any) -> dict[str, Any]:
    return {"truth": {"data": {"ndarray": value if type(value) is list else [value]}}}


# -- forms ------------------------------------------------------------------------------------------------------------

CSV: dict[str, str] = {
    "plain": "puid,label\na,1\nb,cat\n",
    "semicolons": "puid;label\na;1\nb;cat\n",
    "tabs": "label\tpuid\n1\ta\ncat\tb\n",
    "pipes and other columns": "x|puid|label\n,|a|1\n;|b|cat\n",
    "quotes": '"puid","label"\n"a","1"\n"b","cat"',
    "Windows": "\ufeffpuid,label\r\na,1\r\n\r\nb,cat\r\n",
    "blanks in the header": " puid , label \na,1\nb,cat\n",
}


@pytest.mark.parametrize("text", CSV.values(), ids=CSV)
def test_csv_is_read_as_it_is_written(text: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / "labels.csv", tmp_path / "labels.csv.gz"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    for file in (plain, packed):
        found, bad, _ = stated(file)
        assert (told(found), bad) == ([("a", label(1)), ("b", label("cat"))], [])


def test_a_field_of_csv_may_hold_what_separates(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text('puid,label,reward\n"a,b","say ""no""",\nc,"two\nlines",0.5\n')
    found, bad, _ = stated(file)
    assert told(found) == [("a,b", label('say "no"')), ("c", label("two\nlines") | {"reward": 0.5})]
    assert ([one.number for one in found], bad) == ([2, 3], [])


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    lines: list[dict[str, Any]] = [
        {"puid": "a", "label": 1, "more": {"x": 1}},
        {"puid": "b", "label": "1"},
        {"puid": "c", "label": [1, None]},
        {"puid": "d", "label": [[0.1, 0.9]]},
        {"puid": "e", "label": True, "reward": False},
        {"puid": "f", "label": None, "reward": 0},
        {"puid": "g", "label": None},
        {"puid": "h", "label": ""},
    ]
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, lines)))
    found, bad, silent = stated(file)
    assert told(found) == [
        ("a", label(1)),
        ("b", label("1")),
        ("c", label([1, None])),
        ("d", label([[0.1, 0.9]])),
        ("e", label(True) | {"reward": False}),
        ("f", {"reward": 0}),
        ("h", label("")),
    ]
    assert (bad, silent) == ([], 1)


def test_parquet_keeps_its_types_and_integers_with_gaps_are_integers(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    columns = {
        "puid": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
        "label": pa.array([1, None, 3, 4], pa.int64()),
        "reward": pa.array([1.0, 0.5, NAN, None], pa.float64(), from_pandas=False),
        "time": pa.array([TIME * 1000 + 999] * 4, pa.timestamp("ns")),
    }
    parquet.write_table(pa.table(columns), file, row_group_size=2)
    found, bad, _ = stated(file)
    assert told(found) == [
        ("a", label(1) | {"reward": 1.0}),
        ("b", {"reward": 0.5}),
        ("c", label(3)),
        ("d", label(4)),
    ]
    assert ([one.number for one in found], bad) == ([1, 2, 3, 4], [])
    assert {dict(one.event.headers)["ce_time"] for one in found} == {b"2026-11-21T07:00:00.000000Z"}


# -- the command ------------------------------------------------------------------------------------------------------


def feedback(*arguments: str | Path, **environment: str) -> Result:
    away = {"TALLY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return CliRunner().invoke(main, ["feedback", *map(str, arguments)], env=away | environment, prog_name="tally")


def sentence(result: Result) -> str:
    """The one sentence with which the command ends."""
    assert (result.stdout, result.exit_code) == ("", 2), result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("tally: ")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", b"", "l.csv is empty: a CSV file begins with the names of its columns."),
        ("l.csv", b"id,y\na,1\n", "l.csv has no column puid: name it with --puid-column; it has id, y."),
        ("l.csv", b"puid,y\na,1\n", "l.csv has no column label and none reward: name one with --label-column or "),
        ("l.csv", b"puid,label,label\na,1,2\n", "l.csv has several columns label (--label-column names another)."),
        ("l.csv", b"puid,label\na,1\nb\n", "nothing was sent (line 3 has 1 fields, and the header has 2): mend them"),
        ("l.csv", b"puid,label\na,1\n,2\n", "l.csv: 1 of 2 lines cannot be used, so nothing was sent (line 3 has "),
        ("l.csv", b"puid,label\n,2\n", "let --skip-bad leave them out and write them to l.csv.bad.jsonl."),
        ("l.csv", b"puid,label\n" + b",1\n" * 9, "; line 3 has no puid; line 4 has no puid and 6 more)"),
        ("l.csv", b'puid,label\na,"1\n', "l.csv cannot be read on from line 2 (unexpected end of data)."),
        ("l.csv", b"puid,label\na," + b"x" * (2 << 20), "from line 2 (field larger than field limit (1048576))."),
        ("l.csv", b"puid,label\n\xff,1\n", "line 2 has a puid that can be none: "),
        ("l.csv.gz", b"no gzip", "l.csv.gz cannot be read (Not a gzipped file "),
        ("l.csv.gz", gzip.compress(b"puid,label\n" + b"a,1\n" * 9999, mtime=0)[:-20], "end-of-stream marker"),
        ("l.jsonl", b'{"puid": "a", "label": 1}\n{"puid"\n[]\n', "2 of 3 lines cannot be used, so nothing was "),
        ("l.jsonl", b'{"puid": "a", "label": 1}\n[]\n', "(line 2 is no JSON object)"),
        ("l.jsonl", b'{"puid": "a", "label": 1}\n{', "(line 2 is no JSON ("),
        ("l.jsonl", b'{"id": 1}\n', "l.jsonl has no column puid: name it with --puid-column; it has id."),
        ("l.jsonl", b"", "l.jsonl has no column puid: "),
        ("l.parquet", b"PAR1", "l.parquet is no Parquet file that can be read ("),
        ("l.parquet", b"", "l.parquet is no Parquet file that can be read ("),
        ("labels", b"puid,label\n", "labels does not say by its name what it is: give --format csv|jsonl|parquet."),
        ("l.gz", b"puid,label\n", "l.gz does not say by its name what it is: "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_sentence(
    name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    assert said in sentence(feedback("--file", name))


OF_FILES = ("--format csv", "--delimiter ;", "--empty x", "--dry-run", "--skip-bad", "--no-wait")
OF_COLUMNS = tuple(f"--{what}-column" for what in (*COLUMNS, *LEG))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "Give the puid of a prediction, or --file with the labels of many."),
        ("p --file l.csv", "Give --file or a puid, not both: a file says it in its columns."),
        ("--file l.csv --label 1", "Give --file or --label, not both: "),
        ("--file l.csv --reward 1", "Give --file or --reward, not both: "),
        ("--file l.csv --row 0", "Give --file or --row, not both: "),
        ("--file l.csv --null-label", "Give --file or --null-label, not both: "),
        ("--file l.csv --null-reward", "Give --file or --null-reward, not both: "),
        *((f"p --label 1 {word}", f"{word.split()[0]} is for a file: give --file too.") for word in OF_FILES),
        *((f"p --label 1 {word} x", f"{word} is for a file: give --file too.") for word in OF_COLUMNS),
        *((f"--file l.csv {word} x", f"l.csv has no column x ({word}); it has puid, label.") for word in OF_COLUMNS),
        ("--file none.csv", "none.csv cannot be read (No such file or directory)."),
        ("--file .", ". does not say by its name what it is: "),
        ("--file . --format csv", ". cannot be read (Is a directory)."),
        ("--file -", "--file must name a file: it is read twice, and standard input cannot be."),
        ("--file /dev/null --format csv", "/dev/null is no regular file: it is read twice, so a pipe will not do."),
        ("--file l.csv --delimiter ;;", "--delimiter must be one character, like ; (got ';;')."),
        ('--file l.csv --delimiter "', "--delimiter must be one character, like ; "),
        ("--file l.jsonl --delimiter ;", "--delimiter is for CSV, and l.jsonl is jsonl."),
        ("--file l.csv --service s --service-column label", "Give --service or --service-column, not both."),
        ("--file l.csv --time noon", "--time must be a time like 2026-11-21T07:00:00Z (got 'noon')."),
        ("--file l.csv --time 2026-11-21 --time-column label", "Give --time or --time-column, not both."),
        ("--file l.csv --service \udcff", "What is given must be UTF-8."),
        ("--file l.csv", "No Kafka broker answers at 127.0.0.1:1: "),
    ],
)
def test_what_is_wrong_with_the_options_is_one_sentence(
    options: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("l.csv").write_text("puid,label\na,1\n")
    Path("l.jsonl").write_text('{"puid": "a", "label": 1}\n')
    assert said in sentence(feedback(*options.split()))


def test_a_dry_run_reads_all_and_shows_what_it_would_send(tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_text("id,y,note\n" + "".join(f"p{number},{number % 2},\n" for number in range(5_000)) + "q,NULL,\nr,,\n")
    result = feedback("--file", file, "--puid-column", "id", "--label-column", "y", "--empty", "NULL", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "labels: 0 2500, 1 2500\n" in result.stdout
    assert "would send 5000 statements to inference-feedback; nothing was sent\n" in result.stdout
    assert "left out: 2 lines without a label and a reward\n" in result.stdout
    assert re.search(r"^p4 +0 +- +20\d\d-", result.stdout, re.MULTILINE)


def test_a_dry_run_refuses_what_would_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_text("puid,label\na,1\n,2\n")
    assert "1 of 2 lines cannot be used, so nothing was sent" in sentence(feedback("--file", file, "--dry-run"))
    result = feedback("--file", file, "--dry-run", "--skip-bad")
    assert "would send 1 statement to" in result.stdout
    assert "left out: 1 line that cannot be used" in result.stdout
    assert not (tmp_path / "l.csv.bad.jsonl").exists()


def test_parquet_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    file = tmp_path / "l.parquet"
    file.write_bytes(b"PAR1")
    assert sentence(feedback("--file", file)) == "Parquet needs pyarrow: `pip install 'tally[parquet]'`, or bring CSV."
