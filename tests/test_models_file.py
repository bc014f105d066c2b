"""The YAML file: what it says per model, and the sentence where it is wrong."""

import re
from pathlib import Path

import pytest

from app.core.drift.declared import Declared
from app.core.drift.reference import Reference
from app.core.events import Leg
from app.core.rules import DEFAULT_RULES, Rulebook, Rules
from app.models_file import ModelEntry, load_rulebook
from app.reference_file import read_reference
from app.settings import SettingsError


def rulebook_of(folder: Path, text: str | bytes) -> Rulebook:
    file = folder / "tally.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_rulebook(file)


#: Keys of the design whose features are not built yet.
NOT_BUILT = ("label_field",)
#: A thousand million values in a few lines.
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
WHOLE = """
models:
  - match: "seldon/binary-perf/*"
    task: binary
    positive: "1"
    threshold: 0.4
    classes: ["0", "1"]
    scored_model: classifier
    shadow: [shadow, größer]
    compare: [canary]
    least_count: 50
    limits: {accuracy: 0.9, recall/fraud: 1}
    intervals: true
    probabilities: false
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
        compare=("canary",),
        least_count=50,
        limits=(("accuracy", "", 0.9), ("recall", "fraud", 1.0)),
        intervals=True,
        probabilities=False,
    )


def test_the_defaults_of_an_entry_are_those_of_a_model_without_one() -> None:
    assert ModelEntry(match="*").rules() == DEFAULT_RULES
    assert DEFAULT_RULES.shadow == ("shadow",)


COUNTS = '# TYPE feature_0_value_baseline_total counter\nfeature_0_value_baseline_total{bin="a"} 3\n'


@pytest.mark.parametrize("written", ["histogram.prom", "{path: histogram.prom}", ".", "{path: ../here}"])
def test_a_reference_is_a_file_or_a_folder_from_the_folder_of_the_yaml_file_on(tmp_path: Path, written: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "histogram.prom").write_text(COUNTS)
    book = rulebook_of(folder, f"models:\n- {{match: 'a/*', least_count: 7, reference: {written}}}\n- match: 'b/*'")
    first, second = book.entries
    assert first.reference is not None
    assert first.reference.live.reference == read_reference(folder)
    assert first.reference.live.least_count == 7
    assert second.reference is None


def test_a_reference_may_be_of_the_first_rows_of_each_version(tmp_path: Path) -> None:
    (rules,) = rulebook_of(tmp_path, "models: [{match: '*', least_count: 7, reference: {first: 10000}}]").entries
    assert rules.reference is not None
    assert (rules.reference.path, rules.reference.first) == ("", 10_000)
    assert (rules.reference.live.reference, rules.reference.live.least_count) == (Reference(()), 7)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("5", "models[0].reference: must hold keys, each with its value (got 5)."),
        ("[a]", "models[0].reference: must hold keys, each with its value (got ['a'])."),
        ('""', "models[0].reference: string should have at least 1 character (got '')."),
        ("{}", "models[0].reference: must have either path, the file of a reference, or first, a number of rows "),
        ("{path: a, first: 500}", "models[0].reference: must have either path, the file of a reference, or first, "),
        ("{first: 99}", "models[0].reference.first: input should be greater than or equal to 100 (got 99)."),
        ("{first: 0}", "models[0].reference.first: input should be greater than or equal to 100 (got 0)."),
        ("{first: -5}", "models[0].reference.first: input should be greater than or equal to 100 (got -5)."),
        ("{first: 100001}", "models[0].reference.first: input should be less than or equal to 100000 (got 100001)."),
        ("{first: 1e3}", "models[0].reference.first: "),
        ("{first: 500.5}", "models[0].reference.first: "),
        ("{first: '500'}", "models[0].reference.first: "),
        ("{first: true}", "models[0].reference.first: "),
        ("{first: [500]}", "models[0].reference.first: "),
        ("{first: null}", "models[0].reference: must have either path, the file of a reference, or first, "),
        ("{frst: 500}", "models[0].reference.frst: unknown; did you mean first?"),
        ("{path: 5}", "models[0].reference.path: must be a text: put it in quotes (got 5)."),
        ("{pth: a}", "models[0].reference.pth: unknown; did you mean path?"),
        ("none.prom", "models[0].reference: {folder}/none.prom cannot be read (No such file or directory)."),
        ("tally.yaml", "models[0].reference: {folder}/tally.yaml is no text in Prometheus's format "),
        ("empty", "models[0].reference: {folder}/empty has no family like "),
    ],
)
def test_a_wrong_reference_is_named_in_a_sentence(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError) as error:
        rulebook_of(tmp_path, f"models: [{{match: '*', reference: {written}}}]")
    sentences = str(error.value).splitlines()
    whole = f"TALLY_CONFIG: {tmp_path / 'tally.yaml'}: {said.format(folder=tmp_path)}"
    assert [sentence for sentence in sentences if sentence.startswith(whole)], sentences


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


@pytest.mark.parametrize("text", ["", "models: []\n", "# nothing\n", "\ufeffmodels: []\n", "---\n"])
def test_an_empty_file_has_no_rules(tmp_path: Path, text: str) -> None:
    assert rulebook_of(tmp_path, text).entries == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models: [{match: '*'}, {match: '*'}, {match: '*', tresh: 1}]",
            ": models[2].tresh: unknown; did you mean threshold?",
        ),
        ("models: [{match: '*', colour: red}]", ": models[0].colour: unknown; known are match, task, positive, "),
        ("model: []", ": model: unknown; did you mean models?"),
        ("xyz: []", ": xyz: unknown; known are models."),
        ("1: []", ": 1: unknown, and no text (got 1)."),
        (
            "models: [{match: '*', prediction_schema: {request: []}}]",
            "models[0].prediction_schema.request: unknown; did you mean requests?",
        ),
        (
            "models: [{match: '*', prediction_schema: {requests: [{name: a, parts: []}]}}]",
            (
                "models[0].prediction_schema.requests[0].parts: unknown; known are name, type, data_type, "
                "n_categories, category_map, schema, shape."
            ),
        ),
        (
            "models: [{match: '*', prediction_schema: {requests: [{name: a, schema: [{name: b, nam: c}]}]}}]",
            "models[0].prediction_schema.requests[0].schema[0].nam: unknown; did you mean name?",
        ),
        ("models: [{match: '*', prediction_schema: {requests: [{name: a, n_categories: []}]}}]", "n_categories: "),
        ("models: [{task: binary}]", ": models[0].match: is missing."),
        ("models: [{match: ''}]", ": models[0].match: string should have at least 1 character"),
        (
            "models: [{match: '*', task: ranking}]",
            "models[0].task: input should be 'binary', 'multiclass' or 'regression'",
        ),
        (
            "models: [{match: '*', threshold: 1.5}]",
            "models[0].threshold: input should be less than or equal to 1 (got 1.5)",
        ),
        ("models: [{match: '*', threshold: -0.1}]", "models[0].threshold: "),
        ("models: [{match: '*', probability_field: 3}]", "models[0].probability_field: must be a text"),
        ("models: [{match: '*', probability_field: [a]}]", "models[0].probability_field: must be a text"),
        *(
            (
                f"models: [{{match: '*', probability_field: {field}}}]",
                "models[0].probability_field: must be a column or",
            )
            for field in ("''", "' '", "a..b", "'.a'", "'a.'", "a" * 201)
        ),
        *(
            (f"models: [{{match: '*', probability_field: '{field}'}}]", "models[0].probability_field: may have one *")
            for field in ("*", "p_*_*", "a.p_*")
        ),
        (
            "models: [{match: '*', probabilities: false, probability_field: p}]",
            "models[0].probability_field: says where probabilities are, and `probabilities: false` keeps none",
        ),
        (
            "models: [{match: '*', task: regression, probability_field: p}]",
            "models[0].probability_field: is for models of classes",
        ),
        ("models: [{match: '*', threshold: .nan}]", "models[0].threshold: "),
        ("models: [{match: '*', threshold: .inf}]", "models[0].threshold: "),
        ("models: [{match: '*', threshold: high}]", "models[0].threshold: must be a number (got 'high')."),
        ("models: [{match: '*', threshold: true}]", "models[0].threshold: must be a number (got True)."),
        (
            "models: [{match: '*', limits: {acuracy: 0.9}}]",
            "models[0].limits: there is no score acuracy; did you mean accuracy?",
        ),
        ("models: [{match: '*', limits: {accuracy/cat: 0.9}}]", "models[0].limits: accuracy is never of one class"),
        (
            "models: [{match: '*', limits: {accuracy: high}}]",
            "models[0].limits.accuracy: must be a number (got 'high').",
        ),
        ("models: [{match: '*', limits: {accuracy: .nan}}]", "models[0].limits.accuracy: "),
        ("models: [{match: '*', limits: 0.9}]", "models[0].limits: must hold keys, each with its value (got 0.9)."),
        ("models: [{match: '*', limits: {1: 0.9}}]", "models[0].limits"),
        ("models: [{match: '*', limits: {accuracy: 90}}]", "models[0].limits: accuracy is 1 at most"),
        ("models: [{match: 'shop/churn'}]", "models[0].match: fits no model: it must be namespace/service/predictor/"),
        ("models: [{match: '*', intervals: often}]", "models[0].intervals: must be true or false (got 'often')."),
        ("models: [{match: '*', probabilities: 1}]", "models[0].probabilities: must be true or false (got 1)."),
        (
            "models: [{match: '*', probabilities: maybe}]",
            "models[0].probabilities: must be true or false (got 'maybe').",
        ),
        (
            "models: [{match: '*', probabilities: [true]}]",
            "models[0].probabilities: must be true or false (got [True]).",
        ),
        ("models: [{match: '*', estimate: 1}]", "models[0].estimate: must be true or false (got 1)."),
        ("models: [{match: '*', estimate: 'yes'}]", "models[0].estimate: must be true or false (got 'yes')."),
        (
            "models: [{match: '*', probabilities: false, estimate: true}]",
            (
                "models[0].estimate: is made of probabilities, and probabilities: false keeps none: take one of them "
                "out (got True)."
            ),
        ),
        (
            "models: [{match: '*', task: regression, estimate: true}]",
            (
                "models[0].estimate: is made of probabilities, and with task: regression there are none: take one of "
                "them out (got True)."
            ),
        ),
        ("models: [{match: '*', estimates: true}]", "models[0].estimates: unknown; did you mean estimate?"),
        ("models: [{match: '*', probability: true}]", "models[0].probability: unknown; did you mean probabilities?"),
        ("models: [{match: '*', limits: {roc_auc: 2}}]", "models[0].limits: roc_auc is 1 at most"),
        ("models: [{match: '*', least_count: 0}]", "models[0].least_count: "),
        ("models: [{match: '*', compare: shadow}]", "models[0].compare: must be a list like [a, b] (got 'shadow')."),
        ("models: [{match: '*', positive: 1}]", "models[0].positive: must be a text: put it in quotes (got 1)."),
        (
            "models: [{match: '*', classes: [0, '1']}]",
            "models[0].classes[0]: must be a text: put it in quotes (got 0).",
        ),
        ("models: [{match: '*', shadow: shadow}]", "models[0].shadow: must be a list like [a, b] (got 'shadow')."),
        ("models: [{match: '*', redact: [null]}]", "models[0].redact[0]: must be a text"),
        ("models: {match: '*'}", "models: must be a list like [a, b]"),
        ("models: ['*']", "models[0]: must hold keys, each with its value (got '*')."),
        ("models:", "models: must be a list"),
        ("- match: '*'", "tally.yaml: must hold `models:`, and below it a list of entries."),
        ("models", "tally.yaml: must hold `models:`"),
        ("42", "tally.yaml: must hold `models:`"),
        ("models: [\n{match: '*'\n", "tally.yaml, line 3 is no YAML"),
        ("models:\n\t- match: '*'\n", "tally.yaml, line 2 begins with a tab, where YAML takes blanks alone."),
        ("models: []\nmodels: []\n", "tally.yaml, line 2 has the key models a second time."),
        ("models:\n- match: a\n  task: binary\n  match: b", "tally.yaml, line 4 has the key match a second time."),
        ("models: &a [*a]", "tally.yaml, line 1 has an anchor that holds itself."),
        (BOMB, "tally.yaml has more than 50,000 values, those of its aliases included."),
        ("[" * 5000, "tally.yaml is nested too deeply."),
        ("models: " + "[" * 5000 + "]" * 5000, "tally.yaml is nested too deeply."),
        ("models: [" + "1," * 300_000 + "]", "tally.yaml is larger than 512 KiB."),
        ("models: [" + "1," * 51_000 + "]", "tally.yaml has more than 50,000 values"),
        ("models: *b", "tally.yaml, line 1 is no YAML (found undefined alias 'b')."),
        ("models: !!python/object/apply:os.getcwd []", "tally.yaml, line 1 is no YAML"),
        ("models: 2026-13-45", "tally.yaml is no YAML (month must be in 1..12)."),
        ("models: " + "1" * 5000, "tally.yaml is no YAML"),
        ("? [a]\n: 1\n", "is no YAML"),
        (b"models:\n- {match: '\xff'}", "tally.yaml, line 2 is no UTF-8 text."),
        ("models: []".encode("utf-16"), "tally.yaml, line 1 is no UTF-8 text."),
        (b"models: [{match: '\x00'}]", "tally.yaml"),
        ("a: 1\n---\nb: 2\n", "tally.yaml, line 2 is no YAML"),
        *((f"models: [{{match: '*', {key}: {{}}}}]", f"models[0].{key}: unknown; ") for key in NOT_BUILT),
    ],
)
def test_a_wrong_file_is_named_in_one_sentence(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(tmp_path, text)
    sentence = str(error.value)
    assert sentence.startswith(f"TALLY_CONFIG: {tmp_path / 'tally.yaml'}")
    assert said in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence
    assert len(sentence) < 400


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(tmp_path, "models: [{match: '*', tresh: 1, task: x}, {match: 5}]")
    places = re.findall(r"tally\.yaml: (\S+):", str(error.value))
    assert sorted(places) == ["models[0].task", "models[0].tresh", "models[1].match"]


def test_anchors_that_are_used_as_they_are_meant_are_fine(tmp_path: Path) -> None:
    text = "models:\n- &a {match: 'a/*', task: binary}\n- {<<: *a, match: 'b/*'}\n"
    assert [entry.task for entry in rulebook_of(tmp_path, text).entries] == ["binary", "binary"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SettingsError, match=rf"^TALLY_CONFIG: {path} cannot be read \(.+\)\.$"):
            load_rulebook(path)


def test_without_a_file_there_are_no_rules() -> None:
    assert load_rulebook(None) == Rulebook()


def test_the_digest_tells_files_apart_that_mean_something_else(tmp_path: Path) -> None:
    digest = rulebook_of(tmp_path, WHOLE).digest
    assert digest
    assert rulebook_of(tmp_path, WHOLE.replace("threshold: 0.4", "threshold:   0.4  # enough")).digest == digest
    for old, new in (("0.4", "0.5"), ('"1"\n', '"0"\n'), ("binary-perf", "other"), ("[shadow,", "[")):
        assert rulebook_of(tmp_path, WHOLE.replace(old, new)).digest != digest
    two = "models: [{match: a*}, {match: b*}]"
    assert rulebook_of(tmp_path, two).digest != rulebook_of(tmp_path, "models: [{match: b*}, {match: a*}]").digest


def test_features_are_declared_with_a_reference_or_without(tmp_path: Path) -> None:
    (tmp_path / "histogram.prom").write_text(COUNTS)
    declared = "features: {age: {min: 0, max: 120}, country: {one_of: [DE, 1, true, 2.5]}}"
    schema = (
        "prediction_schema: {requests: [{name: id}, {name: kind, type: ONE_HOT, schema: [{name: a}, {name: age}]}]}"
    )
    book = rulebook_of(
        tmp_path,
        f"models:\n- {{match: 'a/*', {declared}, {schema}}}\n- {{match: 'b/*', {declared}, reference: histogram.prom}}",
    )
    wanted = (Declared("age", 0.0, 120.0), Declared("country", one_of=("DE", "1", "1", "2.5")))
    alone, beside = (entry.reference for entry in book.entries)
    assert alone is not None
    assert (alone.path, alone.live.declared, alone.live.reference) == ("", wanted, Reference(()))
    assert alone.live.columns([1, 2, 3], None).places == (2, None)
    assert beside is not None
    assert (beside.live.declared, beside.live.reference) == (wanted, read_reference(tmp_path))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("5", "features: must hold keys, each with its value (got 5)."),
        ("[age]", "features: must hold keys, each with its value (got ['age'])."),
        ("{age: 5}", "features.age: must hold keys, each with its value (got 5)."),
        ("{age: {}}", "features.age: must have either min, max or both, or one_of (got {{}})."),
        ("{age: {min: 1, one_of: [1]}}", "features.age: must have either min, max or both, or one_of "),
        ("{age: {min: 2, max: 1}}", "features.age: has min 2 above max 1 "),
        ("{age: {min: a}}", "features.age.min: must be a number (got 'a')."),
        ("{age: {min: .nan}}", "features.age.min: input should be a finite number (got nan)."),
        ("{age: {max: .inf}}", "features.age.max: input should be a finite number (got inf)."),
        ("{age: {least: 1}}", "features.age.least: unknown; known are min, max, one_of."),
        ("{age: {mn: 1}}", "features.age.mn: unknown; did you mean min?"),
        ("{age: {one_of: []}}", "features.age: must have 1 to 1,000 values in one_of; it has 0 "),
        ("{age: {one_of: a}}", "features.age.one_of: must be a list like [a, b] (got 'a')."),
        ("{age: {one_of: [a, null]}}", "features.age: has None in one_of, which is no text or number"),
        ("{age: {one_of: [[a]]}}", "features.age: has ['a'] in one_of, which is no text or number"),
        ("{age: {one_of: ['']}}", "features.age: has '' in one_of, which is no text or number"),
        ("{' age': {min: 1}}", "features: ' age' is no name of a column"),
        ("{'(row)': {min: 1}}", "features: '(row)' is no name of a column"),
        ("{5: {min: 1}}", "features.5: must be a text: put it in quotes (got 5)."),
    ],
)
def test_a_wrong_declaration_of_features_is_named_in_a_sentence(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(tmp_path, f"models: [{{match: '*', features: {written}}}]")
    whole = f"TALLY_CONFIG: {tmp_path / 'tally.yaml'}: models[0].{said.format()}"
    assert [line for line in str(error.value).splitlines() if line.startswith(whole)], str(error.value)
