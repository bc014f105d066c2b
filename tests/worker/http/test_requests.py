"""What the port counts of its requests."""

from aiohttp import web

from app.settings import load_settings
from app.worker.http.api import Api
from app.worker.http.requests import KNOWN, OTHER, Requests


def test_every_route_is_known_with_its_answers() -> None:
    server = web.Application()
    Api(load_settings(), lambda: None).add_routes(server)
    assert KNOWN.keys() == {resource.canonical for resource in server.router.resources()} | {OTHER}


def test_all_that_is_known_is_there_from_the_start() -> None:
    numbers = Requests().numbers()
    assert set(numbers.requests.values()) == {0}
    assert {("/", "202"), ("/", "401"), ("/feedback", "400"), ("other", "404")} <= numbers.requests.keys()
    assert {histogram.total for histogram in numbers.seconds.values()} == {0}


def test_requests_are_counted_by_route_status_and_time() -> None:
    requests = Requests()
    for seconds in (0.001, 0.005, 0.0051, 11.0):
        requests.note("/", 202, seconds)
    requests.note("/", 418, 1.0)  # an answer that nobody thought of
    requests.note(OTHER, 404, 0.0)
    numbers = requests.numbers()
    counted = {at: count for at, count in numbers.requests.items() if count}
    assert counted == {("/", "202"): 4, ("/", "418"): 1, ("other", "404"): 1}
    assert numbers.seconds["/"].counts == (2, 1, 0, 0, 1, 0, 0, 1)
    assert numbers.seconds["other"].counts == (1, 0, 0, 0, 0, 0, 0, 0)
