"""Writing to Elasticsearch: what fails for no fault of its own is tried until it lands, and all else has a reason."""

import asyncio
import logging
import os
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from app.exporters.elasticsearch import client, writes
from app.exporters.elasticsearch.client import connect, problem
from app.exporters.elasticsearch.templates import TEMPLATES, ensure_templates
from app.exporters.elasticsearch.writes import Elasticsearch, Outcome, Result, Write
from app.settings import Settings, SettingsError, load_settings
from tests.live.servers import free_port
from tests.patience import PATIENCE
from tests.worker.kafka.scripted import until

HIDDEN: Final = "5up3r-h1dd3n"
#: What a handler of the stub answers: a status, and a body.
Answer = tuple[int, Any]
Line = dict[str, Any]


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(writes, "_LAST_PAUSE", 0.01)
    for name in [name for name in os.environ if name.startswith("TALLY_")]:
        monkeypatch.delenv(name)


class Stub:
    """An Elasticsearch that takes everything, but for what the first answers say."""

    def __init__(self, *first: Callable[[list[Line]], Answer]) -> None:
        self.first = list(first)
        self.bulks: list[list[Line]] = []  # the action lines of each request
        self.bodies: list[Any] = []
        self.templates: dict[str, Any] = {}
        self.aliases: dict[str, str] = {}
        self.found: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []

    def application(self) -> web.Application:
        server = web.Application(client_max_size=64 << 20)
        server.router.add_put("/_bulk", self.bulk)
        server.router.add_post("/_mget", self.mget)
        server.router.add_route("*", "/_index_template/{name}", self.template)
        server.router.add_get("/_index_template", self.all_templates)
        server.router.add_put("/{index}", self.create)
        server.router.add_head("/{index}", self.exists)
        server.router.add_put("/{index}/_alias/{alias}", self.create)
        return server

    async def bulk(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        lines = [orjson.loads(line) for line in (await request.read()).splitlines()]
        actions = [line for line in lines if line.keys() & {"index", "create", "delete"}]
        self.bulks.append(actions)
        self.bodies += [line for line in lines if not line.keys() & {"index", "create", "delete"}]
        return answered(*(self.first.pop(0) if self.first else taken)(actions))

    async def mget(self, request: web.Request) -> web.Response:
        if self.first:
            return answered(*self.first.pop(0)([]))
        asked = orjson.loads(await request.read())["docs"]
        return answered(200, {"docs": [self.found.get(one["_id"], {"found": False}) for one in asked]})

    async def template(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            self.templates[name] = orjson.loads(await request.read())
            return answered(200, {"acknowledged": True})
        if self.first:
            return answered(*self.first.pop(0)([]))
        if name not in self.templates:
            return answered(404, {"error": {"type": "resource_not_found_exception"}})
        return answered(200, {"index_templates": [{"name": name, "index_template": self.templates[name]}]})

    async def all_templates(self, _: web.Request) -> web.Response:
        if self.first:
            return answered(*self.first.pop(0)([]))
        every = [{"name": name, "index_template": template} for name, template in self.templates.items()]
        return answered(200, {"index_templates": every})

    async def exists(self, request: web.Request) -> web.Response:
        return answered(200 if request.match_info["index"] in self.aliases else 404, None)

    async def create(self, request: web.Request) -> web.Response:
        index, alias = request.match_info["index"], request.match_info.get("alias")
        if alias is None and index in self.aliases:
            return answered(400, {"error": {"type": "resource_already_exists_exception"}})
        if self.first:
            return answered(*self.first.pop(0)([]))
        self.aliases[index] = alias or next(iter(orjson.loads(await request.read())["aliases"]))
        return answered(200, {"acknowledged": True})


def answered(status: int, body: Any) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        headers={"X-Elastic-Product": "Elasticsearch"},
        content_type="application/vnd.elasticsearch+json",
    )


def taken(actions: list[Line]) -> Answer:
    return items(*[201] * len(actions))(actions)


def items(*statuses: int, kind: str = "", reason: str = "") -> Callable[[list[Line]], Answer]:
    """An answer with these statuses, one an item, and this error where one is none of success."""

    def answer(actions: list[Line]) -> Answer:
        told: list[Any] = []
        for status, action in zip(statuses, actions, strict=True):
            error = {"error": {"type": kind, "reason": reason}} if status >= 300 and kind else {}
            told.append({next(iter(action)): {"status": status} | error})
        return 200, {"items": told}

    return answer


def refused(status: int, kind: str, reason: str = "for a reason") -> Callable[[list[Line]], Answer]:
    """An answer that refuses the request as a whole."""
    return lambda _: (status, {"error": {"type": kind, "reason": reason}, "status": status})


def told(
    stub: Stub,
    act: Callable[[Settings], Awaitable[Any]],
    context: ssl.SSLContext | None = None,
    more: Mapping[str, Any] | None = None,
) -> Any:
    """What comes of an act with the settings of a stub that answers."""

    async def run() -> Any:
        runner = web.AppRunner(stub.application())
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            host, port = runner.addresses[0][:2]
            url = f"{'https' if context else 'http'}://{host}:{port}"
            async with asyncio.timeout(PATIENCE):
                return await act(load_settings(elasticsearch_url=url, **(more or {})))
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def writing(*writes: Write) -> Callable[[Settings], Coroutine[Any, Any, list[tuple[Write, Outcome]]]]:
    async def act(settings: Settings) -> list[tuple[Write, Outcome]]:
        node = Elasticsearch(settings)
        try:
            return [one async for one in node.write(writes)]
        finally:
            await node.close()

    return act


def with_client(
    act: Callable[[AsyncElasticsearch], Awaitable[Any]],
) -> Callable[[Settings], Coroutine[Any, Any, None]]:
    async def run(settings: Settings) -> None:
        client = connect(settings)
        try:
            await act(client)
        finally:
            await client.close()

    return run


def a_write(number: int = 0, body: bytes | None = b'{"a":1}', version: int | None = 7) -> Write:
    return Write(("index", str(number)), version, body)


def results(outcomes: list[tuple[Write, Outcome]]) -> dict[str, str]:
    return {write.place[1]: outcome.result.value for write, outcome in outcomes}


# -- what lands -------------------------------------------------------------------------------------------------------


def test_the_three_ways_to_write() -> None:
    stub = Stub()
    writes = (a_write(0), a_write(1, version=None), a_write(2, body=None))
    assert results(told(stub, writing(*writes))) == {"0": "written", "1": "written", "2": "written"}
    place = {"_index": "index", "version": 7, "version_type": "external"}
    assert stub.bulks == [
        [{"index": place | {"_id": "0"}}, {"create": {"_index": "index", "_id": "1"}}, {"delete": place | {"_id": "2"}}]
    ]
    assert stub.bodies == [{"a": 1}, {"a": 1}]


def test_a_bulk_is_cut_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "BULK_DOCUMENTS", 4)
    monkeypatch.setattr(writes, "BULK_BYTES", 1000)
    stub = Stub()
    told(stub, writing(*[a_write(number) for number in range(6)]))
    assert [len(bulk) for bulk in stub.bulks] == [4, 2]
    stub = Stub()
    told(stub, writing(*[a_write(number, b'{"a":"%b"}' % (b"x" * 300)) for number in range(4)]))
    assert [len(bulk) for bulk in stub.bulks] == [2, 2]


