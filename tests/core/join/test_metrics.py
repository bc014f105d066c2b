"""Custom metrics: what answers, feedbacks and detectors bring of them, counted exactly in any order."""

import json
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from app.core.events import Kind, Reason
from app.core.limits import Limits
from app.core.measures.custom import CUSTOM, CustomReading
from app.core.measures.measure import Histogram
from app.core.outputs.report import reports_of
from app.core.payloads.messages import message_class
from app.core.payloads.protobuf import to_json
from app.core.rules import Rules
from app.core.segments import TAGS, Segment
from tests.builders import MODEL, START, Ledger, Record, a_feedback, a_request, a_response, known, run, tell
from tests.cases import cases

Values = dict[str, float | tuple[int, float]]
_DRIFT: Final = {"ce_type": b"io.seldon.serving.inference.drift"}
_OUTLIER: Final = {"ce_type": b"io.seldon.serving.inference.outlier"}


def answer(*metrics: Any, version: Any = None, **fields: Any) -> Record:
    body: dict[str, Any] = {"data": {"ndarray": [1]}, "meta": {"metrics": list(metrics)}}
    return a_response(body=body | ({"model_version": version} if version else {}), **fields)


def counter(key: str = "a", value: Any = 1, **tags: Any) -> dict[str, Any]:
    return {"type": "COUNTER", "key": key, "value": value} | ({"tags": tags} if tags else {})


def gauge(key: str = "g", value: Any = 1, **tags: Any) -> dict[str, Any]:
    return counter(key, value, **tags) | {"type": "GAUGE"}


def timer(key: str = "t", value: Any = 1, **tags: Any) -> dict[str, Any]:
    return counter(key, value, **tags) | {"type": "TIMER"}


def read(ledger: Ledger, model: str = MODEL) -> CustomReading:
    return CUSTOM.of(ledger.models()[model].reading)


def values(ledger: Ledger, model: str = MODEL, method: str = "predict") -> Values:
    """What is shown of a model's metrics that came with answers: by key and labels; of timers how many, and the sum."""
    found: Values = {}
    for one in read(ledger, model).series:
        if one.shape.method == method:
            labels = ",".join(f"{name}={value}" for name, value in zip(one.shape.names, one.values, strict=True))
            value = one.value
            found[one.shape.key + (f"{{{labels}}}" if labels else "")] = (
                (sum(value.counts), value.total) if isinstance(value, Histogram) else value
            )
    return found


# -- the recorded cases -----------------------------------------------------------------------------------------------


def test_the_series_after_the_calls_of_seldons_own_test() -> None:
    case = cases("25")
    calls = [answer(*case["metrics_per_call"], puid=f"p{number}", at=number) for number in range(2)]
    for number, name in ((1, "after_1_call"), (2, "after_2_calls")):
        found = values(tell(*calls[:number]))
        timed = found.pop("mytimer")
        assert isinstance(timed, tuple)
        wanted = case[name]
        assert timed[0] == wanted["mytimer_count"]
        assert timed[1] == pytest.approx(wanted["mytimer_sum"], rel=1e-12)
        named = {key.replace("_total", ""): value for key, value in wanted.items() if not key.startswith("mytimer_")}
        assert {key: found[key] for key in named} == named
    assert tell(a_response(1)).models()[MODEL].reading.by_measure["custom"].series == ()
    ran = answer(*case["runtime"]["runtime_metrics"])
    assert values(tell(ran)) == case["runtime"]["expect"]


def test_a_timer_has_the_buckets_of_seldons_wrapper() -> None:
    (series,) = read(tell(answer(timer(value=20.2)))).series
    assert isinstance(series.value, Histogram)
    bounds = cases("25")["timer"]["buckets_le"]
    assert [*series.value.bounds, "+Inf"] == bounds
    assert len(series.value.counts) == cases("25")["timer"]["bucket_count"]
    assert [bound for bound, count in zip(bounds, series.value.counts, strict=True) if count] == [0.02347185009632733]


