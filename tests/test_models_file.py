"""The YAML file: what it says per model, and the sentence where it is wrong."""

from pathlib import Path

import pytest

from app.core.events import Leg
from app.core.rules import DEFAULT_RULES, Rulebook, Rules
from app.models_file import ModelEntry, load_rulebook
from app.settings import SettingsError


def rulebook_of(folder: Path, text: str | bytes) -> Rulebook:
    file = folder / "tally.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rulebook(file)


WHOLE = """
models:
  - match: "seldon/binary-perf/*"
    task: binary
    positive: "1"
    threshold: 0.4
    classes: ["0", "1"]
    scored_model: classifier
    shadow: [shadow, größer]
    least_count: 50
"""


def test_an_entry_with_everything(tmp_path: Path) -> None:
    (rules,) = rulebook_of(tmp_path, WHOLE).entries
    assert rules == Rules(
        match="seldon/binary-perf/*",
        task="binary",
        positive="1",
        threshold=0.4,
        classes=("0", "1"),
        scored_model="classifier",
        shadow=("shadow", "größer"),
        least_count=50,
    )


def test_the_defaults_of_an_entry_are_those_of_a_model_without_one() -> None:
    assert ModelEntry(match="*").rules() == DEFAULT_RULES
    assert DEFAULT_RULES.shadow == ("shadow",)


def test_the_first_entry_that_matches_holds(tmp_path: Path) -> None:
    rulebook = rulebook_of(
        tmp_path,
        """
models:
  - {match: "ns/one/default/*", threshold: 0.1}
  - {match: "ns/*", threshold: 0.2}
  - {match: "*/m", threshold: 0.3}
""",
    )
    assert rulebook.of(Leg("ns", "one", "default", "m")).threshold == 0.1
    assert rulebook.of(Leg("ns", "one", "shadow", "m")).threshold == 0.2
    assert rulebook.of(Leg("ns", "two", "", "")).threshold == 0.2
    assert rulebook.of(Leg("other", "one", "default", "m")).threshold == 0.3
    assert rulebook.of(Leg("other", "one", "default", "n")) is DEFAULT_RULES
    assert rulebook.of(Leg("NS", "one", "default", "n")) is DEFAULT_RULES


@pytest.mark.parametrize("text", ["", "models: []\n", "# nothing\n"])
def test_an_empty_file_has_no_rules(tmp_path: Path, text: str) -> None:
    assert rulebook_of(tmp_path, text).entries == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [{match: '*', colour: red}]", "models.0.colour"),
        ("models: [{match: '*'}, {match: '*', limits: {accuracy: 0.9}}]", "models.1.limits"),
        ("model: []", "model"),
        ("models: [{task: binary}]", "models.0.match"),
        ("models: [{match: '*', task: ranking}]", "models.0.task"),
        ("models: [{match: '*', threshold: 1.5}]", "models.0.threshold"),
        ("models: [{match: '*', threshold: high}]", "models.0.threshold"),
        ("models: [{match: '*', positive: 1}]", "models.0.positive"),
        ("models: [{match: '*', classes: [0, 1]}]", "models.0.classes.0"),
        ("models: [{match: '*', shadow: shadow}]", "models.0.shadow"),
        ("models: [{match: '*', least_count: 0}]", "models.0.least_count"),
        ("models: {match: '*'}", "models"),
        ("- match: '*'", "tally.yaml"),
        ("models", "tally.yaml"),
        ("models: [\n{match: '*'\n", "line"),
        ("models:\n\t- match: '*'\n", "line 2"),
        ("models: &a [*a]", "tally.yaml"),
        (b"models: [{match: '\xff'}]", "tally.yaml"),
        (b"models: [{match: '\x00'}]", "tally.yaml"),
        ("a: 1\n---\nb: 2\n", "tally.yaml"),
    ],
)
def test_a_wrong_file_is_named_in_one_sentence(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(tmp_path, text)
    sentence = str(error.value)
    assert sentence.startswith("TALLY_CONFIG: ")
    assert str(tmp_path / "tally.yaml") in sentence
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SettingsError, match=rf"^TALLY_CONFIG: {path} cannot be read \(.+\)\.$"):
            load_rulebook(path)


def test_without_a_file_there_are_no_rules() -> None:
    assert load_rulebook(None) == Rulebook()


def test_the_digest_tells_files_apart_that_mean_something_else(tmp_path: Path) -> None:
    digest = rulebook_of(tmp_path, WHOLE).digest
    assert digest
    assert rulebook_of(tmp_path, WHOLE.replace("least_count: 50", "least_count:   50  # enough")).digest == digest
    for old, new in (("0.4", "0.5"), ('"1"\n', '"0"\n'), ("binary-perf", "other"), ("[shadow,", "[")):
        assert rulebook_of(tmp_path, WHOLE.replace(old, new)).digest != digest
    two = "models: [{match: a}, {match: b}]"
    assert rulebook_of(tmp_path, two).digest != rulebook_of(tmp_path, "models: [{match: b}, {match: a}]").digest
