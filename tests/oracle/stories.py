"""Stories: random events of a few puids, with everything that the rules speak of."""

from random import Random
from typing import Any, Final, NamedTuple

from tests.builders import Fields, Record, a_feedback, a_request, a_response
from tests.oracle.drift import ASKED, WATCH
from tests.oracle.rules import Rule
from tests.oracle.segments import Fair, Slice

DAY: Final = 86400
#: Few, so that ties are common; on both sides of the bounds of panes and windows.
_TIMES: Final = (0, 0, 1, 2.5, 59.5, 60, 61.25, 130, 299, 300.5, 599, 600, 700, 3599, 3600, 3661, 7300, 40_000, DAY + 5)
_EARLIER: Final = (-1, -61, -3600, -7 * 3600 - 1, -DAY)
_NOWS: Final = (0, 59, 65, 300, 360, 1000, 3600, 3725, 7400, 50_000, DAY, DAY + 700, 2 * DAY, 6.9 * DAY, 8.5 * DAY)

_FAILURES: Final = (
    {"status": {"code": 500, "status": "FAILURE"}},
    {"status": {"code": 503}, "model_version": "v2"},
    {"error": "no memory"},
)
_TEXTS: Final = ("cat", " cat", "dog\t", "dog", "", " ", 'a"b\\c', "4.0", "true", "False")
_NAMES: Final = (["cat", "dog"], ["no", " yes"], ["t:0", "t:1"], ["1.0", "2.0"], ["True", "False"], ["a", "b", "c"])

#: Sorts of answers: what a model's rows are drawn from, and the names that its columns have.
_SORTS: Final[dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    "integers": ((0, 1, 2, 1.0, "1", [0], 3, -1), (None,)),
    "binary": ((0, 1, 1.0, [1], True, False, "true"), (None, ["p"])),
    "texts": (_TEXTS, (None,)),
    "scores": ((0.2, 0.5, 0.7, 0.0, 1.0, 1.0000001, -1e-7, [0.9]), (None, None, ["no", "yes"], ["t:0", "t:1"])),
    "pairs": (([0.25, 0.75], [0.75, 0.25], [0.5, 0.5], [0, 1]), (None, *_NAMES[:5], ["only"])),
    "triples": (
        ([0.2, 0.5, 0.3], [0.9, 0, 0.1], [0.3, 0.3, 0.4]),
        (None, None, ["a", "b", "c"], ["t:0", "t:1", "t:2"]),
    ),
    "named": ((0, 1, 2, "a", "b", 7), (["a", "b", "c"], ["cat", "dog", "a"])),
    "measurements": ((1.5, -2.25, 3, 0.5, 1e6, 7.125), (None,)),
    "mixed": ((0, 0.3, "cat", 1.5, True, 2), (None,)),
}
_LABELS: Final = (0, 1, 0, 1, 2, 3, True, False, 1.0, 0.3, 1.5, 7, "1", "0", "true", "FALSE", *_TEXTS, "t:1", "t:5",
    "yes", "no", "a", "b", "c", "maybe", "1.0", [1], [0, 1], [1, 0, 0], -1)  # fmt: skip
_REWARDS: Final = (0, 1, 1, -0.5, 0.1, True, False, 0.1, 1e6, None)

_RULES: Final[tuple[tuple[Rule, ...], ...]] = (
    (),
    (),
    (Rule("ns/svc/*", scored_model="n"),),
    (Rule("ns/*", scored_model="n"), Rule("*/shadow/*", threshold=0.25)),
    (Rule("*/svc/*", scored_model="x", shadow=("shadow", "silent")),),
    (Rule("*", shadow=("canary",)),),
    (Rule("ns/svc/default/*", task="regression"), Rule("*/n", task="multiclass")),
    (Rule("*/m", task="binary"), Rule("ns/*", task="multiclass")),
    (Rule("*", positive="1", threshold=0.7),),
    (Rule("*", positive="0"),),
    (Rule("*", classes=("no", "yes")), ),
    (Rule("*/m", classes=("no", "yes"), positive="no"), Rule("*", classes=("a", "b", "c"))),
    (Rule("*", task="binary", classes=("no", "yes"), threshold=0.3),),
    (Rule("*", task="multiclass", classes=("a", "b", "c")),),
    (Rule("*", classes=("0", "1")),),
)  # fmt: skip
_ESTIMATED: Final[tuple[tuple[Rule, ...], ...]] = (
    (Rule("*", estimate=True, least_count=1),),
    (Rule("*", task="binary", positive="1", estimate=True, least_count=2),),
    (Rule("*", classes=("no", "yes"), positive="no", estimate=True, least_count=1),),
)
#: Sorts of answers that have probabilities.
_PROBABLE: Final = ("scores", "pairs", "triples")
_WATCHED: Final[tuple[tuple[Rule, ...], ...]] = (
    (Rule("*", watch=WATCH),),
    (Rule("*/shadow/*", positive="1", watch=WATCH), Rule("*/m", task="regression", watch=WATCH)),
    (Rule("*", classes=("no", "yes"), scored_model="n", watch=WATCH),),
)