@pytest.mark.parametrize(
    ("milliseconds", "bound"),
    [(0, 0.001), (1, 0.001), (1.0001, 0.0012341553253454693), (30_000, "+Inf"), (1e6, "+Inf")],
)
def test_a_time_belongs_to_the_first_bound_that_it_does_not_exceed(milliseconds: float, bound: Any) -> None:
    (series,) = read(tell(answer(timer(value=milliseconds)))).series
    assert isinstance(series.value, Histogram)
    assert [*series.value.bounds, "+Inf"][series.value.counts.index(1)] == bound


def test_tags_of_answers_are_segments_whatever_the_wrapper_has_put_together() -> None:
    """Case 25: the wrapper merges the tags of the request, of the model and of the call; the answer has the outcome."""
    for part, names in (("tags_merge", ("static", "runtime", "shared")), ("tags_passthrough", ("foo", "mytag"))):
        tags = cases("25")[part]["expect_response_tags"]
        rules = Rules(segments=tuple(Segment(name, TAGS, name) for name in names))
        ledger = tell(a_response(body={"data": {"ndarray": [1]}, "meta": {"tags": tags}}), rules=[rules])
        segments = ledger.models()[MODEL].reading.segments
        assert {*segments} == {(name, str(value)) for name, value in tags.items()}


def test_the_metrics_that_seldon_takes_and_those_that_prometheus_cannot_show() -> None:
    for case in cases("24")["cases"]:
        ledger = tell(a_response(body={"data": {"ndarray": [1]}, "meta": {"metrics": case["metrics"]}}))
        assert ledger.models()[MODEL].parts["response"] == 1, "the answer counts in any case"
        refused = [*ledger.refusals] == [Reason.BAD_METRIC]
        match case["ours"]:
            case bool(ours):
                assert refused != ours, case
            case "1 or reject, stated":
                assert values(ledger) == {"a": 1}
            case "sanitise or reject":
                assert refused
            case "tag value to string":
                assert values(ledger) == {"a{k=1}": 1}
            case other:
                pytest.fail(f"unknown: {other}")


def test_what_a_drift_detector_says_is_the_series_of_seldons_detector_server() -> None:
    case = cases("29")["drift"]
    ledger = tell(a_response(body=case["detector_output"], model=None, headers=_DRIFT))
    series = read(ledger, "ns/svc/default").series
    found = sorted([one.shape.key, one.shape.type, one.value, *one.values] for one in series)
    assert found == sorted(case["metrics"])
    assert len(found) == case["metric_count"]
    assert {(one.shape.method, one.shape.names) for one in series} == {("drift", ("index",))}


def test_what_an_outlier_detector_says_is_by_row() -> None:
    body = {"data": {"is_outlier": [1, 0, 1], "instance_score": [0.9, 0.1, 0.7], "feature_score": None}}
    ledger = tell(a_response(body=body, headers=_OUTLIER))
    assert {(one.shape.key, one.shape.type) for one in read(ledger).series} == {
        (key, of_type) for key, of_type in cases("29")["outlier"]["metrics"]
    }
    assert values(ledger, method="outlier") == {
        "seldon_metric_outlier_is_outlier{index=0}": 1,
        "seldon_metric_outlier_is_outlier{index=1}": 0,
        "seldon_metric_outlier_is_outlier{index=2}": 1,
        "seldon_metric_outlier_instance_score{index=0}": 0.9,
        "seldon_metric_outlier_instance_score{index=1}": 0.1,
        "seldon_metric_outlier_instance_score{index=2}": 0.7,
    }


def test_the_outlier_events_of_the_request_loggers_own_test_count_each_row() -> None:
    for case in cases("14")["cases"]:
        ledger = tell(a_response(body=case["body"], headers=_OUTLIER))
        outliers = [value for key, value in values(ledger, method="outlier").items() if "is_outlier" in key]
        assert outliers == case["body"]["data"]["is_outlier"]


