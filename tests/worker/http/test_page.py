"""The files of the page: served with their types, packed, with headers that keep everything foreign out."""

import gzip
import re
from hashlib import sha256
from typing import Any

import pytest

from app.worker.http.page_files import page_files
from tests.worker.http.serving import Served, serve


def test_the_page_is_served_with_a_policy_that_lets_nothing_foreign_in() -> None:
    async def story(port: Served) -> None:
        answer = await port.ask("GET", "/")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert (
            policy["default-src"]
            == policy["base-uri"]
            == policy["form-action"]
            == policy["frame-ancestors"]
            == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert port.count("/", 200) == 1

    serve(story)


def test_all_that_the_page_names_is_there_and_nothing_in_it_is_inline() -> None:
    page = page_files()["index.html"].content.decode()
    named = re.findall(r'(?:src|href)="page/([^"]+)"', page)
    assert len(named) >= 5
    assert set(named) <= page_files().keys()
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    assert re.findall(r"<style|\son\w+=|\sstyle=", page) == []


def test_every_module_that_a_script_imports_is_there() -> None:
    for name, file in page_files().items():
        for needed in re.findall(r'from "\./([^"]+)"', file.content.decode()) if name.startswith("scripts/") else ():
            assert f"scripts/{needed}" in page_files(), name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scripts/main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("vendor/chart.LICENSE.txt", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_has_its_type_and_is_packed_for_whom_it_may_be(name: str, kind: str) -> None:
    async def story(port: Served) -> None:
        plain = await port.ask("GET", f"/page/{name}")
        packed = await port.ask("GET", f"/page/{name}", "Accept-Encoding: br, gzip")
        assert (plain.status, plain.headers["Content-Type"]) == (200, kind)
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.content) == plain.content == page_files()[name].content

    serve(story)


def test_what_a_browser_has_kept_is_not_sent_again() -> None:
    async def story(port: Served) -> None:
        tag = (await port.ask("GET", "/page/style.css")).headers["ETag"]
        again = await port.ask("GET", "/page/style.css", f"If-None-Match: {tag}")
        other = await port.ask("GET", "/page/style.css", 'If-None-Match: "of another version"')
        assert (again.status, again.content) == (304, b"")
        assert other.status == 200

    serve(story)


@pytest.mark.parametrize(
    "path", ["/page/none.js", "/page/", "/page/../api.py", "/page/%2e%2e/api.py", "/page/scripts", "/page/scripts/"]
)
def test_nothing_else_is_served(path: str) -> None:
    async def story(port: Served) -> None:
        answer = await port.ask("GET", path)
        assert answer.status == 404
        assert answer.headers["Content-Type"] == "application/json"

    serve(story)


def test_a_token_is_asked_for_by_all_files() -> None:
    async def story(port: Served) -> None:
        for path in ("/", "/page/scripts/main.js"):
            assert (await port.ask("GET", path)).status == 401
            assert (await port.ask("GET", path, "Authorization: Bearer secret")).status == 200

    serve(story, http_token="secret")  # noqa: S106


def test_the_libraries_are_those_that_their_authors_published() -> None:
    files: dict[str, Any] = page_files()
    told = re.findall(r"^([0-9a-f]{64})  (\S+)$", files["vendor/README.txt"].content.decode(), re.MULTILINE)
    libraries = {name.removeprefix("vendor/") for name in files if name.startswith("vendor/") and name.endswith(".js")}
    assert {name for _, name in told} == libraries
    for digest, name in told:
        assert sha256(files[f"vendor/{name}"].content).hexdigest() == digest
        assert files[f"vendor/{name.partition('.')[0]}.LICENSE.txt"].content
