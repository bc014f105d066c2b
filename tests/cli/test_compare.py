"""`tally compare`: a worker and Elasticsearch give the same table, the same JSON and the same exit codes."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from app.cli import comparisons
from app.commands.tally import main
from app.core.counts.accounts import Pair
from app.core.events import Identity
from app.core.measures.paired import PairedReading, Shared
from app.core.outputs.comparisons import comparison_report
from app.core.rules import Rulebook

TIME: Final = "2026-11-21T07:00:00Z"
#: Rows that both, the current model alone, the shadow alone and none of them has right, by what comes out.
OUTCOMES: Final = {
    "better": (Shared(100, 2, 40, 10), 0),
    "no difference": (Shared(140, 6, 8, 10), 1),
    "worse": (Shared(100, 40, 2, 10), 1),
    "not enough": (Shared(8, 1, 2, 1), 3),
}


def a_report(shared: Shared, *, model: str = "m") -> dict[str, Any]:
    pair = Pair(Identity("ns", "svc", "default", model, ""), Identity("ns", "svc", "shadow", model, "2"))
    agree = sum(shared) - shared.first - shared.second
    reading = PairedReading({"0": shared}, shared, agree, 0, named={"0": (80, 20), "1": (30, 90)})
    return comparison_report(pair, {"total": reading, "5m": PairedReading({}, Shared(), 0, 0)}, Rulebook())


class Server:
    """Answers as a worker does and as Elasticsearch does, whatever `answer` says by path and body."""

    def __init__(self) -> None:
        self.answer: Callable[[str, Any], tuple[int, Any]] = lambda _path, _body: (404, {"error": "nothing"})
        self.headers = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/json"}
        self.asked: list[Message] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.asked.append(self.headers)
                status, content = server.answer(self.path.partition("?")[0], json.loads(body or b"null"))
                text = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**server.headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _reply  # noqa: N815 - so they are called

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def holds(self, *reports: dict[str, Any], end: str = TIME) -> None:
        """Let these comparisons be there both ways."""

        def answer(path: str, body: Any) -> tuple[int, Any]:
            if path == "/api/comparisons":
                return 200, {"comparisons": reports}
            assert path == "/tally-comparisons/_search"
            assert body["query"] == {"term": {"window": "total"}}
            first = body["search_after"][0] + 1 if "search_after" in body else 0
            hits = [
                {"_source": {"report": report, "end": end}, "sort": [number]} for number, report in enumerate(reports)
            ]
            return 200, {"hits": {"hits": hits[first : first + body["size"]]}}

        self.answer = answer


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def compare(*arguments: str, **environment: str) -> Result:
    settings = {"TALLY_NOW": TIME} | environment
    return CliRunner().invoke(main, ["compare", *arguments], env=settings, prog_name="tally")


@pytest.mark.parametrize("more", [(), ("--format", "json")])
@pytest.mark.parametrize("verdict", OUTCOMES)
def test_both_ways_give_the_same(verdict: str, more: tuple[str, ...], server: Server) -> None:
    shared, code = OUTCOMES[verdict]
    report = a_report(shared)
    server.holds(report)
    by_worker = compare("default", "shadow", "--url", server.url, *more)
    given = compare("default", "shadow", "--elasticsearch", server.url, *more)
    set_up = compare("default", "shadow", *more, "--elasticsearch", TALLY_ELASTICSEARCH_URL=server.url)
    assert by_worker.exit_code == given.exit_code == set_up.exit_code == code
    assert by_worker.stdout == given.stdout == set_up.stdout
    assert by_worker.stderr == given.stderr == set_up.stderr == ""
    if more:
        assert json.loads(given.stdout) == report
    else:
        assert verdict in given.stdout
        assert re.search(
            r"^What they answer, on 110 rows whether labelled or not: PSI \d\.\d+, ", given.stdout, re.MULTILINE
        )


def test_the_window_that_is_named_gives_the_exit_code(server: Server) -> None:
    server.holds(a_report(OUTCOMES["better"][0]))
    found = compare("default", "shadow", "--window", "5m", "--elasticsearch", server.url)
    assert (found.exit_code, found.stdout.splitlines()[-1]) == (3, "5m: not enough")


def test_the_credentials_are_those_of_the_settings(server: Server) -> None:
    server.holds(a_report(OUTCOMES["better"][0]))
    compare("default", "shadow", "--elasticsearch", server.url, TALLY_ELASTICSEARCH_API_KEY="a2V5OmtleQ==")
    assert server.asked[0]["Authorization"] == "ApiKey a2V5OmtleQ=="


def test_all_documents_are_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "_PAGE", 2)
    server.holds(*(a_report(OUTCOMES["better"][0], model=f"m{number}") for number in range(4)))
    assert compare("*/m3", "*/m3", "--elasticsearch", server.url).exit_code == 0
    assert len(server.asked) == 3


@pytest.mark.parametrize(("now", "told"), [("2026-11-21T07:00:59Z", False), ("2026-11-21T07:01:01Z", True)])
def test_what_was_written_a_while_ago_is_said_to_be_of_then(now: str, told: bool, server: Server) -> None:
    server.holds(a_report(OUTCOMES["better"][0]))
    found = compare("default", "shadow", "--elasticsearch", server.url, TALLY_NOW=now)
    assert found.exit_code == 0
    assert found.stderr.startswith(f"As of {TIME}: ") is told


def assert_sentence(result: Result, pattern: str) -> None:
    """One sentence on standard error, nothing on standard output, exit code 2."""
    assert re.fullmatch(f"tally: {pattern}\n", result.stderr), result.output
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("--url", "http://h", "--elasticsearch", "http://h"), {}, "--url and --elasticsearch: give one of them, .*"),
        (("--elasticsearch",), {}, "TALLY_ELASTICSEARCH_URL is not set: set it, or give --elasticsearch an address."),
        (("--elasticsearch", "h:9200"), {}, ".*'--elasticsearch': 'h:9200' must be a URL .*"),
        (("--elasticsearch", "ftp://h"), {}, ".*'--elasticsearch': 'ftp://h' must be a URL .*"),
        (("--elasticsearch", ""), {}, ".*'--elasticsearch': '' must be a URL .*"),
        (("--elasticsearch", "http://u:pass@h"), {}, ".*'--elasticsearch': must be without credentials: .*"),
        (("--elasticsearch",), {"ELASTICSEARCH_URL": "h"}, "TALLY_ELASTICSEARCH_URL: must be a URL .*"),
        (("--elasticsearch", "http://127.0.0.1:1"), {}, r"Elasticsearch at http://127\.0\.0\.1:1 cannot be reached .*"),
        (
            ("--elasticsearch", "https://127.0.0.1:1"),
            {"ELASTICSEARCH_CA_FILE": "/nowhere.pem"},
            "TALLY_ELASTICSEARCH_CA_FILE: /nowhere.pem cannot be used .*",
        ),
        (("--url", "http://127.0.0.1:1"), {}, r"No worker answers at http://127\.0\.0\.1:1 .*"),
    ],
)
def test_what_is_given_wrong_is_named(arguments: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    settings = {f"TALLY_{name}": value for name, value in environment.items()}
    assert_sentence(compare("default", "shadow", *arguments, **settings), said)


def test_an_option_that_has_taken_the_model_for_its_address_says_so() -> None:
    found = compare("--elasticsearch", "default", "shadow")
    assert_sentence(found, ".*'default' must be a URL .*; without an address write the option behind CURRENT and .*")


MISSING: Final = {"type": "index_not_found_exception", "reason": "no such index [tally-comparisons]"}
REFUSED: Final = {"type": "security_exception", "reason": "unable to authenticate"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {"error": MISSING, "status": 404}), ".* has no index tally-comparisons: a worker with .*"),
        ((401, {"error": REFUSED, "status": 401}), ".* asks for credentials: set TALLY_ELASTICSEARCH_API_KEY, .*"),
        ((403, {"error": REFUSED, "status": 403}), ".* answers 403: security_exception .*"),
        ((503, {"error": {"type": "no_shards", "reason": "none"}, "status": 503}), ".* answers 503: .*"),
        ((200, b"<html>"), "What answers at .* is no Elasticsearch: .*"),
        ((200, {"hits": {"hits": []}}), "No comparison of default with shadow: tally-comparisons in .* knows none.*"),
        ((200, {"hits": {"hits": [{"_source": {"end": TIME}}]}}), ".* has documents that no worker has written: .*"),
        ((200, {"hits": {"hits": [{"_source": {"end": TIME, "report": 1}}]}}), ".* that no worker has written: .*"),
        ((200, {"hits": {"hits": [{"_source": {"end": TIME, "report": {}}}]}}), ".* that no worker has written: .*"),
        ((200, {"took": 1}), ".* has documents that no worker has written: .*"),
    ],
)
def test_an_elasticsearch_that_does_not_say_it_is_told_in_a_sentence(
    answer: tuple[int, Any], said: str, server: Server
) -> None:
    server.answer = lambda _path, _body: answer
    assert_sentence(compare("default", "shadow", "--elasticsearch", server.url), said)


@pytest.mark.parametrize("answer", [{"comparisons": 1}, {"comparisons": [{}]}, {"comparisons": ["x"]}, [], {}, 1])
def test_what_is_no_worker_is_told_in_a_sentence(answer: Any, server: Server) -> None:
    server.answer = lambda _path, _body: (200, answer)
    assert_sentence(compare("default", "shadow", "--url", server.url), ".* is no worker that compares: .*")


def test_something_else_that_answers_is_no_elasticsearch(server: Server) -> None:
    server.holds(a_report(OUTCOMES["better"][0]))
    del server.headers["X-Elastic-Product"]
    assert_sentence(
        compare("default", "shadow", "--elasticsearch", server.url), "What answers at .* is no Elasticsearch: .*"
    )


@pytest.mark.parametrize("option", ["--url", "--elasticsearch"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("default", "canary"),
            "No comparison of default with canary: .* knows ns/svc/default/m1 ns/svc/shadow/m1@2, .*",
        ),
        (("default", "shadow"), "default and shadow fit 2 comparisons, name one: ns/svc/default/m1 .*"),
        (("*/m1", "*/m1@2", "--window", "2h"), "--window: there is no 2h; there are total, 5m."),
    ],
)
def test_a_comparison_that_is_not_there_is_named(
    option: str, arguments: tuple[str, ...], said: str, server: Server
) -> None:
    server.holds(*(a_report(OUTCOMES["better"][0], model=model) for model in ("m1", "m2")))
    assert_sentence(compare(*arguments, option, server.url), said)


def a_version(name: str) -> dict[str, str]:
    return {"namespace": "ns", "service": "svc", "endpoint": "default", "model": "m", "version": name}


def of_versions(drifted: bool | None) -> dict[str, Any]:
    names = {"model_namespace": "ns", "model_service": "svc", "predictor": "default", "model": "m"}
    one = {"feature": "(prediction)", "rows_before": 2000, "rows": 300, "psi": 0.25, "js": 0.125, "chi2_p": 0.001}
    if drifted is not None:
        one["drifted"] = drifted
    return {
        "before": names | {"model_version": "1"},
        "after": names | {"model_version": "2"},
        "least_count": 100,
        "sentence": "what is said",
        "windows": {"total": {"drifted_share": None, "drift": [one]}, "5m": {"drifted_share": None, "drift": []}},
        "scores": {"total": {"accuracy": 0.75, "f1": None}, "5m": {}},
        "scores_before": {"total": {"accuracy": 0.875, "f1": None}, "5m": {}},
    }


def knows_versions(server: Server, drifted: bool | None) -> None:
    """A worker with two versions of a model, and one of another."""
    lines = [{"key": f"ns/svc/default/m@{name}", **a_version(name)} for name in ("1", "2")]
    lines.append({"key": "ns/svc/default/n@1", **a_version("1"), "model": "n"})
    answers = {
        "/api/comparisons": {"comparisons": []},
        "/api/overview": {"models": lines},
        "/api/comparisons/versions": of_versions(drifted),
    }
    server.answer = lambda path, _: (200, answers[path])


@pytest.mark.parametrize(("drifted", "code", "said"), [(False, 0, "no"), (True, 1, "yes"), (None, 3, "too few rows")])
def test_two_versions_are_compared_by_what_each_has_counted(
    drifted: bool | None, code: int, said: str, server: Server
) -> None:
    knows_versions(server, drifted)
    found = compare("*/m@1", "*/m@2", "--url", server.url)
    assert (found.exit_code, found.stderr) == (code, "")
    lines = [re.split(r"\s{2,}", line.strip()) for line in found.stdout.splitlines()]
    assert lines[0] == ["ns/svc/default/m@2 against ns/svc/default/m@1"]
    assert ["(prediction)", "300", "2,000", "0.25", "0.125", "-", "0.001", "-", said] in lines
    assert ["accuracy", "0.875", "0.75", "-0.125"] in lines
    assert not [line for line in lines if line[0] == "f1"]
    assert lines[-1] == ["What is said"]
    as_json = compare("*/m@1", "*/m@2", "--url", server.url, "--format", "json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (code, of_versions(drifted))
    assert compare("*/m@1", "*/m@2", "--url", server.url, "--window", "5m").exit_code == 3


@pytest.mark.parametrize(("one", "other"), [("*/m@1", "*/n@1"), ("*/m@1", "*/m@1"), ("*/m@*", "*/m@2"), ("m@1", "m@2")])
def test_what_does_not_name_two_versions_of_one_model_is_no_comparison(one: str, other: str, server: Server) -> None:
    knows_versions(server, drifted=True)
    found = compare(one, other, "--url", server.url)
    assert_sentence(found, re.escape(f"No comparison of {one} with {other}: the worker knows none. ") + ".*")


def test_a_window_that_versions_have_not_is_named(server: Server) -> None:
    knows_versions(server, drifted=True)
    found = compare("*/m@1", "*/m@2", "--url", server.url, "--window", "7d")
    assert_sentence(found, "--window: there is no 7d; there are total, 5m.")
