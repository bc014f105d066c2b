"""What `tally tail` and `tally dead-letters list` say of a record; what is wrong is told in one sentence."""

import os
from typing import Any, Final

import orjson
import pytest
from click.testing import CliRunner, Result

from app.cli.screen import printable
from app.cli.tail import Line, Tailed, brought, lines_of
from app.commands.tally import main
from app.core.events import TYPE_OF, Kind, Reason
from app.core.limits import Limits
from app.core.payloads.forms import FORMS
from app.core.payloads.table import Form
from app.core.wire.records import Record, pack_headers
from app.worker.kafka.reading import Placed
from tests.builders import START, a_feedback, a_request, a_response

SOURCE: Final = Tailed("seldon", 8, canonical=False)
CANONICAL: Final = Tailed("inference-requests", 1, canonical=True)
SELDON: Final = {"type": TYPE_OF[Kind.REQUEST], "requestid": "p", "namespace": "bank", "modelid": "m"}
BODY: Final = b'{"data": {"ndarray": [[1, 2], [3, 4]]}}'


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TALLY_"):
            monkeypatch.delenv(name)


def a_record(headers: dict[str, Any], value: bytes | None = BODY, key: bytes | None = None) -> Record:
    packed = pack_headers([(name, text.encode()) for name, text in headers.items()])
    return Record(7, START * 1000 + 250, key, value, packed)


def lines(record: Record, topic: Tailed = SOURCE, **limits: int) -> list[Line]:
    return lines_of(Placed(topic.name, 0, record), topic, Limits(**limits))


def what(record: Record, topic: Tailed = SOURCE) -> str:
    (line,) = lines(record, topic)
    return line.what


# -- what is shown of a record ----------------------------------------------------------------------------------------


def test_a_line_says_what_was_understood() -> None:
    assert lines(a_record(SELDON | {"endpoint": "canary", "inferenceservicename": "fraud"})) == [
        ("2026-11-21T07:00:00.250000Z", "0:7", "seldon", "request", "Seldon", "p", "bank/fraud/canary/m", "2 rows")
    ]
    event = a_response(1, 0, at=-90.5, version=2, puid="q", headers={"ce_modelversion": b"v3"}).read()
    assert lines(event, CANONICAL) == [
        (
            "2026-11-21T06:58:29.500000Z",
            "0:0",
            "canonical",
            "response",
            "Seldon",
            "q",
            "ns/svc/default/m@v3",
            "predicted 1, 0",
        )
    ]


def test_a_record_with_two_events_has_two_lines() -> None:
    pair = a_record({}, orjson.dumps({"puid": "p", "features": [1, 2], "output": "cat", "label": "dog"}))
    assert [(line.dialect, line.kind, line.form, line.who, line.what) for line in lines(pair)] == [
        ("plain", "request", "Seldon", "-", "1 row"),
        ("plain", "response", "Seldon", "-", "predicted cat"),
        ("plain", "feedback", "Seldon", "-", "label dog"),
    ]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_line_says_which_form_a_payload_has(form: Form) -> None:
    events = {"request": a_request, "response": a_response}
    for kind, body in form.examples:
        event = a_feedback(truth=orjson.loads(body)) if kind == "truth" else events[kind](value=body.encode())
        (line,) = lines(event.read(), CANONICAL)
        assert (line.form, line.what.startswith("refused")) == (form.name, False), line


def test_a_feedback_has_the_forms_of_its_parts() -> None:
    (line,) = lines(a_feedback("cat", response={"predictions": ["cat"]}, request=[[1], [2, 3]]).read(), CANONICAL)
    assert line.form == "Seldon, TensorFlow"
    assert line.what.endswith(
        "predicted cat, its request is refused (ragged): the request's rows have different lengths"
    )


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (a_request({"data": {"ndarray": [[1]]}}), "1 row"),
        (a_request({"instances": [[1], [2], [3]]}), "3 rows"),
        (a_response([0.1, 0.9]), "predicted 1"),
        (a_response([0.1, 0.9], names=["cat", "dog"]), "predicted dog"),
        (a_response(0.25), "predicted 0.25"),
        (a_response(*"abcde"), "predicted a, b, c and 2 more"),
        (a_response(body={"status": {"code": 500}}), "a failed prediction"),
        (a_feedback("cat"), "label cat"),
        (a_feedback([0, 1]), "label 0, 1"),
        (a_feedback([0, None]), "label 0, nothing"),
        (a_feedback(None, reward=0), "takes the label back, reward 0"),
        (a_feedback(reward=None), "takes the reward back"),
        (a_feedback(reward=-0.5), "reward -0.5"),
        (a_feedback(1, response={"data": {"ndarray": [[0.1, 0.9]]}}), "label 1, carries the response, predicted 1"),
        (a_feedback(body={"reward": 1, "requestBAD": {}, "tags": []}), "reward 1, ignores requestBAD, tags"),
    ],
)
def test_what_a_payload_says(event: Any, said: str) -> None:
    assert what(event.read(), CANONICAL) == said