_COUNTRY, _TIER, _AGE = (
    Slice("country", "tags", "country"),
    Slice("tier", "headers", "x-tier"),
    Slice("x", "features", "x"),
)
_SLICED: Final[tuple[tuple[Rule, ...], ...]] = (
    (Rule("*", segments=(_COUNTRY, _TIER, _AGE._replace(bins=(10.0, 30.5)))),),
    (
        Rule(
            "*",
            segments=(_COUNTRY._replace(kept=("DE",)), Slice("way", "route")),
            fairness=Fair("country", "DE"),
        ),
    ),
    (
        Rule(
            "*/svc/default/*",
            task="binary",
            segments=(_AGE._replace(bins=(10.0,), kept=("<10",)), _TIER),
            fairness=Fair("x", "<10", "0"),
        ),
        Rule("*", segments=(Slice("who", "payload", "meta.who.id"),)),
    ),
    (Rule("*", classes=("no", "yes"), segments=(_TIER,), fairness=Fair("tier", "gold", "yes")),),
    (Rule("*", watch=WATCH, segments=(_AGE._replace(bins=(6.0, 20.0)), _COUNTRY._replace(bins=(2.0,)))),),
)
#: No more than twice as many texts of one segment as are shown, so that none is lost before all are known.
_COUNTRIES: Final[tuple[Any, ...]] = ("DE", "FR", None, 2, " IT", "", 2.5, True, ["DE"], ["a", "b"], {}, "x" * 101)
_TIERS: Final = (b"gold", b"free", None, b" gold", b"", b"3.5")
_FEATURES: Final[tuple[list[list[Any]], ...]] = (
    [[20]],
    [[5]],
    [[5], [20]],
    [[5], [5]],
    [[40], [None], ["old"]],
    [["7"], [10], [True]],
)

_LEGS: Final[tuple[Fields, ...]] = (
    {}, {}, {"model": "n"}, {"model": "x"}, {"predictor": "shadow"}, {"predictor": "shadow", "model": "n"},
    {"predictor": "canary"}, {"predictor": "silent"}, {"service": "other"}, {"namespace": "far"},
    {"namespace": "far", "predictor": "canary"}, {"namespace": None},
)  # fmt: skip
_NOBODY: Final[Fields] = {"namespace": None, "service": None, "predictor": None, "model": None}
_NAMES_OF_FEEDBACK: Final[tuple[Fields, ...]] = (
    {}, {}, {"predictor": None, "model": None}, {"model": None}, _NOBODY, {"predictor": None},
    {"namespace": None, "predictor": None, "model": None}, {"service": None, "predictor": None, "model": None},
    {"namespace": None, "service": None}, {"namespace": None}, {"model": "typo"}, {"service": "typo"},
    {**_NOBODY, "model": "n"}, {"namespace": None, "service": None, "predictor": None},
)  # fmt: skip


class Story(NamedTuple):
    """Events, the rules that they are judged by, and when somebody looks (seconds after the start)."""

    records: list[Record]
    rules: tuple[Rule, ...]
    now: float
    #: There are longer gaps than the retention: the records must come in their order.
    in_order: bool


def a_story(random: Random) -> Story:
    """Any story."""
    return _Teller(random).story()


