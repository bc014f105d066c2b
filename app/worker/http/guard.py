"""What stands before every route: who may ask, and from where; every error as JSON; the count of what was answered."""

import base64
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from app.core.events import Reason
from app.settings import Settings
from app.worker.http.answers import AnswerError, error_response, pack
from app.worker.http.requests import OTHER, Requests

log = logging.getLogger(__name__)

OPEN_PATHS: Final = frozenset({"/metrics", "/live", "/ready"})
#: A browser asks for a user and a password when it sees this; any user will do (RFC 7617).
CHALLENGE: Final = 'Basic realm="Tally", charset="UTF-8"'
_LONGEST_PATH: Final = 200
#: The status that nginx counts such requests by.
_HUNG_UP: Final = 499

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Lets requests through, or answers them.

    `started` raises AnswerError where the worker is not yet started: perhaps its topics are not made. `refused` is told
    of each event that is refused.
    """

    def __init__(
        self,
        settings: Settings,
        requests: Requests,
        started: Callable[[], object],
        refused: Callable[[Reason], None],
    ) -> None:
        self._requests = requests
        self._started = started
        self._refused = refused
        self._token = settings.http_token
        # Where only this machine can reach the port, a browser on it can too: for a page whose host name has been
        # pointed here (DNS rebinding) it is the page's own host. A token keeps such a page out by itself.
        self._checks_host = self._token is None and _is_loopback(settings.web_host)
        self._own_host = urlsplit(settings.url).hostname

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, whatever comes of it."""
        begun = time.perf_counter()
        reply = await self._answer(request, handler)
        resource = request.match_info.route.resource
        route = OTHER if resource is None else resource.canonical
        self._requests.note(route, reply.status, time.perf_counter() - begun)
        pack(request, reply)
        return reply

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            return await handler(request)
        except AnswerError as error:
            if error.reason is not None:
                self._refused(error.reason)
            reply = error_response(error.status, error.sentence, error.reason)
            if error.retry_after is not None:
                reply.headers["Retry-After"] = str(error.retry_after)
            if error.status == web.HTTPUnauthorized.status_code:
                reply.headers["WWW-Authenticate"] = CHALLENGE
            if error.hang_up:
                reply.force_close()
            return reply
        except web.HTTPException as error:
            return of_exception(request, error)
        except ConnectionError:
            return error_response(_HUNG_UP, "Who asked has hung up.")  # which nobody reads
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, shortened(request.path))
            return error_response(500, "The worker failed at this request; its log says why.")

    def _check(self, request: web.Request) -> None:
        """Raise AnswerError where the request may not be answered."""
        headers = request.headers
        if self._checks_host and not _names_this_machine(headers.get("Host", ""), self._own_host):
            raise AnswerError(
                403,
                f"This worker listens on this machine alone, and {shortened(headers['Host'])} is not known as its "
                "name: set TALLY_ADVERTISED_URL to the URL by which it is asked, or TALLY_HTTP_TOKEN.",
            )
        if (
            self._token is not None
            and request.path not in OPEN_PATHS
            and not _is_allowed(self._token, headers.get("Authorization", ""))
        ):
            raise AnswerError(401, "Send the header `Authorization: Bearer <TALLY_HTTP_TOKEN>`.")
        if request.method != "POST":
            return
        if _is_of_another_site(request):
            raise AnswerError(
                403,
                "A page of another site sent this through its reader's browser: send events and feedback from a "
                "program, which has no headers Origin and Sec-Fetch-Site.",
            )
        self._started()


def of_exception(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """The answer that aiohttp gives by an exception: a path or a method that is not there, mostly."""
    path = shortened(request.path) or request.method  # CONNECT has no path
    allowed = error.headers.get("Allow")
    if allowed is not None:
        reply = error_response(error.status, f"{path} takes {allowed.replace(',', ', ')}, not {request.method}.")
        reply.headers["Allow"] = allowed
        return reply
    if error.status == web.HTTPNotFound.status_code:
        return error_response(error.status, f"There is no {path} here; the README lists the paths.")
    return error_response(error.status, f"{request.method} {path}: {error.reason}.")


def shortened(text: str) -> str:
    """As much of what was sent as a sentence needs."""
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}…"


def _is_allowed(token: str, given: str) -> bool:
    """Whether an Authorization header brings the token: as a bearer, or as the password of any user.

    The second is for browsers, and for Seldon's and KServe's loggers, which are told a URL and no header.
    """
    kind, _, secret = given.partition(" ")
    brought = secret.strip().encode(errors="surrogateescape")
    if kind.lower() == "basic":
        try:
            brought = base64.b64decode(brought).partition(b":")[2]
        except ValueError:
            return False
    elif kind.lower() != "bearer":
        return False
    return hmac.compare_digest(brought, token.encode())


def _is_of_another_site(request: web.Request) -> bool:
    """Whether a browser says that a page of another origin makes this request.

    As Go's net/http.CrossOriginProtection has it: what a browser sends says so by Sec-Fetch-Site (over TLS and to
    localhost) or by Origin, and a program sends neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=256)
def _names_this_machine(host: str, own: str | None) -> bool:
    """Whether a Host header is none that a stranger could have pointed here: those have a name of the public DNS."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == own or "." not in name or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