def test_a_detector_of_seldon_core_2_answers_like_a_model() -> None:
    case = cases("29")["core2_drift_output"]
    tensor = case["tensor"]
    data = [int(value) for value in tensor["contents"]["int64Contents"]]
    output = {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [1, 1], "data": data}
    ledger = tell(a_response(body={"model_name": "income-drift", "outputs": [output]}))
    (row,) = ledger.describe()["legs"][0]["rows"]
    assert row["predicted"] == str(case["expect"]["is_drift"])


# -- what counts ------------------------------------------------------------------------------------------------------


def test_counters_add_gauges_keep_the_newest_and_timers_are_histograms() -> None:
    ledger = tell(
        answer(counter(value=2.5), gauge(value=7), timer(value=3), puid="p", at=3),
        answer(counter(value=1), gauge(value=9), timer(value=4), puid="q", at=1),
    )
    assert values(ledger) == {"a": 3.5, "g": 7, "t": (2, 0.007)}


def test_an_answer_that_replaces_another_takes_its_counters_and_times_back() -> None:
    ledger = tell(
        answer(counter(value=5), counter("once"), timer(value=8), at=1),
        answer(counter(value=2), timer(value=1), version="v2", at=2),
    )
    assert values(ledger, f"{MODEL}@v2") == {"a": 2, "t": (1, 0.001)}
    assert [*ledger.models()] == [f"{MODEL}@v2"]


def test_a_gauge_keeps_what_was_said_last_of_replaced_answers_too() -> None:
    assert values(tell(answer(gauge(value=5), at=1), a_response(1, at=2))) == {"g": 5}
    assert values(tell(answer(gauge(value=5), at=1), answer(gauge(value=4), at=2))) == {"g": 4}


def test_an_answer_that_a_feedback_carries_counts_until_the_real_one_comes_but_for_its_gauges() -> None:
    response = {"data": {"ndarray": [1]}, "meta": {"metrics": [counter(value=3), gauge(value=1)]}}
    carried = a_feedback(1, response=response, at=9)
    assert values(tell(carried)) == {"a": 3}
    real = answer(counter(value=3), gauge(value=1), at=1)
    assert values(tell(carried, real, answer(gauge(value=2), puid="q", at=5))) == {"a": 3, "g": 2}


def test_what_a_feedback_brings_counts_apart_by_its_method_for_the_model_without_version() -> None:
    truth = {"data": {"ndarray": [1]}, "meta": {"metrics": [counter(value=2), gauge(value=5)]}}
    ledger = tell(answer(counter(), version="v1", at=1), a_feedback(truth=truth, at=2))
    assert values(ledger, f"{MODEL}@v1") == {"a": 1}
    assert values(ledger, method="feedback") == {"a": 2, "g": 5}
    again = a_feedback(body={"truth": truth, "meta": {"metrics": [timer(value=2)]}}, at=3)
    assert values(tell(a_feedback(truth=truth, at=2), again), method="feedback") == {"a": 2, "g": 5, "t": (1, 0.002)}


def test_a_feedback_of_metrics_alone_is_one() -> None:
    ledger = tell(a_feedback(body={"truth": {"meta": {"metrics": [counter()]}}}, at=120))
    assert ledger.refusals == []
    assert values(ledger, method="feedback") == {"a": 1}
    (report,) = reports_of(ledger.readings(), START)
    assert report["first_seen"].startswith("2026-11-21T07:02")
    assert tell(a_feedback(body={"truth": {"meta": {"tags": {}}}})).refusals == [Reason.EMPTY]


def test_a_feedback_for_a_row_counts_without_metrics_and_says_so() -> None:
    body = {"truth": {"data": {"ndarray": [1]}, "meta": {"metrics": [counter()]}}}
    ledger = tell(a_response(1, 0), a_feedback(body=body, row=1, at=1))
    assert ledger.models()[MODEL].judged == 1
    assert values(ledger, method="feedback") == {}
    assert ledger.refusals == [Reason.BAD_METRIC]


def test_the_metrics_of_requests_are_those_that_the_answer_passes_on() -> None:
    body = {"data": {"ndarray": [[1]]}, "meta": {"metrics": [counter()]}}
    assert values(tell(a_request(body), answer(counter(), at=1))) == {"a": 1}