@pytest.mark.parametrize("kind", [Kind.OUTLIER, Kind.DRIFT])
def test_what_a_detector_says_is_not_judged(kind: Kind) -> None:
    assert what(a_record(SELDON | {"type": TYPE_OF[kind]}, b'{"data": {}}')) == "a detector's word, never judged"


def test_a_response_without_a_class_says_why() -> None:
    assert brought(Kind.RESPONSE, b'{"binData": "AAAA"}') == "no class: the answer's bytes hold no class"


# -- why it does not join ---------------------------------------------------------------------------------------------


def test_what_cannot_be_understood_is_shown_with_the_reason() -> None:
    (line,) = lines(a_record({}, b"{}", b"k"))
    assert line[:-1] == ("2026-11-21T07:00:00.250000Z", "0:7", "-", "-", "-", "k", "-")
    assert line.what.startswith("refused (unknown-type): nothing says whether this is a request")
    assert what(a_record({"ce_type": "x"})).startswith("refused (unknown-type): the type is 'x'")
    assert what(a_record(SELDON | {"requestid": ""})).startswith("refused (no-puid): nothing names the request")


def test_what_the_join_would_refuse_is_shown_with_the_reason() -> None:
    response = SELDON | {"type": TYPE_OF[Kind.RESPONSE]}
    assert what(a_record(response, b'{"data": {"ndarray": [[0.1, 0.9], [1]]}}')).startswith("refused (ragged): ")
    assert what(a_record(response, b'{"broken')).startswith("refused (bad-json): ")
    (line,) = lines(a_record(response, BODY), body_bytes=5)
    assert line.what == f"refused (too-large): the value has {len(BODY)} bytes; at most 5"


def test_another_dialect_on_a_canonical_topic_is_told_where_to_go() -> None:
    (line,) = lines(a_record(SELDON, key=b"p"), CANONICAL)
    assert (line.dialect, line.puid) == ("seldon", "p")
    assert line.what.startswith("refused (unknown-type): ce_type is missing; here only the canonical form is read")
    assert "TALLY_INTAKE_TOPICS" not in what(a_request(headers={"ce_modelid": b"\xff"}).read(), CANONICAL)


def test_an_event_in_another_place_than_its_own_is_shown_as_such() -> None:
    assert what(a_request(key=b"other").read(), CANONICAL).endswith("; not in the place of its puid: is brought there")
    useless = a_request({"foo": 1}, key=b"other").read()
    assert what(useless, CANONICAL).startswith("will be refused (bad-payload): ")
    many = Tailed("inference-requests", 64, canonical=True)
    assert sum("not in the place" in what(a_request(puid=f"{number}").read(), many) for number in range(64)) > 50
    assert what(a_request(key=b"other").read(), SOURCE) == "1 row"


def test_who_asks_not_to_be_logged_is_shown_as_such() -> None:
    assert what(a_record(SELDON | {"seldon-skip-logging": "true"})) == "asks not to be logged"


def test_texts_from_outside_move_no_cursor() -> None:
    (line,) = lines(a_record(SELDON | {"requestid": "a\x1b[2Jb\nc", "modelid": "m\x07"}))
    assert (line.puid, line.who) == (
        "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c",
        "bank///m\N{REPLACEMENT CHARACTER}",
    )
    assert printable("é 世界") == "é 世界"


@pytest.mark.parametrize("timestamp", [-1, 1 << 62])
def test_a_record_without_a_time_is_shown(timestamp: int) -> None:
    record = a_record({}, b"[]")
    record.timestamp = timestamp
    assert lines(record)[0].time == "-"


# -- the commands -----------------------------------------------------------------------------------------------------


def tally(*arguments: str, **environment: str) -> Result:
    away = {"TALLY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    return CliRunner().invoke(main, arguments, env=away | environment, prog_name="tally")


@pytest.mark.parametrize("command", [("tail",), ("dead-letters", "list")])
def test_help_has_examples_that_can_be_typed(command: tuple[str, ...]) -> None:
    words = tally(*command, "--help").stdout.split("Examples:")[1].splitlines()
    examples = [line.strip().partition("  ")[0].split() for line in words if line.strip()]
    assert len(examples) > 1
    for example in examples:
        assert example[: 1 + len(command)] == ["tally", *command]
        assert tally(*example[1:]).stderr.startswith("tally: No Kafka broker answers")


@pytest.mark.parametrize("command", [("tail",), ("tail", "--follow"), ("dead-letters", "list")])
def test_a_broker_that_is_away_is_named(command: tuple[str, ...]) -> None:
    result = tally(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tally: No Kafka broker answers at 127.0.0.1:1: ")


def test_a_reason_that_is_none_is_told_those_that_are() -> None:
    result = tally("dead-letters", "list", "--reason", "no")
    assert (result.exit_code, result.stderr) == (
        2, f"tally: --reason: no is no reason; the reasons are {', '.join(Reason)}.\n"
    )  # fmt: skip