class _Teller:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.puids = random.sample(["p", "q", "p-item-1", "r"], random.choice([1, 1, 2, 3]))
        self.legs = random.sample(_LEGS, random.choice([1, 1, 2, 2, 3, 4]))
        self.mirrored: list[Record] = []
        self.counts = {puid: random.choice([1, 1, 1, 2, 3, 3, 20]) for puid in self.puids}
        # Most models are of one sort, and have labels of some kind.
        self.sort = random.choice([*_SORTS])
        self.labels = random.sample(_LABELS, 4)
        self.names = random.choice(_SORTS[self.sort][1])
        self.rules = random.choice(_WATCHED if random.random() < 0.2 else _RULES)
        if random.random() < 0.25:
            self.rules, self.sort = random.choice(_ESTIMATED), random.choice(_PROBABLE)
            self.names = random.choice(_SORTS[self.sort][1])
            self.labels = random.sample((0, 1, 0, 1, 2, "no", "yes", "a", "b"), 4)
        self.sliced = random.random() < 0.25
        #: Models with a reference are asked more than once, those with segments asked and answered.
        self.asked = ["request"] * (6 if self.rules in _WATCHED else 0)
        if self.sliced:  # a few values of a few models, so that groups have rows
            self.rules = random.choice(_SLICED)
            self.puids = ["p", "q", "r", "s", "p-item-1", "t", "u"][: random.choice([2, 4, 7])]
            self.legs = self.legs[: random.choice([1, 1, 2])]
            self.counts = {puid: random.choice([1, 1, 2, 2, 3]) for puid in self.puids}
            self.asked = ["request", "request", "response", "response", "label", "label"]
        few = random.choice([2, 4, 12])
        self.long = 2 if self.sliced else 1  # as many times as many events
        if self.rules and self.rules[0].fairness is not None:
            self.long = 4
            self.sort, self.names = "binary", None
            self.labels = random.choice([[0, 1], [0, 1, 1, 2], ["yes", "no", 1, 0]])
            self.puids, self.legs = [*"pqrstuvw"], [{}]
            self.counts = {puid: random.choice([1, 1, 2]) for puid in self.puids}
            self.asked *= 3
            few = 2
        self.countries, self.tiers = _COUNTRIES[:few], _TIERS[:few]

    def story(self) -> Story:
        random = self.random
        in_order = random.random() < 0.15
        times = sorted(
            random.choice((*_TIMES, *_EARLIER)) for _ in range(random.choice([1, 2, 4, 6, 9, 14]) * self.long)
        )
        if in_order:
            time = -20.0 * DAY
            for number in range(len(times)):
                time += random.choice([0.5, 60, 3600, DAY, 6.5 * DAY, 7 * DAY - 0.5, 7 * DAY, 8 * DAY])
                times[number] = time
        records = [self.event(time, in_order=in_order) for time in times]
        records += self.mirrored
        if not in_order:
            records += [self.again(random.choice(records)) for _ in range(random.choice([0, 0, 1, 3]))]
        now = times[-1] + random.choice(_NOWS) if in_order else random.choice(_NOWS)
        return Story(records, self.rules, now, in_order)

    def event(self, at: float, *, in_order: bool) -> Record:
        random = self.random
        puid = random.choice(self.puids)
        fields: Fields = {"puid": puid, "at": at}
        if not in_order:
            if random.random() < 0.12:
                fields["stamp"] = at - random.choice([300, 300.75, 4000])  # a clock that is ahead
            elif random.random() < 0.1:
                fields["stamp"] = at + random.choice([0.5, 3600])
            elif random.random() < 0.05:
                fields["at"], fields["stamp"] = None, at
        kinds = [*self.asked, "request", "response", "response", "label", "label", "row", "reward", "both", "carried"]
        kind = random.choice(kinds)
        fields |= random.choice(self.legs)
        if kind in ("request", "response"):
            if self.sliced and (tier := random.choice(self.tiers)) is not None:
                fields["headers"] = {random.choice(("x-tier", "ce_x-tier")): tier}
            elif random.random() < 0.08:  # as a function of the time, so that equal events have equal versions
                fields["headers"] = {"ce_modelversion": b"h%d" % (int(at) % 3)}
            if kind == "request":
                if self.sliced:
                    return a_request(self.request(), **fields)
                # As a function of the time, too: of two requests of one time and leg it is open which one counts.
                return a_request(ASKED[int(2 * at) % len(ASKED)], **fields)
            if not in_order and random.random() < 0.35:
                mirrored: Fields = {**fields, "predictor": "shadow"}
                self.mirrored.append(a_response(body=self.answer(puid), **mirrored))
            return a_response(body=self.answer(puid), **fields)
        if random.random() < 0.5:
            fields |= random.choice(_NAMES_OF_FEEDBACK)
        return self.feedback(kind, puid, fields)

    def feedback(self, kind: str, puid: str, fields: Fields) -> Record:
        random = self.random
        body: dict[str, Any] = {}
        if kind == "row":
            fields["row"] = random.choice([0, 0, 1, 2, 5])
            body["truth"] = random.choice([None, self.truth(1), self.truth(1), self.truth(1)])
        elif kind in ("label", "both", "carried"):
            count = self.counts[puid] if random.random() < 0.85 else random.choice([1, 2, 4])
            body["truth"] = random.choice([None, *[self.truth(count) for _ in range(7)]])
        if kind in ("both", "reward", "carried") and not (kind == "carried" and random.random() < 0.5):
            body["reward"] = random.choice(_REWARDS)
        if kind == "reward" and random.random() < 0.2:
            body["truth"] = random.choice([{}, {"meta": {}}])  # no label
        if kind == "carried":
            body["response"] = self.answer(puid)
            if random.random() < 0.7:
                body["request"] = self.request() if self.sliced else {"data": {"ndarray": [[1, 2]]}}
        return a_feedback(body=body, **fields)

    def truth(self, count: int) -> dict[str, Any]:
        """Labels: vectors are alike in all rows, and not all rows are left alone."""
        random = self.random
        label = random.choice(self.labels)
        if isinstance(label, list) and len(label) > 1:
            rows: list[Any] = [random.choice([label, label[::-1]]) for _ in range(count)]
            data: dict[str, Any] = {"ndarray": rows}
            if random.random() < 0.3:
                data["names"] = ["cat", "dog"] if len(label) == 2 else ["a", "b", "c"]
        else:
            scalars = [one for one in self.labels if not (isinstance(one, list) and len(one) > 1)]
            data = {"ndarray": [random.choice(scalars) for _ in range(count)]}
        if count > 1 and random.random() < 0.3:
            for row in random.sample(range(count), random.randrange(1, count)):
                data["ndarray"][row] = None
        return {"data": data}

    def request(self) -> dict[str, Any]:
        """A request that says something of segments."""
        random = self.random
        rows = [[*row, 1] for row in random.choice(_FEATURES)]
        body: dict[str, Any] = {"data": {"names": ["x", random.choice(["y", "land"])], "ndarray": rows}}
        if random.random() < 0.2:
            del body["data"]["names"]
        if random.random() < 0.5:
            body["meta"] = self.meta()
        return body

    def meta(self) -> dict[str, Any]:
        """Where segments of tags and payloads, and the route, have their values."""
        random = self.random
        found: dict[str, Any] = {
            "tags": {"country": random.choice(self.countries)},
            "routing": {"r": random.choice([-1, 0, 1])},
        }
        if random.random() < 0.3:
            found["routing"]["a"] = 2
        if random.random() < 0.6:
            found["who"] = random.choice([{"id": random.choice(self.countries)}, {}, 7])
        return found

    def answer(self, puid: str) -> dict[str, Any]:
        body = self.said(puid)
        if self.sliced and self.random.random() < 0.7:
            body["meta"] = {**self.meta(), **body.get("meta", {})}
        return body

    def said(self, puid: str) -> dict[str, Any]:
        random = self.random
        if random.random() < 0.06:
            return dict(random.choice(_FAILURES))
        sort = self.sort if random.random() < 0.9 else random.choice([*_SORTS])
        values, all_names = _SORTS[sort]
        names = self.names if sort == self.sort and random.random() < 0.8 else random.choice(all_names)
        count = self.counts[puid] if random.random() < 0.92 else random.choice([1, 2, 3])
        rows = [random.choice(values) for _ in range(count)]
        body: dict[str, Any] = {"data": {"ndarray": rows}}
        if names is not None:
            body["data"]["names"] = names
        if random.random() < 0.25:
            body["model_version"] = random.choice(["v1", "v2", 3])
        elif random.random() < 0.1:
            body["meta"] = {"requestPath": {"m": "registry/m:1.2", "n": "registry:80/n:7"}}
        return body

    def again(self, record: Record) -> Record:
        """A redelivery: the same record, or the same event as a new one."""
        if self.random.random() < 0.5 or "ce_time" not in dict(record.headers):
            return record
        return record._replace(timestamp=record.timestamp + self.random.choice([1, 5000, 400_000]))