def test_protobuf_has_them_too() -> None:
    message = message_class("seldon.protos.SeldonMessage")()
    message.strData = "cat"
    message.meta.metrics.add(key="first", value=2)  # a counter is the type of number 0
    message.meta.metrics.add(key="none")
    message.meta.metrics.add(key="t", value=20.5, type=2, tags={"k": "v"})
    ledger = tell(a_response(value=to_json(message.SerializeToString(), Kind.RESPONSE)))
    assert values(ledger) == {"first": 2, "none": 0, "t{k=v}": (1, 0.0205)}


def test_two_of_one_event_add_and_of_a_gauge_the_last_one_counts() -> None:
    assert values(tell(answer(counter(), counter(value=2), gauge(value=9), gauge(value=3)))) == {"a": 3, "g": 3}


def test_a_counter_of_zero_is_there() -> None:
    assert values(tell(answer(counter(value=0)))) == {"a": 0}


def test_a_detection_that_replaces_another_takes_its_counter_back() -> None:
    one = a_response(body={"data": {"is_drift": 1}}, headers=_DRIFT, at=1)
    other = a_response(body={"data": {"is_drift": 0}}, headers=_DRIFT, at=2)
    found = values(tell(one, other), method="drift")
    assert found["seldon_metric_drift_counter{index=0}"] == 0
    assert found["seldon_metric_drift_is_drift{index=0}"] == 0


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": []}, {"data": {"is_drift": None}}, {"meta": {}}])
def test_a_detection_without_numbers_counts_nothing(body: dict[str, Any]) -> None:
    ledger = tell(a_response(body=body, headers=_DRIFT), a_response(1))
    assert read(ledger).series == ()
    assert ledger.refusals == []


# -- names, values, tags ----------------------------------------------------------------------------------------------

BAD: Final[list[tuple[Any, str]]] = [
    ({"metrics": "x"}, "must be a list"),
    ({"metrics": {"a": 1}}, "must be a list"),
    ({"metrics": 0}, "must be a list"),
    ({"metrics": [None]}, "must be an object"),
    ({"metrics": ["x"]}, "must be an object"),
    ({"metrics": [counter(), [1]]}, "must be an object"),
    ({"metrics": [counter() | {"type": "counter"}]}, "type must be COUNTER"),
    ({"metrics": [counter() | {"type": ["GAUGE"]}]}, "type must be COUNTER"),
    ({"metrics": [counter("1a")]}, "key must be a name"),
    ({"metrics": [counter("é")]}, "key must be a name"),
    ({"metrics": [counter("a\n")]}, "key must be a name"),
    ({"metrics": [counter("a" * 101)]}, "key must be a name"),
    ({"metrics": [counter() | {"key": 5}]}, "key must be a name"),
    ({"metrics": [counter() | {"key": ["a"]}]}, "key must be a name"),
    ({"metrics": [gauge("tally_rows")]}, "Tally has a series of that name"),
    ({"metrics": [gauge("python_info")]}, "Tally has a series of that name"),
    ({"metrics": [counter("correct")]}, "Tally has a series of that name"),
    ({"metrics": [counter("correct_total")]}, "Tally has a series of that name"),
    ({"metrics": [gauge("true_pos")]}, "Tally has a series of that name"),
    ({"metrics": [counter(value=-1)]}, "a counter never falls"),
    ({"metrics": [counter(value=1e10)]}, "0 to 1e9"),
    ({"metrics": [counter(value=10**40)]}, "0 to 1e9"),
    ({"metrics": [timer(value=-0.1)]}, "of milliseconds from 0"),
    ({"metrics": [timer(value="3")]}, "of milliseconds from 0"),
    ({"metrics": [gauge(value=10**400)]}, "finite"),
    ({"metrics": [gauge(value="high")]}, "finite"),
    ({"metrics": [gauge(value={})]}, "finite"),
    ({"metrics": [counter() | {"tags": ["k"]}]}, "tags must be an object"),
    ({"metrics": [counter() | {"tags": 0}]}, "tags must be an object"),
    ({"metrics": [counter(**{f"k{number}": "v" for number in range(11)})]}, "at most 10"),
    ({"metrics": [counter(**{"a-b": "v"})]}, "tag 'a-b' is no name"),
    ({"metrics": [counter(__a="v")]}, "tag '__a' is no name"),
    ({"metrics": [counter(**{"": "v"})]}, "tag '' is no name"),
]


