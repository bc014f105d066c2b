"""A real browser for tests: the system's Chromium, driven by Playwright, with all that went wrong in a page noted."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from tests.patience import PATIENCE

Scheme = Literal["light", "dark"]
DESK: Final = (1280, 900)
PHONE: Final = (390, 844)
_LONGEST_MS: Final = PATIENCE * 1000
expect.set_options(timeout=_LONGEST_MS)


@contextlib.contextmanager
def chromium(binary: str) -> Iterator[Browser]:
    """The browser. Its own sandbox needs rights that tests in a container do not have."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"], timeout=_LONGEST_MS)
        yield browser
        browser.close()


class Visit:
    """A page that is open, with what it said that it should not, and whom else it asked."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(_LONGEST_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def go(self, view: str, *, until: str = "main h1") -> None:
        """Open a view, by what stands behind the address, and wait until something of it is there."""
        self.page.goto(f"{self.address}/{view}")
        self.page.wait_for_selector(until)

    def answer(self, view: str, path: str) -> Any:
        """Open a view, and what the worker answered to it on a path. The view shows that as long as it is open: windows
        move on between two answers.
        """
        url = f"{self.address}/{path}"
        first: list[Any] = []

        def keep(route: Route) -> None:
            if not first:
                first.append(route.fetch().json())
            route.fulfill(json=first[0])

        self.page.goto("about:blank")  # what the view before has had an answer to it shows again
        self.page.route(lambda asked: asked == url, keep)
        with self.page.expect_response(url):
            self.page.goto(f"{self.address}/{view}")
        return first[0]

    def text(self, selector: str = "main") -> str:
        """What a person reads there."""
        return self.page.locator(selector).first.inner_text()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def sideways(self) -> list[str]:
        """What is wider than the window, which makes the page scroll sideways."""
        found: list[str] = self.page.evaluate(
            """() => {
              const right = window.innerWidth;
              if (document.documentElement.scrollWidth <= right) return [];
              const all = [...document.querySelectorAll("main *, header *")];
              const wide = all.filter(it => it.getBoundingClientRect().right > right + 1);
              return wide.map(it => it.outerHTML.slice(0, 200));
            }"""
        )
        return found

    def barriers(self) -> list[str]:
        """The serious problems that axe-core finds for people who cannot see it, or use no mouse."""
        response: dict[str, Any] = Axe().run(self.page).response
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
            for one in response["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def shot(self, folder: Path, name: str) -> None:
        """Keep a picture of all of it."""
        self.page.screenshot(path=folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.png", full_page=True)


@contextlib.contextmanager
def visit(
    browser: Browser, address: str, size: tuple[int, int] = DESK, scheme: Scheme = "light", token: str | None = None
) -> Iterator[Visit]:
    """A window of that size, in light or dark; with a token the browser answers the worker's question for it."""
    given: dict[str, Any] = {"http_credentials": {"username": "anybody", "password": token}} if token else {}
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True, **given
    )
    try:
        yield Visit(context.new_page(), address)
    finally:
        context.close()
