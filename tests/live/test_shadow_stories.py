"""The two stories of a model and its shadow that the mission tells, LogisticRegression against Perceptron on breast
cancer and on iris, replayed with labels that come late: the series, `/api`, Elasticsearch and `tally compare`, by a
worker and by Elasticsearch, say the same, and what scikit-learn and scipy say.
"""

import json
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from elasticsearch import Elasticsearch
from scipy import stats
from sklearn import metrics
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.live import servers
from tests.live.forked import run_text
from tests.live.story import NOW, Event, an_event
from tests.live.test_comparison import OF_ALL, OF_CLASS, case, is_close
from tests.live.test_exactness import COMMON
from tests.live.test_windows import COMPARISONS, INDEX, search
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for

#: The requests come from here on, one a second; their labels an hour and forty minutes later.
ASKED: Final = NOW.replace(hour=7, minute=10, second=0)
LABELLED: Final = timedelta(minutes=100)
#: Windows by either clock that end now and hold all of a story, and those that hold nothing of it.
FULL: Final = ("total", "24h", "labels_1h", "labels_24h")
EMPTY: Final = ("5m", "1h", "labels_5m")
LEGS: Final = ("default", "shadow")


class Story(NamedTuple):
    """A service, and of each row what the current model said, what the shadow said, and what was right."""

    service: str
    rows: list[tuple[Any, Any, Any]]

    def events(self, namespace: str) -> Iterator[Event]:
        for number, (*answers, label) in enumerate(self.rows):
            asked = int((ASKED + timedelta(seconds=number)).timestamp() * 1e6)
            puid = f"{self.service}-{number}"
            for predictor, answer in zip(LEGS, answers, strict=True):
                leg = (namespace, self.service, predictor, predictor)
                yield an_event("request", puid, leg, asked, {"data": {"ndarray": [[0]]}})
                yield an_event("response", puid, leg, asked + 1000, {"data": {"ndarray": [answer]}})
            told = asked + int(LABELLED.total_seconds() * 1e6)
            truth = {"truth": {"data": {"ndarray": [label]}}}
            yield an_event("feedback", puid, (namespace, self.service, "default", "default"), told, truth)

    def scores(self, predictor: str) -> dict[str, float]:
        """Some scores of a leg, by the names that series have, those of a class behind a slash."""
        if self.service == "cancer":
            expected = case("binary-breast-cancer")["expected"][
                {"default": "logreg", "shadow": "perceptron"}[predictor]
            ]
            malignant = expected["per_class"]["malignant"]
            return {name: expected["overall"][name] for name in OF_ALL} | {
                name: malignant[theirs] for name, theirs in OF_CLASS.items()
            }
        predicted, labels = [row[LEGS.index(predictor)] for row in self.rows], [row[2] for row in self.rows]
        recalls = metrics.recall_score(labels, predicted, average=None)
        return {
            "accuracy": metrics.accuracy_score(labels, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "mcc": metrics.matthews_corrcoef(labels, predicted),
            "kappa": metrics.cohen_kappa_score(labels, predicted),
            "f1_macro": metrics.f1_score(labels, predicted, average="macro"),
            "precision_weighted": metrics.precision_score(labels, predicted, average="weighted"),
        } | {f"recall/{number}": recall for number, recall in enumerate(recalls)}

    def comparison(self) -> dict[str, float]:
        """What the legs come to on the shared rows."""
        right = Counter((current == label, shadow == label) for current, shadow, label in self.rows)
        first, second = right[True, False], right[False, True]
        assert first + second < 25  # so McNemar's test is the exact one
        return {
            "samples": len(self.rows),
            "agreement": sum(current == shadow for current, shadow, _ in self.rows) / len(self.rows),
            "only_current_right": first,
            "only_shadow_right": second,
            "accuracy_difference": (second - first) / len(self.rows),
            "p_value": float(stats.binomtest(min(first, second), first + second).pvalue),
        }


def cancer() -> Story:
    names = ("logreg", "perceptron")
    rows = case("binary-breast-cancer")["rows"]
    return Story("cancer", [(*(row[name]["prediction"] for name in names), row["label"]) for row in rows])


def iris() -> Story:
    """As the recording of the cancer was made: half of the rows for training, scaled, one seed."""
    data = load_iris()
    train, test, labels, right = train_test_split(
        data.data, data.target, test_size=0.5, random_state=0, stratify=data.target
    )
    models = (LogisticRegression(max_iter=1000), Perceptron(random_state=0))
    answers = [make_pipeline(StandardScaler(), model).fit(train, labels).predict(test) for model in models]
    rows = zip(*(one.tolist() for one in (*answers, right)), strict=True)
    return Story("iris", [(current, shadow, label) for current, shadow, label in rows])


def compared(story: Story, namespace: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    legs = (f"{namespace}/{story.service}/{predictor}/*" for predictor in LEGS)
    return run_text(settings, "compare", *legs, *options)


def of_model(worker: Worker, story: Story, predictor: str) -> dict[str, Any]:
    found = json.loads(worker.get("/api/models"))["models"]
    return next(
        (one for one in found if (one["model_service"], one["predictor"]) == (story.service, predictor)),
        {"windows": {}},
    )


def labelled(worker: Worker, story: Story, predictor: str) -> int:
    rows = of_model(worker, story, predictor).get("rows", {})
    return int(rows.get("correct", 0) + rows.get("incorrect", 0))


def exported(worker: Worker) -> dict[tuple[str, str], float]:
    """The labelled rows of each leg in the series, which are made a moment after what `/api` says."""
    found: Counter[tuple[str, str]] = Counter()
    for (_, pairs), value in worker.series("tally_rows").items():
        words = dict(pairs)
        if words["verdict"] in ("correct", "incorrect"):
            found[words["model_service"], words["predictor"]] += int(value)
    return dict(found)


def series(worker: Worker, name: str, **labels: str) -> dict[str, dict[str, float]]:
    """By the first label that is not given, and by window."""
    found: dict[str, dict[str, float]] = {}
    for (_, pairs), value in worker.series(name).items():
        words = dict(pairs)
        if labels.items() <= words.items():
            found.setdefault(words.get("quantity") or _score_name(words), {})[words["window"]] = value
    return found


def _score_name(words: dict[str, str]) -> str:
    return f"{words['score']}/{words['class']}" if words["class"] else words["score"]


@pytest.fixture
def client(elasticsearch: servers.Elasticsearch) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch.url, request_timeout=60) as client:
        yield client


def test_all_say_the_same_of_both_stories(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, client: Elasticsearch, tmp_path: Path
) -> None:
    stories = [cancer(), iris()]
    namespace = name = f"stories-{uuid.uuid4().hex[:8]}"
    rules = tmp_path / "tally.yaml"
    rules.write_text(
        f"models: [{{match: {namespace}/cancer/*, task: binary, classes: [benign, malignant], positive: malignant}}]\n"
    )
    settings = topic_settings(kafka.bootstrap, name) | COMMON
    settings |= {
        "PARTITIONS": "4",
        "CONFIG": str(rules),
        "ELASTICSEARCH_URL": elasticsearch.url,
        "LOG_TOPIC": f"{name}-log",
    }
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, [event for story in stories for event in story.events(namespace)])
        for story in stories:
            for predictor in LEGS:
                wait_for("all is counted", lambda it=(story, predictor): labelled(worker, *it) == len(it[0].rows))  # type: ignore[misc]
        of_all = {(story.service, predictor): len(story.rows) for story in stories for predictor in LEGS}
        wait_for("the series have all", lambda: exported(worker) == of_all)
        wait_for("the documents are written", lambda: all_written(client, namespace, stories))
        for story in stories:
            for predictor in LEGS:
                assert_scores(worker, client, namespace, story, predictor)
            assert_comparison(worker, client, namespace, story)
            assert_commands(worker, elasticsearch.url, namespace, story)