@pytest.mark.parametrize(("meta", "why"), BAD, ids=str)
def test_what_cannot_be_used_is_refused_alone_and_its_letter_says_why(meta: dict[str, Any], why: str) -> None:
    record = a_response(value=json.dumps({"data": {"ndarray": [1]}, "meta": meta}).encode())
    ledger = Ledger().absorb(record).cut()
    assert ledger.models()[MODEL].parts["response"] == 1
    (letter,) = ledger.dead
    assert letter.reason is Reason.BAD_METRIC
    assert letter.detail.startswith("the answer counts, but for this: ")
    assert why in letter.detail
    again = ledger.absorb(record).cut()  # the same once more is no news
    assert len(again.dead) == 1


def test_the_good_ones_beside_a_bad_one_count() -> None:
    ledger = tell(answer(counter(), {"key": "b"}, timer()))
    assert values(ledger) == {"a": 1, "t": (1, 0.001)}


def test_numbers_that_are_not_finite_do_not_count() -> None:
    value = b'{"data": {"ndarray": [1]}, "meta": {"metrics": [{"type": "GAUGE", "key": "g", "value": NaN}]}}'
    ledger = Ledger().absorb(a_response(value=value)).cut()
    assert ledger.refusals == [Reason.BAD_METRIC]
    assert values(ledger) == {}


def test_null_in_the_place_of_metrics_or_tags_is_none() -> None:
    body = {"data": {"ndarray": [1]}, "meta": {"metrics": None}}
    assert tell(a_response(body=body)).refusals == []
    assert tell(a_response(body=body | {"data": {"tensor": {"shape": [1], "values": [1]}}})).refusals == []
    assert values(tell(answer(counter() | {"tags": None}, counter() | {"tags": {}}))) == {"a": 2}


def test_a_counter_is_the_same_with_the_ending_of_prometheus() -> None:
    assert values(tell(answer(counter("a"), counter("a_total")))) == {"a": 2}


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ({"b": "x", "a": "y"}, "a=y,b=x"),
        ({"k": 1}, "k=1"),
        ({"k": 1.0}, "k=1"),
        ({"k": True}, "k=true"),
        ({"k": None}, "k="),
        ({"k": [1, 2]}, "k=(list)"),
        ({"k": {"a": 1}}, "k=(object)"),
        ({"k": "v" * 101}, "k=(too long)"),
        ({"model": "x", "method": "y", "le": "z"}, "exported_le=z,exported_method=y,exported_model=x"),
        ({"model": "x", "exported_model": "y"}, "exported_model=y,exported_exported_model=x"),
        ({"secret": "x", "k": "v"}, "k=v"),
    ],
)
def test_tags_are_labels(tags: dict[str, Any], labels: str) -> None:
    ledger = tell(answer(counter(**tags)), rules=[Rules(redact=("secret",))])
    assert values(ledger) == {f"a{{{labels}}}": 1}


def test_one_and_true_are_two_tags() -> None:
    story = [answer(counter(k=value), puid=f"{order}") for order, value in enumerate(("1", 1, True, 1.0))]
    assert values(tell(*story)) == {"a{k=1}": 3, "a{k=true}": 1}


# -- limits -----------------------------------------------------------------------------------------------------------


