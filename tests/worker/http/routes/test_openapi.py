"""What describes `/api` describes all of it, and answers are as they are described."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.settings import load_settings
from app.worker.http.api import Api
from app.worker.http.openapi import description
from app.worker.http.routes import letters, worker
from app.worker.kafka.client import SetupError
from tests.builders import START, a_response, a_result
from tests.patience import PATIENCE
from tests.worker.http.routes.scene import KEY, PAIR, a_worker, get

DESCRIPTION: Any = get("/api/openapi.json").content
EXAMPLES = 40
#: Values that there are: of what is drawn by chance alone hardly anything would be found.
KNOWN: Final = {
    "key": KEY,
    "puid": "p3",
    "current": KEY,
    "shadow": "ns/svc/shadow/m",
    "after": KEY,
    "before": KEY,
    "window": "5m",
    "clock": "labels",
    "score": "recall{1}",
    "monitor": "odd",
    "step": "5m",
    "back": "1h",
    "from": "0",
    "to": str(START + 300),
    "actual": "1",
    "predicted": "0",
    "right": "shadow",
    "limit": "3",
    "reason": "empty",
}
CONFORMS: Any = [
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


def paths_of_api() -> set[tuple[str, str]]:
    server = web.Application()
    Api(load_settings(), lambda: None).add_routes(server)
    return {
        (route.method, route.resource.canonical)
        for route in server.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/") and route.method != "HEAD"
    }


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, of in DESCRIPTION["paths"].items() for method in of}
    assert described == paths_of_api()


def test_the_parameters_of_a_path_are_those_in_it() -> None:
    for path, of in DESCRIPTION["paths"].items():
        for said in of.values():
            named = [one["name"] for one in said["parameters"] if one["in"] == "path"]
            assert all(f"{{{name}}}" in path for name in named)
            assert len(named) == path.count("{")
            assert said["summary"].endswith(".")


def test_names_of_operations_differ() -> None:
    names = [said["operationId"] for of in DESCRIPTION["paths"].values() for said in of.values()]
    assert len(names) == len(set(names))


def test_no_route_is_no_description() -> None:
    assert description([])["paths"] == {}


def schema_of(path: str, status: int = 200, method: str = "get") -> dict[str, Any]:
    found = DESCRIPTION["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    return {**found, "components": DESCRIPTION["components"]}


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/overview", "/api/overview"),
        ("/api/overview", "/api/overview?window=total"),
        ("/api/overview", "/api/overview?clock=labels"),
        ("/api/models", "/api/models"),
        ("/api/models/{key}", f"/api/models/{KEY}"),
        ("/api/models/{key}/history", f"/api/models/{KEY}/history"),
        ("/api/models/{key}/history", f"/api/models/{KEY}/history?score=mae"),
        ("/api/models/{key}/view", f"/api/models/{KEY}/view"),
        ("/api/models/{key}/view", f"/api/models/{KEY}/view?score=nothing&step=7&clock=wall"),
        ("/api/models/{key}/examples", f"/api/models/{KEY}/examples"),
        ("/api/comparisons", "/api/comparisons"),
        ("/api/comparisons/history", f"/api/comparisons/history?{PAIR}"),
        ("/api/comparisons/view", f"/api/comparisons/view?{PAIR}"),
        ("/api/comparisons/view", f"/api/comparisons/view?{PAIR}&step=7"),
        ("/api/comparisons/examples", f"/api/comparisons/examples?{PAIR}"),
        ("/api/exchanges/{puid}", "/api/exchanges/p3"),
        ("/api/worker", "/api/worker"),
        ("/api/openapi.json", "/api/openapi.json"),
    ],
)
def test_an_answer_is_as_it_is_described(path: str, asked: str) -> None:
    reply = get(asked)
    assert reply.status == 200
    jsonschema.Draft202012Validator(schema_of(path)).validate(reply.content)


def test_the_history_of_a_monitor_is_as_it_is_described() -> None:
    running = a_worker(a_response(1), a_result(0.25))
    reply = get(f"/api/models/{KEY}/monitor-history?monitor=odd", running)
    assert reply.content["points"]
    schema = schema_of("/api/models/{key}/monitor-history")
    jsonschema.Draft202012Validator(schema).validate(reply.content)


def test_an_error_is_as_it_is_described() -> None:
    reply = get("/api/models/m")
    jsonschema.Draft202012Validator(schema_of("/api/models/{key}", 400)).validate(reply.content)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a port that runs in a thread of its own. There is no Kafka, and nothing is checked."""

    async def checked() -> Any:
        return {"fine": True, "lines": [], "problems": [], "checked_at": 0.0}

    async def away(_: Any) -> Any:
        raise SetupError("There is no Kafka.")

    monkeypatch.setattr(worker, "_checked", checked)
    monkeypatch.setattr(letters, "topic_facts", away)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = a_worker()

    async def begin() -> tuple[Api, web.AppRunner, int]:
        api = Api(load_settings(), lambda: running)
        server = web.Application()
        api.add_routes(server)
        runner = api.runner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return api, runner, runner.addresses[0][1]

    api, runner, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(PATIENCE)
    yield f"http://127.0.0.1:{port}"

    async def end() -> None:
        await api.close()
        await runner.cleanup()

    asyncio.run_coroutine_threadsafe(end(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_whatever_is_asked_the_answer_is_one_that_is_described(url: str) -> None:
    schema: Any = schemathesis.openapi.from_dict(DESCRIPTION)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == len(paths_of_api())

    @settings(
        max_examples=EXAMPLES * len(operations),
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(st.data())
    def look(data: Any) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        for name in operation.path_parameters:
            if data.draw(st.booleans()):
                case.path_parameters[name.name] = KNOWN[name.name]
        case.query |= {one.name: KNOWN[one.name] for one in operation.query if data.draw(st.booleans())}
        reply = case.call(base_url=url, timeout=PATIENCE)
        assert reply.status_code != 500, case.as_curl_command()
        case.validate_response(reply, checks=CONFORMS)

    look()
