"""Functions of the user's own in `scores:`: how they are found and tried, and what becomes of them that fail."""

import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.events import Leg
from app.core.rules import Rulebook
from app.core.scores.own import MeanCost
from app.models_file import load_rulebook
from app.own_scores import OwnFunction
from app.settings import SettingsError

MODULE = """
import math, fractions, numpy
calls = []
def cost(confusion):
    return 5 * confusion["0", "1"] + 100 * confusion["1", "0"] + confusion["no", "such"]
def share(confusion):
    return fractions.Fraction(confusion["1", "1"], sum(confusion.values()))
def of_numpy(confusion):
    return numpy.float32(0.5)
def undefined(confusion):
    return math.nan
def by_class(confusion):
    return confusion["yes", "yes"] / (confusion["yes", "yes"] + confusion["yes", "no"])
def text(confusion):
    return "0.5"
def nothing(confusion):
    return None
def truth(confusion):
    return True
def infinite(confusion):
    return math.inf
def fails(confusion):
    raise KeyError("no such\\nthing")
def leaves(confusion):
    raise SystemExit(3)
def impure(confusion):
    calls.append(1)
    return len(calls)
def greedy(confusion):
    confusion.clear()
    return 1.0
async def later(confusion):
    return 1.0
class Scores:
    @staticmethod
    def gain(confusion):
        return 1
number = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """One with modules, as a YAML file has it beside itself."""
    (tmp_path / "own_costs.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import own_missing_package\n")
    (tmp_path / "own_wrong.py").write_text("def cost(:\n")
    before = [*sys.path]
    yield tmp_path
    sys.path[:] = before
    for name in ("own_costs", "own_broken", "own_wrong"):
        sys.modules.pop(name, None)


def rulebook_of(folder: Path, scores: str, more: str = "") -> Rulebook:
    file = folder / "tally.yaml"
    file.write_text(f"models: [{{match: '*', scores: {scores}{more}}}]")
    return load_rulebook(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("own_costs:cost", 105),
        ("own_costs:share", 0.25),
        ("own_costs:of_numpy", 0.5),
        ("own_costs:undefined", None),
        ("own_costs:greedy", 1),
        ("own_costs:Scores.gain", 1),
        ("math:prod", 0),
    ],
)
def test_a_function_is_found_beside_the_file_and_gives_a_number(folder: Path, text: str, value: float | None) -> None:
    confusion = {("0", "0"): 1, ("0", "1"): 1, ("1", "0"): 1, ("1", "1"): 1}
    if text == "math:prod":  # the product of classes is no number
        with pytest.raises(SettingsError, match="fails on an example confusion"):
            rulebook_of(folder, f"{{own: {text}}}")
        return
    for scores in (f"{{own: '{text}'}}", f"{{own: {{function: '{text}'}}}}"):
        (rules,) = rulebook_of(folder, scores).entries
        (own,) = rules.scores
        assert (own.name, own.greater_is_better, own.function.runs_code, rules.run_code) == ("own", True, True, True)
        assert own.function(confusion) == value
        assert own.function.failures == 0
    assert len(confusion) == 4


def test_a_matrix_is_read_with_its_classes_as_csv_has_them(folder: Path) -> None:
    text = """{cost: {matrix: {"1,0": 100, " 0 , 1 ": -5.5, '"a, b",c': 1}},
               gain: {matrix: {"a,a": 1}, greater_is_better: true}}"""
    (rules,) = rulebook_of(folder, text, ", limits: {cost: 1000}").entries
    assert [(own.name, own.function, own.greater_is_better) for own in rules.scores] == [
        ("cost", MeanCost(((("1", "0"), 100.0), (("0", "1"), -5.5), (("a, b", "c"), 1.0))), False),
        ("gain", MeanCost(((("a", "a"), 1.0),)), True),
    ]
    assert rules.limits == (("cost", "", 1000.0),)
    assert not rules.run_code


def test_the_example_has_the_classes_that_are_declared(folder: Path) -> None:
    """So a function of single classes can be tried."""
    text = "{own: 'own_costs:by_class'}"
    with pytest.raises(SettingsError, match=r"classes 0, 1 \(ZeroDivisionError"):
        rulebook_of(folder, text)
    with pytest.raises(SettingsError, match=r"classes 0, no \(ZeroDivisionError"):
        rulebook_of(folder, text, ", positive: 'no'")
    (rules,) = rulebook_of(folder, text, ", classes: ['no', 'yes']").entries
    assert rules.scores[0].function({("yes", "yes"): 3, ("yes", "no"): 1}) == 0.75


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("[]", "models[0].scores: must hold keys, each with its value (got [])."),
        ("cost", "models[0].scores: must hold keys, each with its value (got 'cost')."),
        ("{cost: }", "models[0].scores.cost: must hold keys, each with its value (got None)."),
        ("{cost: 5}", "models[0].scores.cost: must hold keys, each with its value (got 5)."),
        ("{1: {matrix: {'a,b': 1}}}", "models[0].scores.1: must be a text: put it in quotes (got 1)."),
        ("{cost: {}}", "models[0].scores.cost: must have either a matrix or a function (got {})."),
        ("{cost: {matrix: {'a,b': 1}, function: 'own_costs:cost'}}", "cost: must have either a matrix or a function"),
        ("{cost: {matrx: {'a,b': 1}}}", "models[0].scores.cost.matrx: unknown; did you mean matrix?"),
        ("{schema: {matrx: {'a,b': 1}}}", "models[0].scores.schema.matrx: unknown; did you mean matrix?"),
        ("{cost: {matrix: {}}}", "models[0].scores.cost.matrix: must have costs, like {"),
        ("{cost: {matrix: [1]}}", "models[0].scores.cost.matrix: must hold keys, each with its value (got [1])."),
        ("{cost: {matrix: {'ab': 1}}}", "models[0].scores.cost.matrix: ab is no pair of classes: write "),
        ("{cost: {matrix: {'a,b,c': 1}}}", "models[0].scores.cost.matrix: a,b,c is no pair of classes: write "),
        ("{cost: {matrix: {'a,': 1}}}", "models[0].scores.cost.matrix: a, is no pair of classes: write "),
        ("{cost: {matrix: {'': 1}}}", "models[0].scores.cost.matrix:  is no pair of classes: write "),
        ("{cost: {matrix: {'a,b': 1, 'a, b': 2}}}", "models[0].scores.cost.matrix: a,b stands there twice"),
        ("{cost: {matrix: {'a,b': much}}}", "models[0].scores.cost.matrix.a,b: must be a number (got 'much')."),
        ("{cost: {matrix: {'a,b': }}}", "models[0].scores.cost.matrix.a,b: must be a number (got None)."),
        ("{cost: {matrix: {'a,b': true}}}", "models[0].scores.cost.matrix.a,b: must be a number (got True)."),
        ("{cost: {matrix: {'a,b': .nan}}}", "models[0].scores.cost.matrix.a,b: "),
        ("{cost: {matrix: {'a,b': .inf}}}", "models[0].scores.cost.matrix.a,b: "),
        ("{cost: {matrix: {'a,b': 1.0e+16}}}", "models[0].scores.cost.matrix.a,b: "),
        ("{cost: {matrix: {1,0: 100}}}", 'matrix: must have each pair in quotes, like {"1,0": 100} (got {1: None, 0: '),
        ("{cost: {matrix: {'a,b': 1}, greater_is_better: 1}}", "models[0].scores.cost.greater_is_better: "),
        ("{accuracy: {matrix: {'a,b': 1}}}", "scores.accuracy: there is a score accuracy already: give yours another"),
        ("{mae: 'own_costs:cost'}", "models[0].scores.mae: there is a score mae already"),
        ("{'my cost': 'own_costs:cost'}", "models[0].scores.my cost: must be a name of up to 64 letters, digits and _"),
        ("{'cost/1': 'own_costs:cost'}", "models[0].scores.cost/1: must be a name of up to 64 letters, digits and _"),
        ("{'': 'own_costs:cost'}", "models[0].scores."),
        (f"{{{'c' * 65}: 'own_costs:cost'}}", "must be a name of up to 64 letters, digits and _"),
        ("{own: {function: 5}}", "models[0].scores.own.function: must be a text"),
        ("{own: own_costs}", "models[0].scores.own: must be written module:function (got 'own_costs')."),
        ("{own: ''}", "models[0].scores.own: must be written module:function (got '')."),
        ("{own: 'own_costs:'}", "models[0].scores.own: must be written module:function"),
        ("{own: ':cost'}", "models[0].scores.own: must be written module:function"),
        ("{own: '.own_costs:cost'}", "models[0].scores.own: must be written module:function"),
        ("{own: {function: 'a:b:c'}}", "models[0].scores.own.function: must be written module:function"),
        (
            "{own: 'own_nowhere:cost'}",
            "models[0].scores.own: there is no module own_nowhere: put it on PYTHONPATH, or beside the YAML file",
        ),
        ("{own: 'own_nowhere.deep:cost'}", "scores.own: there is no module own_nowhere: put it on PYTHONPATH"),
        ("{own: 'own_broken:cost'}", "own_broken cannot be imported (ModuleNotFoundError: No module named 'own_mis"),
        ("{own: 'own_wrong:cost'}", "module own_wrong cannot be imported (SyntaxError: "),
        ("{own: 'own_costs:csot'}", "own_costs has no csot; did you mean cost?"),
        ("{own: 'own_costs:Scores.loss'}", "own_costs has no Scores.loss"),
        ("{own: 'own_costs:number'}", "number of own_costs is no function"),
        ("{own: 'own_costs:text'}", "(TypeError: it gives str, and must give a number)"),
        ("{own: 'own_costs:nothing'}", "(TypeError: it gives NoneType, and must give a number)"),
        ("{own: 'own_costs:truth'}", "(TypeError: it gives bool, and must give a number)"),
        ("{own: 'own_costs:infinite'}", "(ValueError: it gives infinity, and must give a number)"),
        ("{own: 'own_costs:later'}", "later of own_costs must not be async"),
        ("{own: 'own_costs:fails'}", "fails on an example confusion of the classes 0, 1 (KeyError: 'no such"),
        ("{own: 'own_costs:leaves'}", "fails on an example confusion of the classes 0, 1 (SystemExit: 3)"),
        ("{own: 'own_costs:impure'}", "gives 1 and then 2 for an example confusion of the classes 0, 1: it must de"),
        ("{" + ", ".join(f"c{n}: 'own_costs:cost'" for n in range(21)) + "}", "models[0].scores: "),
    ],
)  # fmt: skip
def test_a_wrong_form_is_named_in_one_sentence(folder: Path, scores: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(folder, scores)
    sentence = str(error.value)
    assert sentence.startswith(f"TALLY_CONFIG: {folder / 'tally.yaml'}: models[0].scores")
    assert said in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", limits: {csot: 1}", "models[0].limits: there is no score csot; did you mean cost?"),
        (", limits: {cost/1: 1}", "models[0].limits: cost is never of one class"),
        (", task: regression", "models[0].scores: are made of classes, and with task: regression there are none"),
    ],
)
def test_what_stands_beside_them_must_fit(folder: Path, more: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(folder, "{cost: {matrix: {'1,0': 100}}}", more)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_told_at_once_and_limits_of_a_wrong_score_not_twice(folder: Path) -> None:
    with pytest.raises(SettingsError) as error:
        rulebook_of(folder, "{accuracy: 'own_costs:cost', own: 'own_costs:text'}", ", limits: {own: 1}, tresh: 5")
    assert len(str(error.value).splitlines()) == 3


def test_the_digest_is_of_what_the_file_says_not_of_what_was_imported(folder: Path) -> None:
    text = "{cost: {matrix: {'1,0': 100, '0,1': 5}}, own: 'own_costs:cost'}"
    digest = rulebook_of(folder, text).digest
    assert rulebook_of(folder, text).digest == digest
    for old, new in (("100", "101"), ("own_costs:cost", "own_costs:share"), ("cost:", "costs:")):
        assert rulebook_of(folder, text.replace(old, new)).digest != digest


def test_the_first_entry_that_matches_has_the_scores(folder: Path) -> None:
    file = folder / "tally.yaml"
    file.write_text("models: [{match: 'a/*', scores: {own: 'own_costs:cost'}}, {match: '*'}]")
    rulebook = load_rulebook(file)
    assert [rulebook.of(Leg(name, "svc", "default", "m")).run_code for name in "ab"] == [True, False]


# -- while the worker runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [ZeroDivisionError("no\nrows"), SystemExit(1), RecursionError(), "half", None, math.inf]
)
def test_what_fails_has_no_number_is_counted_and_told_once(wrong: object, caplog: pytest.LogCaptureFixture) -> None:
    def give(_: object) -> object:
        if isinstance(wrong, BaseException):
            raise wrong
        return wrong

    function = OwnFunction("costs:gain", give)
    with caplog.at_level(logging.WARNING):
        assert [function({("1", "1"): 1}) for _ in range(3)] == [None] * 3
    assert function.failures == 3
    (line,) = caplog.messages
    assert line.startswith("function=costs:gain of `scores:` failed (")
    assert "\n" not in line


def test_one_that_fails_for_some_confusions_gives_the_others() -> None:
    function = OwnFunction("costs:gain", lambda confusion: 1 / confusion["1", "1"])
    assert [function({("1", "1"): 2}), function({("0", "1"): 2}), function({("1", "1"): 4})] == [0.5, None, 0.25]
    assert function.failures == 1


def test_nan_is_undefined_and_no_failure() -> None:
    function = OwnFunction("costs:gain", lambda _: math.nan)
    assert (function({}), function.failures) == (None, 0)


def test_one_that_takes_too_long_three_times_is_not_called_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def slow(_: object) -> float:
        calls.append(sum(range(1000)))
        return 1.0

    function = OwnFunction("costs:gain", slow, longest=-1)
    assert [function({}) for _ in range(5)] == [1.0, 1.0, 1.0, None, None]
    assert (len(calls), function.failures) == (3, 2)
    assert len(caplog.messages) == 1
    assert "it is not called before a new start" in caplog.messages[0]
