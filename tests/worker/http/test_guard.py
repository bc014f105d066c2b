"""Who may ask, and from where: tokens in a browser, pages of other sites, names that strangers point here."""

import base64
from typing import Any

import pytest

from tests.worker.http.serving import Served, serve

FEEDBACK = b'{"puid": "p-1", "reward": "no number"}'  # which goes no further than to be read
BASIC = "Authorization: Basic " + base64.b64encode(b"anybody:s\xc3\xa9cret").decode()


@pytest.mark.parametrize("path", ["/", "/api/models", "/api/exchanges/p", "/nothing"])
def test_without_token_a_browser_asks_for_a_password(path: str) -> None:
    async def story(served: Served) -> None:
        answer = await served.ask("GET", path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Tally", charset="UTF-8"'
        assert answer.content == {"error": "Send the header `Authorization: Bearer <TALLY_HTTP_TOKEN>`."}
        assert (await served.ask("GET", path, BASIC)).status != 401
        assert (await served.ask("GET", path, BASIC[:-4] + "AAAA")).status == 401

    serve(story, http_token="s\u00e9cret")  # noqa: S106 - of a port that lives for one test


def test_health_and_metrics_need_no_token() -> None:
    async def story(served: Served) -> None:
        served.worker.running = None
        statuses = [(await served.ask("GET", path)).status for path in ("/live", "/ready", "/metrics")]
        assert statuses == [200, 503, 503]

    serve(story, http_token="secret")  # noqa: S106


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        (("Origin: http://127.0.0.1:6066", "Host: 127.0.0.1:6066"), 400),
        (("Origin: HTTP://LocalHost:6066", "Host: localhost:6066"), 400),
        (("Origin: https://127.0.0.1",), 400),  # behind a proxy with TLS
        (("Origin: http://evil.example",), 403),
        (("Origin: http://127.0.0.1:3000", "Host: 127.0.0.1:6066"), 403),
        (("Origin: null",), 403),
        (("Origin: ",), 403),
        (("Origin: \xff\xfe",), 403),
        (("Sec-Fetch-Site: same-origin",), 400),
        (("Sec-Fetch-Site: same-origin", "Origin: https://named.by.a.proxy"), 400),
        (("Sec-Fetch-Site: none",), 400),
        (("Sec-Fetch-Site: same-site",), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1"), 403),
        (("Sec-Fetch-Site: whatever",), 403),
    ],
)
@pytest.mark.parametrize("path", ["/feedback", "/", "/events", "/seldon/n/s/api/v1.0/feedback"])
@pytest.mark.parametrize("token", [None, "s\u00e9cret"])
def test_posts_of_other_sites_are_refused(path: str, headers: tuple[str, ...], status: int, token: str | None) -> None:
    """With a token too: a browser that has been told it once brings it along, whoever asks."""

    async def story(served: Served) -> None:
        answer = await served.ask("POST", path, "Content-Type: text/plain", BASIC, *headers, body=FEEDBACK)
        assert answer.status == status
        assert ("A page of another site" in answer.content["error"]) == (status == 403)

    serve(story, http_token=token)


def test_what_others_link_to_may_be_looked_at() -> None:
    async def story(served: Served) -> None:
        assert (await served.ask("GET", "/", "Sec-Fetch-Site: cross-site")).status == 200

    serve(story)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:6066", 200),
        ("[::1]:6066", 200),
        ("10.1.2.3", 200),
        ("localhost:6066", 200),
        ("tally.localhost", 200),
        ("tally:6066", 200),  # a name of a hosts file, or of a network of containers
        ("tally.example.org:8443", 200),  # the advertised one
        ("", 200),
        ("evil.example:6066", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.", 403),
        ("[evil.example", 403),
        ("tally.example.org.evil.example", 403),
        ("\xff.x", 403),
    ],
)
def test_on_loopback_only_names_of_this_machine_are_answered(host: str, status: int) -> None:
    async def story(served: Served) -> None:
        for path in ("/live", "/"):
            answer = await served.ask("GET", path, f"Host: {host}")
            assert answer.status == status
            if status == 403:
                assert "TALLY_ADVERTISED_URL" in answer.content["error"]

    serve(story, advertised_url="https://tally.example.org:8443")


@pytest.mark.parametrize("settings", [{"web_host": "0.0.0.0"}, {"http_token": "s\u00e9cret"}])  # noqa: S104
def test_elsewhere_and_with_a_token_any_name_will_do(settings: dict[str, Any]) -> None:
    async def story(served: Served) -> None:
        assert (await served.ask("GET", "/", "Host: tally.example.org", BASIC)).status == 200

    serve(story, **settings)