@pytest.mark.parametrize(
    "trouble",
    [
        items(201, 429, kind="es_rejected_execution_exception"),
        items(201, 403, kind="cluster_block_exception"),
        items(201, 503, kind="unavailable_shards_exception"),
        items(201, 400, kind="index_closed_exception"),
        items(201, 400, kind="validation_exception", reason="this action would add [2] shards"),
        items(201, 404, kind="index_not_found_exception"),
        items(201, 400, kind="illegal_argument_exception", reason="no write index is defined for alias [a]. The write"),
        items(201, 400, kind="illegal_argument_exception", reason="pipeline with id [p] does not exist"),
        items(201, 403, kind="security_exception"),
    ],
)
def test_what_is_refused_for_no_fault_of_its_own_is_tried_again(trouble: Callable[[list[Line]], Answer]) -> None:
    stub = Stub(trouble, trouble_of_one(trouble))
    assert results(told(stub, writing(a_write(0), a_write(1)))) == {"0": "written", "1": "written"}
    assert [len(bulk) for bulk in stub.bulks] == [2, 1, 1]


def trouble_of_one(trouble: Callable[[list[Line]], Answer]) -> Callable[[list[Line]], Answer]:
    """The same trouble for what is tried again."""

    def answer(actions: list[Line]) -> Answer:
        status, body = trouble([{"index": {}}, *actions])
        return status, {"items": body["items"][1:]}

    return answer


