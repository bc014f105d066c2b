"""`tally dead-letters` without a broker: what is wrong with its arguments, and how a value is shown."""

import re

import pytest
from click.testing import CliRunner

from app.cli.letters.showing import value_lines
from app.commands.tally import main


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("list", "--reason", "bad"), "--reason: bad is no reason; the reasons are no-key, .*"),
        (("resend", "--reason", "bad"), "--reason: bad is no reason; the reasons are no-key, .*"),
        (("resend", "--since", "noon"), r"--since must be a time like 2026-11-21T07:00:00Z \(got 'noon'\)\."),
        (("resend", "--since", "99999999999999-01-01"), "--since must be a time like .*"),
        *(
            ((command, name), f"{re.escape(repr(name))} is no id of a dead letter: one looks like 3-1042, .*")
            for command in ("show", "resend")
            for name in ("3", "3-", "-1", "3-1042x", "3--1", "a-b", "٣-٤", "3-1042 ", "")
            if not name.startswith("-")
        ),
        (("drop",), "Say which letters are meant: ids, --reason or --since; or --all."),
        (("drop", "--all", "3-4"), "Give --all alone, or say with ids, --reason and --since which letters are meant."),
        (("drop", "--all", "--reason", "ragged"), "Give --all alone, .*"),
        (("drop", "3-4"), "Without a terminal to ask at, --yes is needed."),
        (("drop", "3x", "--yes"), "'3x' is no id of a dead letter: .*"),
        (("list",), "No Kafka broker answers at .*"),
        (("show", "3-4"), "No Kafka broker answers at .*"),
        (("resend",), "No Kafka broker answers at .*"),
        (("drop", "--all", "--yes"), "No Kafka broker answers at .*"),
    ],
)
def test_what_is_wrong_with_dead_letters_is_named(arguments: tuple[str, ...], sentence: str) -> None:
    away = {"TALLY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = CliRunner().invoke(main, ["dead-letters", *arguments], env=away, prog_name="tally")
    assert re.fullmatch(f"tally: {sentence}\n", result.stderr), result.output
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, []),
        (b"", []),
        (b'{"a":[1],"b":"\xc3\xa9"}', ["{", '  "a": [', "    1", "  ],", '  "b": "é"', "}"]),
        (b"plain\ttext\r\nof two lines", ["plain   text", "of two lines"]),
        (b"\x1b[31mred", ["1b 5b 33 31 6d 72 65 64"]),
        (b"\xff" * 40, [" ".join(["ff"] * 32), " ".join(["ff"] * 8)]),
        (bytes(600), [*[" ".join(["00"] * 32)] * 16, "and 88 bytes more: --raw writes all of them"]),
    ],
)
def test_the_value_of_a_letter_is_shown_as_it_can_be_read(value: bytes | None, lines: list[str]) -> None:
    assert value_lines(value) == lines