def all_written(client: Elasticsearch, namespace: str, stories: list[Story]) -> bool:
    """Whether all rows are in the documents: all have three windows by two clocks, pairs the total too."""
    of_pairs = search(client, COMPARISONS, {"term": {"current.model_namespace": namespace}}).values()
    of_models = search(client, INDEX, {"term": {"model_namespace": namespace}}).values()
    return all(
        sorted(
            [one["samples"] for one in of_pairs if one["current"]["model_service"] == story.service]
            + [one["samples"] for one in of_models if one["model_service"] == story.service]
        )
        == [len(story.rows)] * (7 + 6 * len(LEGS))
        for story in stories
    )


def assert_scores(worker: Worker, client: Elasticsearch, namespace: str, story: Story, predictor: str) -> None:
    """Of one leg, in total and by both clocks."""
    wanted = story.scores(predictor)
    model = of_model(worker, story, predictor)
    told = series(worker, "tally_score", model_service=story.service, predictor=predictor)
    for window in FULL:
        for name, value in wanted.items():
            assert is_close(model["windows"][window]["scores"][name], value), (window, name)
            assert is_close(told[name][window], value), (window, name)
    for window in EMPTY:
        assert model["windows"][window]["samples"] == 0
    leg = f"{namespace}/{story.service}/{predictor}/{predictor}"
    documents = search(client, INDEX, {"term": {"identity": leg}})
    day = ASKED.strftime("%Y-%m-%dT")
    assert {place.removeprefix(f"{leg}//").replace(day, "") for place in documents} == {
        "5m/07:10:00Z", "1h/07:00:00Z", "24h/00:00:00Z",
        "labels_5m/08:50:00Z", "labels_1h/08:00:00Z", "labels_24h/00:00:00Z",
    }  # fmt: skip
    for place, document in documents.items():
        assert document["clock"] == ("labels" if "//labels_" in place else "predictions")
        by_class = {one["class"]: one.get("scores") for one in document["classes"]}
        for name, value in wanted.items():
            score, _, of_class = name.partition("/")
            scores = by_class[of_class] if of_class else document["scores"]
            assert is_close(scores[score], value), (place, name)