@pytest.mark.parametrize(
    "trouble",
    [refused(429, "circuit_breaking_exception"), refused(503, "cluster_block_exception"), refused(502, "proxy")],
)
def test_a_request_that_is_refused_as_a_whole_is_tried_again(trouble: Callable[[list[Line]], Answer]) -> None:
    stub = Stub(trouble, trouble, trouble)
    assert results(told(stub, writing(a_write(0), a_write(1)))) == {"0": "written", "1": "written"}
    assert len(stub.bulks) == 4


def test_an_elasticsearch_that_comes_late_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> list[tuple[Write, Outcome]]:
        stub = Stub()
        runner = web.AppRunner(stub.application())
        await runner.setup()
        port = free_port()
        act = writing(a_write())(load_settings(elasticsearch_url=f"http://127.0.0.1:{port}"))
        task = asyncio.create_task(act)
        await asyncio.sleep(0.2)
        assert not task.done()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            async with asyncio.timeout(PATIENCE):
                return await task
        finally:
            await runner.cleanup()

    with caplog.at_level(logging.WARNING):
        assert results(asyncio.run(run())) == {"0": "written"}
    began, ended = (record.getMessage() for record in caplog.records)
    assert "cannot be reached" in began
    assert "written again" in ended


def test_an_answer_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_REQUEST_SECONDS", 0.2)

    class Slow(Stub):
        async def bulk(self, request: web.Request) -> web.Response:
            if not self.bulks:
                self.bulks.append([])
                await asyncio.sleep(1)
            return await super().bulk(request)

    assert results(told(Slow(), writing(a_write()))) == {"0": "written"}


def test_trouble_is_told_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    full = items(429, kind="es_rejected_execution_exception", reason="queue 1")
    fuller = items(429, kind="es_rejected_execution_exception", reason="queue 2")
    with caplog.at_level(logging.WARNING):
        told(Stub(full, fuller, full, fuller), writing(a_write()))
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    began, ended = (record.getMessage() for record in caplog.records)
    assert "429" in began
    assert "queue 1" in began
    assert "written again" in ended


# -- what does not ----------------------------------------------------------------------------------------------------


def test_a_document_that_is_refused_for_itself_has_the_reason() -> None:
    answer = items(201, 400, kind="document_parsing_exception", reason="failed to parse field [a]")
    ((_, fine), (_, bad)) = told(Stub(answer), writing(a_write(0), a_write(1)))
    assert fine.result is Result.WRITTEN
    assert bad == Outcome(Result.REFUSED, "document_parsing_exception failed to parse field [a]")


def test_a_conflict_is_no_refusal() -> None:
    stub = Stub(items(409, kind="version_conflict_engine_exception"))
    assert results(told(stub, writing(a_write()))) == {"0": "conflict"}


def test_what_is_not_there_needs_no_removal() -> None:
    assert results(told(Stub(items(404)), writing(a_write(body=None)))) == {"0": "absent"}