def test_only_so_many_metrics_and_label_sets_are_shown_whatever_the_order() -> None:
    names = [answer(counter(f"m{number}"), puid=f"n{number}") for number in range(12)]
    sets = [answer(counter(k=f"v{number}"), puid=f"s{number}", model="n") for number in range(12)]
    told = [
        run(order, [1] * 24, limits=Limits(metrics=3, metric_series=4))
        for order in ([*names, *sets], [*sets[::-1], *names[::-1]])
    ]
    for ledger in told:
        assert len(read(ledger).series) == 3
        shown = values(ledger, "ns/svc/default/n")
        assert len(shown) == 5
        assert sum(value for value in shown.values() if isinstance(value, float)) == 12, "none is lost"
        assert shown["a{k=other}"] == 8
    assert values(told[0]) == values(told[1])
    assert values(told[0], "ns/svc/default/n") == values(told[1], "ns/svc/default/n")


def test_what_is_beyond_all_limits_costs_no_more_than_a_few_words() -> None:
    ledger = Ledger(limits=Limits(metrics=2, metric_series=2))
    for number in range(200):
        metrics = [counter(f"m{number}"), gauge(k=str(number)), timer(k=str(number))]
        ledger.absorb(answer(*metrics, puid=f"p{number}")).settle()
    ledger.cut()
    assert len(ledger.shards[0].numbers.metric_series) < 50
    reading = read(ledger)
    assert reading.dropped > 100
    assert len(reading.series) == 2
    assert reading.hidden > 0
    (report,) = reports_of(ledger.readings(), START)
    assert any("TALLY_MAX_METRICS" in note for note in report["notes"])
    twin = ledger.copy()
    assert values(twin) == values(ledger)
    twin.absorb(answer(counter("m1"), puid="new")).cut()
    assert len(read(twin).series) == 2


def test_none_are_read_where_none_are_shown() -> None:
    ledger = run([answer(counter(), {"bad": 1})], [], limits=Limits(metrics=0))
    assert read(ledger).series == ()
    assert ledger.refusals == []
    assert len(ledger.panes[0]) == len(run([a_response(1)], []).panes[0])


def test_a_refused_exchange_leaves_no_trace_of_its_gauges() -> None:
    ledger = Ledger(limits=Limits(exchange_bytes=3000))
    body = {"data": {"ndarray": [0] * 3000}, "meta": {"metrics": [gauge(), {"key": "bad"}]}}
    ledger.absorb(a_response(1), a_response(body=body, at=1)).cut()
    assert ledger.refusals == [Reason.EXCHANGE_TOO_LARGE]
    assert values(ledger) == {}


# -- /api/models ------------------------------------------------------------------------------------------------------


def test_the_report_says_them() -> None:
    ledger = tell(answer(counter(k="v"), gauge(value=2), timer(value=3), at=1))
    (report,) = reports_of(ledger.readings(), START)
    assert report["custom_metrics"] == [
        {"key": "a", "type": "COUNTER", "method": "predict", "tags": {"k": "v"}, "value": 1.0},
        {
            "key": "g", "type": "GAUGE", "method": "predict", "tags": {}, "value": 2.0,
            "time": "2026-11-21T07:00:01.000000Z",
        },
        {"key": "t", "type": "TIMER", "method": "predict", "tags": {}, "count": 1, "sum": 0.003},
    ]  # fmt: skip
    assert "custom_metrics" not in report["windows"]["total"]
    assert orjson.dumps(report)


def test_two_types_of_one_name_are_told_to_both_models() -> None:
    ledger = tell(answer(counter("x")), answer(gauge("x"), model="n", puid="q"))
    notes = {report["model"]: report["notes"] for report in reports_of(ledger.readings(), START)}
    assert notes["m"] == []
    (note,) = notes["n"]
    assert note.startswith("Custom metric x comes as a GAUGE and")


# -- laws -------------------------------------------------------------------------------------------------------------

METRICS: Final = st.lists(
    st.sampled_from(
        [
            counter(), counter(value=0.5), counter(value=0), counter(k="v"), counter("b", k="w"), counter(value=-1),
            gauge(value=1), gauge(value=2), gauge(k="v"), timer(value=2), timer(value=2.5, k="v"), timer("a"), {"x": 1},
        ]
    ),
    max_size=4,
)  # fmt: skip