def assert_comparison(worker: Worker, client: Elasticsearch, namespace: str, story: Story) -> None:
    (answer,) = (
        one
        for one in json.loads(worker.get("/api/comparisons"))["comparisons"]
        if one["current"]["model_service"] == story.service
    )
    told = series(worker, "tally_comparison", model_service=story.service, shadow="shadow/shadow")
    for name, value in story.comparison().items():
        for window in FULL:
            assert is_close(answer["windows"][window][name], value), (window, name)
            assert is_close(told[name][window], value), (window, name)
    of_service = {"bool": {"filter": [
        {"term": {"current.model_namespace": namespace}}, {"term": {"shadow.model_service": story.service}}
    ]}}  # fmt: skip
    documents = search(client, COMPARISONS, of_service)
    windows = ("5m", "1h", "24h", "labels_5m", "labels_1h", "labels_24h", "total")
    assert Counter(document["window"] for document in documents.values()) == Counter(windows)
    total = answer["windows"]["total"]
    for place, document in documents.items():
        assert {name: document[name] for name in total} == total, place
        assert document["sentence"] == answer["sentence"]
        classes = {one.pop("class"): one for one in map(dict, document["classes"])}
        assert classes == answer["classes"]
        assert document.get("report", answer) == answer


def assert_commands(worker: Worker, url: str, namespace: str, story: Story) -> None:
    enough = len(story.rows) >= 100
    for options in ((), ("--window", "24h"), ("--format", "json")):
        by_worker = compared(story, namespace, "--url", worker.url, *options)
        by_documents = compared(story, namespace, *options, "--elasticsearch", NOW=COMMON["NOW"], ELASTICSEARCH_URL=url)
        assert by_worker.returncode == by_documents.returncode == (1 if enough else 3), by_worker
        assert by_worker.stdout == by_documents.stdout
        assert by_worker.stderr == by_documents.stderr == ""
        if not options:
            said = f"n = {len(story.rows)})" if enough else f"Not enough shared labels ({len(story.rows)}, need 100)"
            assert said in by_worker.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--elasticsearch", "http://127.0.0.1:1"), "Elasticsearch at http://127.0.0.1:1 cannot be reached "),
        (("--url", "http://127.0.0.1:1", "--elasticsearch", "http://127.0.0.1:1"), "--url and --elasticsearch: "),
    ],
)
def test_where_nobody_can_be_asked_a_sentence_says_so(options: tuple[str, ...], said: str) -> None:
    found = compared(Story("nothing", []), "nowhere", *options)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"tally: {said}")
    assert found.stderr.count("\n") == 1


def test_a_pair_that_has_no_document_and_an_index_that_is_not_there_are_named(
    elasticsearch: servers.Elasticsearch, client: Elasticsearch
) -> None:
    story = Story("nothing", [])
    missing = not client.indices.exists(index=COMPARISONS)
    found = compared(story, "nowhere", "--elasticsearch", elasticsearch.url)
    assert (found.returncode, found.stdout) == (2, "")
    said = f"has no index {COMPARISONS}: " if missing else "No comparison of nowhere/nothing/default/* with "
    assert said in found.stderr