@pytest.mark.parametrize(("status", "kind"), [(413, "too large"), (400, "action_request_validation_exception")])
def test_of_a_request_that_is_refused_for_one_document_the_others_land(status: int, kind: str) -> None:
    def answer(actions: list[Line]) -> Answer:
        stub.first.append(answer)
        if any(next(iter(action.values()))["_id"] == "5" for action in actions):
            return refused(status, kind)(actions)
        return taken(actions)

    stub = Stub(answer)
    outcomes = told(stub, writing(*[a_write(number) for number in range(20)]))
    assert results(outcomes) == {str(number): "refused" if number == 5 else "written" for number in range(20)}
    assert kind in dict(outcomes)[a_write(5)].reason


# -- reading ----------------------------------------------------------------------------------------------------------


def test_documents_are_found_as_they_are() -> None:
    stub = Stub()
    stub.found = {
        "a": {"found": True, "_version": 9, "_source": {"x": 1}},
        "c": {"error": {"type": "index_not_found_exception"}},
    }

    async def act(settings: Settings) -> Any:
        node = Elasticsearch(settings)
        try:
            return await node.find([("i", "a"), ("i", "b"), ("j", "c")])
        finally:
            await node.close()

    assert told(stub, act) == {("i", "a"): (9, {"x": 1})}


def test_where_a_document_was_removed_a_removal_tells_and_makes_no_index() -> None:
    async def act(settings: Settings) -> Any:
        node = Elasticsearch(settings)
        try:
            return await node.moved({("i", "a"): 7, ("i", "b"): 8, ("j", "a"): 9})
        finally:
            await node.close()

    def answer(actions: list[Line]) -> Answer:
        return 200, {
            "items": [
                {"delete": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}},
                {"delete": {"status": 404}},
            ]
        }

    stub = Stub(answer)
    stub.aliases = {"i": "alias"}
    assert told(stub, act) == {("i", "a")}
    removal = {"_index": "i", "version_type": "external_gte"}
    assert stub.bulks == [
        [{"delete": removal | {"_id": "a", "version": 7}}, {"delete": removal | {"_id": "b", "version": 8}}]
    ]


def test_a_document_that_cannot_be_read_now_is_not_taken_for_missing() -> None:
    error = {"docs": [{"error": {"type": "no_shard_available_action_exception", "reason": "no shard"}}]}
    stub = Stub(lambda _: (200, error), lambda _: (200, error))
    stub.found = {"a": {"found": True, "_version": 9, "_source": {}}}

    async def act(settings: Settings) -> Any:
        node = Elasticsearch(settings)
        try:
            return await node.find([("i", "a")])
        finally:
            await node.close()

    assert told(stub, act) == {("i", "a"): (9, {})}


def test_fewer_documents_are_read_together_where_many_are_too_much() -> None:
    asked: list[int] = []

    class Small(Stub):
        async def mget(self, request: web.Request) -> web.Response:
            asked.append(len(orjson.loads(await request.read())["docs"]))
            if asked[-1] > 20:
                return answered(429, {"error": {"type": "circuit_breaking_exception", "reason": "too large"}})
            return await super().mget(request)

    stub = Small()
    stub.found = {str(number): {"found": True, "_version": 1, "_source": {"n": number}} for number in range(100)}

    async def act(settings: Settings) -> Any:
        node = Elasticsearch(settings)
        try:
            return await node.find([("i", str(number)) for number in range(100)])
        finally:
            await node.close()

    assert told(stub, act) == {("i", str(number)): (1, {"n": number}) for number in range(100)}
    assert asked == [100, 50, 25, 13, 12, 25, 13, 12, 50, 25, 13, 12, 25, 13, 12]


def test_waiting_has_no_end() -> None:
    """After two hours of trouble there have been more attempts than a float has powers of two."""
    watch = writes._Watch(writes._Trouble())
    watch.attempts = 5000
    asyncio.run(watch.wait("away", "it cannot be reached"))
    assert watch.attempts == 5001


# -- templates and aliases --------------------------------------------------------------------------------------------