@st.composite
def an_event(draw: st.DrawFn) -> Record:
    at = draw(st.sampled_from([0.0, 1.0, 1.0, 70.0]))
    fields: dict[str, Any] = {
        "puid": draw(st.sampled_from(["p", "q"])),
        "at": at,
        "stamp": at - draw(st.sampled_from([0, 301])),
    }
    fields["model"] = draw(st.sampled_from(["m", "m", "n"]))
    metrics = draw(METRICS)
    kind = draw(st.sampled_from(["answer", "answer", "request", "feedback", "carried", "drift"]))
    if kind == "answer":
        return answer(*metrics, version=draw(st.sampled_from([None, "v1"])), **fields)
    if kind == "request":
        return a_request(**fields)
    if kind == "drift":
        body = {"data": {"is_drift": draw(st.sampled_from([0, 1])), "p_val": [0.25, 0.5]}}
        return a_response(body=body, headers=_DRIFT, **fields)
    truth = {"data": {"ndarray": [draw(st.sampled_from([0, 1]))]}, "meta": {"metrics": metrics}}
    response = {"data": {"ndarray": [1]}, "meta": {"metrics": metrics}} if kind == "carried" else None
    return a_feedback(truth=truth, response=response, **fields)


def of_one_mind(records: list[Record]) -> list[Record]:
    return list({(record.value, tuple(record.headers)): record for record in records}.values())


stories = st.lists(an_event(), min_size=1, max_size=8).map(of_one_mind)


@given(st.data(), stories)
def test_order_batches_repetition_and_partitions_change_nothing(data: st.DataObject, records: list[Record]) -> None:
    straight = run(records, [])
    again = data.draw(st.permutations([*records, *records[:2]]))
    other = run(again, data.draw(st.lists(st.integers(1, 3), max_size=6)), partitions=data.draw(st.integers(1, 3)))
    assert {name: CUSTOM.of(model.reading) for name, model in other.models().items()} == {
        name: CUSTOM.of(model.reading) for name, model in straight.models().items()
    }
    assert other.rows() == straight.rows()
    assert known(other, records) == known(straight, records)


@given(st.data(), stories)
def test_a_restart_at_any_cut_changes_nothing(data: st.DataObject, records: list[Record]) -> None:
    half = data.draw(st.integers(0, len(records)))
    straight = run(records, [half])
    restarted = run(records[:half], [])
    restarted.absorb(*records[half:]).settle()  # lost: this epoch is never written
    restarted.restart()
    restarted.absorb(*records[half:]).cut()
    assert restarted.rows() == straight.rows()
    twin = restarted.copy()
    assert twin.rows() == restarted.rows()
    assert [shard.store for shard in twin.shards] == [shard.store for shard in restarted.shards]


def said_by_answers(records: list[Record]) -> dict[tuple[str, str], float]:
    """The sums of counters without tags over the answers that hold, from the events alone: by model and key."""
    best: dict[tuple[Any, Any], tuple[Any, dict[str, Any]]] = {}
    for record in records:
        headers, value = dict(record.headers), record.value or b""
        rank, at = (headers["ce_time"], xxh3_64_intdigest(value)), (record.key, headers["ce_modelid"])
        if at not in best or rank > best[at][0]:
            best[at] = rank, orjson.loads(value)
    found: dict[tuple[str, str], float] = {}
    for (_, model), (_, body) in best.items():
        name = f"ns/svc/default/{model.decode()}" + (f"@{body['model_version']}" if "model_version" in body else "")
        for metric in body["meta"]["metrics"]:
            if metric.get("type") == "COUNTER" and metric["value"] >= 0 and "tags" not in metric:
                found[name, metric["key"]] = found.get((name, metric["key"]), 0) + metric["value"]
    return found


@given(stories)
def test_counters_are_the_sums_of_the_answers_that_hold(records: list[Record]) -> None:
    answers = [record for record in records if dict(record.headers)["ce_type"].endswith(b"inference.response")]
    found = {
        (name, one.shape.key): one.value
        for name, model in run([*answers, *answers], [1, 2]).models().items()
        for one in CUSTOM.of(model.reading).series
        if one.shape.type == "COUNTER" and not one.values
    }
    assert found == said_by_answers(answers)
