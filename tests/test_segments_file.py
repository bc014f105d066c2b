"""Segments and fairness in the YAML file: what they say, and the sentence where they are wrong."""

from pathlib import Path

import pytest

from app.core.rules import Fairness
from app.core.segments import FEATURES, HEADERS, PAYLOAD, ROUTE, TAGS, Segment
from app.segments_file import LABELS
from app.settings import SettingsError
from tests.test_models_file import rulebook_of

WHOLE = """
models:
  - match: "*"
    segments:
      country: tags.country
      tier: headers.X-Tier
      age: {field: features.age, bins: [30, 50.5]}
      deep: {field: payload.a.b}
      route: route
      dotted: tags.a.b
    fairness: {attribute: country, privileged: DE, positive: "1"}
"""


def test_all_forms_of_segments(tmp_path: Path) -> None:
    (rules,) = rulebook_of(tmp_path, WHOLE).entries
    assert rules.segments == (
        Segment("country", TAGS, "country", kept=("DE",)),
        Segment("tier", HEADERS, "x-tier"),
        Segment("age", FEATURES, "age", (30.0, 50.5)),
        Segment("deep", PAYLOAD, "a.b"),
        Segment("route", ROUTE),
        Segment("dotted", TAGS, "a.b"),
    )
    assert rules.fairness == Fairness("country", "DE", "1")


def test_rules_that_differ_in_segments_have_another_digest(tmp_path: Path) -> None:
    one, other = (rulebook_of(tmp_path, WHOLE.replace("50.5", bound)) for bound in ("60", "70"))
    assert one.digest != other.digest


def entry(keys: str) -> str:
    return f"models: [{{match: '*', {keys}}}]"


def segments(form: str) -> str:
    return entry(f"segments: {{{form}}}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (entry("segments: [country]"), "models[0].segments: must hold keys, each with its value"),
        (segments("country: country"), "country: country must begin with one of tags., headers., features., payload."),
        (segments("country: tagz.country"), "country: tagz.country must begin with one of tags."),
        (segments("country: tags"), "country: tags must begin with one of tags."),
        (segments("country: 'tags.'"), "country: tags. must begin with one of tags."),
        (segments("t: headers."), "t: headers. must begin with one of tags."),
        (segments("t: headers.Authorization"), "t: the header authorization holds credentials, which would stand in"),
        (segments("t: headers.cookie"), "t: the header cookie holds credentials"),
        (segments("t: headers.Tally-Rekeyed"), "t: the header tally-rekeyed would be one of Tally's own"),
        (segments("r: route.eg"), "r: route.eg must begin with one of tags."),
        (segments("c: payload.a..b"), "c: payload.a..b is no dotted path"),
        (segments("country: [tags.country]"), "country: its field must be a text like tags.country"),
        (segments("country: {}"), "country: its field must be a text like tags.country"),
        (segments("country: 3"), "country: its field must be a text"),
        (segments("country: null"), "country: its field must be a text"),
        (segments("country: {field: tags.c, values: [a]}"), "country: values is unknown; known are field and bins"),
        (segments("a: {field: tags.a, bins: 30}"), "a: bins must be a list of numbers like [30, 50]"),
        (segments("a: {field: tags.a, bins: []}"), "a: bins must be a list of numbers like [30, 50]"),
        (segments("a: {field: tags.a, bins: [50, 30]}"), "a: bins must ascend"),
        (segments("a: {field: tags.a, bins: [30, 30]}"), "a: bins must ascend"),
        (segments("a: {field: tags.a, bins: ['30']}"), "a: the bin '30' is no number"),
        (segments("a: {field: tags.a, bins: [true]}"), "a: the bin True is no number"),
        (segments("a: {field: tags.a, bins: [.nan]}"), "a: the bin nan is no number"),
        (segments("a: {field: tags.a, bins: [.inf]}"), "a: the bin inf is no number"),
        (segments(f"a: {{field: tags.a, bins: {list(range(51))}}}"), "a: there are 51 bins; a segment may have 50"),
        *[(segments(f"{label}: tags.a"), f"{label} is a label of the series already") for label in sorted(LABELS)],
        (segments("'a=b': tags.a"), "'a=b' is no name of a segment: up to 60 letters"),
        (segments("'': tags.a"), "'' is no name of a segment"),
        (segments("1st: tags.a"), "'1st' is no name of a segment"),
        (segments(f"{'a' * 61}: tags.a"), "is no name of a segment"),
        (segments(", ".join(f"s{n}: tags.s{n}" for n in range(11))), "there are 11; a model may have 10"),
        (entry("segments: {iban: tags.iban}, redact: [iban]"), "iban would show what `redact` keeps back (iban)"),
        (entry("segments: {a: tags.iban}, redact: [meta.tags]"), "would show what `redact` keeps back (meta.tags)"),
        (entry("segments: {a: tags.iban}, redact: [tags]"), "would show what `redact` keeps back (tags)"),
        (entry("segments: {a: features.age}, redact: [age]"), "would show what `redact` keeps back (age)"),
        (entry("segments: {a: payload.who.age}, redact: [who.age]"), "would show what `redact` keeps back (who.age)"),
        (entry("segments: {a: payload.who.age}, redact: [who]"), "would show what `redact` keeps back (who)"),
        (entry("segments: {a: route}, redact: [routing]"), "would show what `redact` keeps back (routing)"),
        (entry("segments: {a: headers.x-user}, redact: [x-user]"), "would show what `redact` keeps back (x-user)"),
        (
            entry(
                "segments: {a: features.m}, redact: [sex], prediction_schema: "
                "{requests: [{name: sex, type: ONE_HOT, schema: [{name: m}, {name: f}]}]}"
            ),
            "would show what `redact` keeps back (sex)",
        ),
        (entry("fairness: {attribute: sex, privileged: m}"), "fairness is asked for sex, which is no segment"),
        (entry("segments: {sex: tags.sex}, fairness: {privileged: m}"), "models[0].fairness.attribute: is missing"),
        (entry("segments: {sex: tags.sex}, fairness: {attribute: sex}"), "models[0].fairness.privileged: is missing"),
        (entry("segments: {sex: tags.sex}, fairness: sex"), "models[0].fairness: must hold keys"),
        (
            entry("segments: {sex: tags.sex}, fairness: {attribute: sex, privileged: 1}"),
            "models[0].fairness.privileged: must be a text: put it in quotes",
        ),
        (
            entry("segments: {sex: tags.sex}, fairness: {attribute: sex, privileged: m, positiv: '1'}"),
            "models[0].fairness.positiv: unknown; did you mean positive?",
        ),
    ],
)  # fmt: skip
def test_a_sentence_says_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rulebook_of(tmp_path, text)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_other_fields_may_be_kept_back(tmp_path: Path) -> None:
    assert rulebook_of(tmp_path, entry("segments: {a: features.age}, redact: [iban, features.iban]")).entries
