"""The sample traffic is canonical, in order, and says of the models what the recordings say."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from app.core.clock import parse_time
from app.core.events import TYPES, Kind
from app.core.payloads.bodies import check_request, read_feedback, read_response, version_of
from app.demo.recordings import load_recordings
from app.demo.traffic import LABEL_DELAY_SECONDS, MOST_BEHIND_SECONDS, Sent, Traffic

BEGIN = 1_795_000_000.0
HEADERS = [
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_requestid",
    "ce_inferenceservicename",
    "ce_namespace",
    "ce_endpoint",
    "ce_modelid",
    "content-type",
]
RECORDINGS = {recording["service"]: recording for recording in load_recordings()}


def watched(traffic: Traffic, seconds: float, begin: float = BEGIN) -> list[Sent]:
    """The events of so many seconds, asked for ten times a second."""
    return [sent for tick in range(round(seconds * 10) + 1) for sent in traffic.until(begin + tick / 10)]


def body(sent: Sent) -> Any:
    return orjson.loads(sent.event.value)


def headers(sent: Sent) -> dict[str, str]:
    return {name: value.decode() for name, value in sent.event.headers}


def of_kind(events: Iterable[Sent], kind: Kind) -> list[Sent]:
    return [sent for sent in events if sent.kind == kind]


def predicted(sent: Sent) -> int:
    (probabilities,) = body(sent)["data"]["ndarray"]
    return int(max(range(len(probabilities)), key=probabilities.__getitem__))


@pytest.fixture(scope="module")
def minute() -> list[Sent]:
    return watched(Traffic(load_recordings(), BEGIN, seed=1), 60)


def test_events_come_in_the_order_of_their_time(minute: list[Sent]) -> None:
    assert [sent.at for sent in minute] == sorted(sent.at for sent in minute)
    by_puid: dict[str, list[Sent]] = defaultdict(list)
    for sent in minute:
        by_puid[sent.puid].append(sent)
    for events in by_puid.values():
        for predictor in ("default", "shadow"):
            kinds = [sent.kind for sent in events if sent.leg.predictor == predictor]
            # A label at the very end of the minute may be cut off from its mirrored copy, a request from its response.
            assert kinds == [Kind.REQUEST, Kind.RESPONSE, Kind.FEEDBACK][: len(kinds)]


def test_both_models_are_asked_the_same_under_one_puid_at_the_rate_that_is_wanted(minute: list[Sent]) -> None:
    asked: dict[str, dict[str, Any]] = defaultdict(dict)
    for sent in of_kind(minute, Kind.REQUEST):
        asked[sent.puid][sent.leg.predictor] = body(sent)
    pairs = [both for both in asked.values() if len(both) == 2]
    assert all(both["default"] == both["shadow"] for both in pairs)
    assert 20 <= len(pairs) / 60 <= 40


def test_each_event_is_canonical(minute: list[Sent]) -> None:
    for sent in minute:
        given = headers(sent)
        assert list(given) == HEADERS
        assert sent.event.key == sent.puid.encode()
        assert given["ce_requestid"] == sent.puid
        assert TYPES[given["ce_type"].encode()] == sent.kind
        assert parse_time(given["ce_time"].encode()) == int(sent.at * 1_000_000)
        leg = tuple(given[f"ce_{name}"] for name in ("namespace", "inferenceservicename", "endpoint", "modelid"))
        assert leg == sent.leg
    assert len({headers(sent)["ce_id"] for sent in minute}) == len(minute)


def test_tally_reads_each_payload(minute: list[Sent]) -> None:
    versions = set()
    for sent in minute:
        if sent.kind == Kind.REQUEST:
            check_request(sent.event.value)
        elif sent.kind == Kind.RESPONSE:
            output = read_response(sent.event.value)
            assert output.width == len(RECORDINGS[sent.leg.service]["classes"])
            versions.add((str(sent.leg), version_of(output, sent.leg.model)))
        else:
            feedback = read_feedback(sent.event.value)
            assert feedback.has_label
            assert feedback.has_reward
    assert versions == {
        (f"demo/{service}/{leg}", version)
        for service in RECORDINGS
        for leg, version in (("default/current", "1.4"), ("shadow/shadow", "2.0"))
    }


@pytest.mark.parametrize("service", RECORDINGS)
@pytest.mark.parametrize(("predictor", "model"), [("default", "current"), ("shadow", "shadow")])
def test_once_through_all_rows_a_count_by_hand_gives_the_recorded_accuracy(
    service: str, predictor: str, model: str
) -> None:
    rows = RECORDINGS[service]["phases"][0]["rows"]
    traffic = Traffic(load_recordings(), BEGIN, seed=2, per_second=100, drift_after=1000)
    events = [sent for sent in watched(traffic, 15) if sent.leg.service == service]
    puids = list(dict.fromkeys(sent.puid for sent in of_kind(events, Kind.REQUEST)))[: len(rows)]
    answers = {sent.puid: predicted(sent) for sent in of_kind(events, Kind.RESPONSE) if sent.leg.predictor == predictor}
    right = sum(answers[puid] == row["label"] for puid, row in zip(puids, rows, strict=True))
    recorded = sum(max(range(len(row[model])), key=row[model].__getitem__) == row["label"] for row in rows)  # type: ignore[literal-required]
    assert right / len(puids) == recorded / len(rows)


def test_labels_and_rewards_say_whether_the_current_model_was_right() -> None:
    events = watched(Traffic(load_recordings(), BEGIN, seed=3, drift_after=1000), 60)
    places: Counter[str] = Counter()
    labels: dict[str, int] = {}
    for sent in of_kind(events, Kind.REQUEST):
        if sent.leg.predictor == "default":
            rows = RECORDINGS[sent.leg.service]["phases"][0]["rows"]
            labels[sent.puid] = rows[places[sent.leg.service] % len(rows)]["label"]
            places[sent.leg.service] += 1
    answers = {sent.puid: predicted(sent) for sent in of_kind(events, Kind.RESPONSE) if sent.leg.predictor == "default"}
    rewards = [sent for sent in of_kind(events, Kind.FEEDBACK) if sent.leg.predictor == "default"]
    for sent in rewards:
        label = labels[sent.puid]
        assert body(sent) == {
            "reward": int(answers[sent.puid] == label),
            "truth": {"data": {"ndarray": [label]}},
        }
    assert {body(sent)["reward"] for sent in rewards} == {0, 1}


def test_labels_are_late_some_never_come_and_some_are_mirrored(minute: list[Sent]) -> None:
    asked = {sent.puid: sent.at for sent in of_kind(minute, Kind.REQUEST) if sent.leg.predictor == "default"}
    labels = {sent.puid: sent for sent in of_kind(minute, Kind.FEEDBACK) if sent.leg.predictor == "default"}
    copies = {sent.puid: sent for sent in of_kind(minute, Kind.FEEDBACK) if sent.leg.predictor == "shadow"}
    soonest, latest = LABEL_DELAY_SECONDS
    delays = [sent.at - asked[puid] for puid, sent in labels.items()]
    assert min(delays) >= soonest - 0.001
    assert max(delays) <= latest + 0.001
    settled = [puid for puid, at in asked.items() if at < BEGIN + 60 - latest]
    assert 0.90 < sum(puid in labels for puid in settled) / len(settled) < 0.99
    assert 0.1 < len(copies) / len(labels) < 0.3
    assert all(copy.event.value == labels[puid].event.value for puid, copy in copies.items())


def test_after_a_while_the_current_breast_cancer_model_fails_and_the_shadow_does_not() -> None:
    drifted = RECORDINGS["breast-cancer"]["phases"][1]["rows"]
    traffic = Traffic(load_recordings(), BEGIN, seed=4, per_second=100, drift_after=2)
    inputs = [row["features"] for row in drifted]
    for sent in of_kind(watched(traffic, 8), Kind.REQUEST):
        if sent.leg.service == "breast-cancer":
            assert (body(sent)["data"]["ndarray"][0] in inputs) == (sent.at >= BEGIN + 2)


def test_the_last_mistake_is_one_whose_label_has_been_sent() -> None:
    traffic = Traffic(load_recordings(), BEGIN, seed=5)
    events = watched(traffic, 30)
    mistake = traffic.last_mistake
    assert mistake is not None
    (answer,) = [
        sent for sent in of_kind(events, Kind.RESPONSE) if (sent.puid, sent.leg.predictor) == (mistake.puid, "default")
    ]
    (label,) = [
        body(sent)["truth"]["data"]["ndarray"][0]
        for sent in of_kind(events, Kind.FEEDBACK)
        if (sent.puid, sent.leg.predictor) == (mistake.puid, "default")
    ]
    assert (predicted(answer), label) == (mistake.predicted, mistake.label)
    assert label != predicted(answer)


def test_what_the_machine_slept_through_is_left_out() -> None:
    traffic = Traffic(load_recordings(), BEGIN, seed=6)
    watched(traffic, 5)
    hour_later = of_kind(traffic.until(BEGIN + 3600), Kind.REQUEST)
    assert min(sent.at for sent in hour_later) >= BEGIN + 3600 - MOST_BEHIND_SECONDS
    assert len(hour_later) < 2 * 40 * MOST_BEHIND_SECONDS


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second, other = (watched(Traffic(load_recordings(), BEGIN, seed=seed), 10) for seed in (7, 7, 8))
    assert first == second
    assert first != other