def test_templates_are_put_where_they_are_missing_or_older() -> None:
    name = "inference-log"
    version = TEMPLATES[name]["version"]
    for known, kept in ((None, False), (version - 1, False), (version, True), (version + 1, True)):
        stub = Stub()
        if known is not None:
            stub.templates[name] = {"version": known, "index_patterns": ["inference-log-*"]}
        told(stub, with_client(lambda client: ensure_templates(client, {name: TEMPLATES[name]})))
        assert ("template" not in stub.templates[name]) is kept


def test_an_index_of_a_day_gets_its_alias_whoever_made_it() -> None:
    async def act(settings: Settings) -> None:
        node = Elasticsearch(settings)
        try:
            await node.prepare_alias("log-2026.11.21", "log")
            await node.prepare_alias("log-2026.11.22", "log")
        finally:
            await node.close()

    stub = Stub(refused(400, "invalid_alias_name_exception"))
    stub.aliases = {"log-2026.11.21": "another"}
    told(stub, act)
    assert stub.aliases == {"log-2026.11.21": "log", "log-2026.11.22": "log"}


# -- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({"elasticsearch_api_key": HIDDEN}, f"ApiKey {HIDDEN}"),
        ({"elasticsearch_username": "u", "elasticsearch_password": "p"}, "Basic dTpw"),
        ({}, None),
    ],
)
def test_credentials_are_sent(given: dict[str, str], header: str | None) -> None:
    stub = Stub()
    told(stub, writing(a_write()), more=given)
    assert stub.headers[0].get("Authorization") == header


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"elasticsearch_api_key": HIDDEN}, "refuses the API key in TALLY_ELASTICSEARCH_API_KEY"),
        (
            {"elasticsearch_username": "u", "elasticsearch_password": HIDDEN},
            "refuses the user and password in TALLY_ELASTICSEARCH_USERNAME and TALLY_ELASTICSEARCH_PASSWORD",
        ),
        ({}, "asks for credentials: set TALLY_ELASTICSEARCH_API_KEY"),
    ],
)
def test_a_wrong_credential_gives_one_sentence_without_it(
    given: dict[str, str], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = refused(401, "security_exception", "unable to authenticate")
    with caplog.at_level(logging.DEBUG, "app"):
        told(Stub(wrong, wrong), writing(a_write()), more=given)
        said = told(Stub(wrong), problem, more=given)
    assert named in said
    assert said.count(".") - said.count("127.0.0.1") * 3 == 1
    assert [named in record.getMessage() for record in caplog.records] == [True, False]
    assert HIDDEN not in caplog.text + said


def test_no_problem_is_none() -> None:
    assert told(Stub(), problem) is None


# -- somebody else ----------------------------------------------------------------------------------------------------

HTML: Final = "<html>\n<body>It works!</body></html>"


class Somebody(Stub):
    """Who answers is no Elasticsearch, or a proxy in front of one that sometimes answers itself."""

    def __init__(self, status: int, kind: str, body: str, *, after: int = 0) -> None:
        super().__init__()
        self.answer = status, kind, body
        self.after = after
        self.answered = 0

    def application(self) -> web.Application:
        @web.middleware
        async def middle(request: web.Request, handler: Any) -> web.StreamResponse:
            self.after -= 1
            if self.after >= 0:
                reply: web.StreamResponse = await handler(request)
                return reply
            self.answered += 1
            status, kind, body = self.answer
            return web.Response(status=status, content_type=kind, text=body)

        server = super().application()
        server.middlewares.append(middle)
        return server


@pytest.mark.parametrize(
    ("status", "kind", "body", "says"),
    [
        (200, "text/html", HTML, "it says 200 <html> <body>It works!</body></html>."),
        (200, "application/json", "{}", "it says 200 {}."),
        (200, "application/json", "[]", "it says 200 []."),
        (200, "application/json", "null", "it says 200 nothing."),
        (200, "application/json", HTML, "it says <html> <body>It works!</body></html>."),
        (200, "application/json", "", "it says nothing."),
        (200, "text/plain", "", "it says 200 nothing."),
        (200, "application/json", '{"index_templates": []}', "it says 200 {'index_templates': []}."),
        (404, "text/html", HTML, "it says 404 <html>"),
        (404, "application/json", "{}", "it says 404 {}."),
    ],
)
def test_what_is_no_elasticsearch_is_one_sentence_that_names_the_setting(
    status: int, kind: str, body: str, says: str
) -> None:
    said = told(Somebody(status, kind, body), problem)
    assert "is no Elasticsearch: " in said
    assert says in said
    assert "Set TALLY_ELASTICSEARCH_URL to Elasticsearch itself" in said


@pytest.mark.parametrize(
    ("status", "kind", "body"), [(502, "text/html", HTML), (302, "text/html", ""), (503, "text/plain", "x")]
)
def test_a_proxy_that_refuses_is_one_sentence(status: int, kind: str, body: str) -> None:
    assert f"answers {status}" in told(Somebody(status, kind, body), problem)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", HTML), ("application/json", "{}"), ("application/json", HTML)]
)
def test_a_proxy_that_answers_for_it_in_between_loses_no_document(
    kind: str, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    stub = Somebody(200, kind, body, after=1)

    async def act(settings: Settings) -> dict[str, str]:
        node = Elasticsearch(settings)
        try:
            first = [one async for one in node.write([a_write(0)])]
            passing = asyncio.create_task(pass_by())
            found = results(first + [one async for one in node.write([a_write(1)])])
            await passing
            return found
        finally:
            await node.close()

    async def pass_by() -> None:
        await until(lambda: stub.answered >= 3)
        stub.after = 10

    assert told(stub, act) == {"0": "written", "1": "written"}
    assert caplog.text.count("is no Elasticsearch") == 1


FOREIGN: Final = {"index_patterns": ["inference-log-*"], "priority": 500}


@pytest.mark.parametrize(
    ("template", "told_of"),
    [
        (FOREIGN, True),
        (FOREIGN | {"priority": 200}, True),
        (FOREIGN | {"priority": 199}, False),
        ({"index_patterns": ["inference-log-*"]}, False),
        (FOREIGN | {"index_patterns": ["*"]}, True),
        (FOREIGN | {"index_patterns": ["logs-*", "inference-log-kserve-*"]}, True),
        (FOREIGN | {"index_patterns": ["drift-*"]}, True),
        (FOREIGN | {"index_patterns": ["logs-*", "inference-logs"]}, False),
    ],
)
def test_a_template_of_somebody_else_that_holds_instead_is_told(
    template: dict[str, Any], told_of: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stub = Stub()
    stub.templates["theirs"] = template
    said = told(stub, problem)
    assert (said is not None) is told_of
    told(stub, with_client(lambda client: ensure_templates(client, TEMPLATES)))
    assert ("index template theirs of priority" in caplog.text) is told_of
    if said is not None:
        assert "give it a priority below 200, or remove it;" in said


def test_a_template_of_the_same_priority_that_keeps_ours_out_is_one_sentence() -> None:
    reason = (
        "index template [inference-log] has index patterns [inference-log-*] matching patterns from existing templates "
        "[theirs] with patterns (theirs => [inference-log-*]) that have the same priority [200]"
    )
    said = told(Stub(refused(400, "illegal_argument_exception", reason)), problem)
    assert "has another index template for indices of Tally's" in said
    assert said.endswith("give it a lower priority.")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody knows, and a server's context with it."""
    program = shutil.which("openssl")
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no openssl on PATH: install it")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([program, *command.split(), *names], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def test_a_certificate_is_checked(certificate: tuple[Path, ssl.SSLContext]) -> None:
    path, context = certificate
    said = told(Stub(), problem, context)
    assert "not trusted" in said
    assert "TALLY_ELASTICSEARCH_CA_FILE" in said
    assert told(Stub(), problem, context, {"elasticsearch_ca_file": path}) is None


def test_certificates_that_cannot_be_read_have_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TALLY_ELASTICSEARCH_CA_FILE: .*missing\.pem cannot be used"):
        connect(load_settings(elasticsearch_url="https://es", elasticsearch_ca_file=tmp_path / "missing.pem"))
