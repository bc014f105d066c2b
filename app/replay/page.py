"""The page of a worker with its answers in it: one file that opens anywhere, and asks nobody.

A browser loads no module that lies beside a file on disk. So each becomes a function here, in the order in which they
need each other. They hold to what this can read: an import is `import { … } from "./….js";`, and what is exported is
declared behind `export`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from app.worker.http.page_files import page_files

_IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export ((?:async )?(?:function|class|const)) (\{[^}]*\}|\w+)", re.MULTILINE)
_STYLE: Final = re.compile(r'<link rel="stylesheet" href="page/([^"]+)">')
_ICON: Final = re.compile(r'<link rel="icon"[^>]*>\n')
_SCRIPT: Final = re.compile(r'<script src="page/([^"]+)"([^>]*)></script>\n')
_FOLDER: Final = "scripts/"


def one_file(answers: Mapping[str, Any]) -> str:
    """The page as one file, with answers by their paths, like `api/models`."""
    page = _ICON.sub("", _text("index.html"))
    page = _STYLE.sub(lambda found: f"<style>\n{_text(found[1])}</style>", page)
    last = [_tag(f"window.TALLY = {orjson.dumps(answers).decode()};")]

    def put(found: re.Match[str]) -> str:
        name, how = found[1], found[2].strip()
        if not how:
            return _tag(_text(name))
        last.append(_tag(_text(name) if how == "defer" else _bundle(name.removeprefix(_FOLDER))))
        return ""

    head = _SCRIPT.sub(put, page)
    return head.replace("</body>", "".join(last) + "</body>")


def _text(name: str) -> str:
    return page_files()[name].content.decode()


def _tag(script: str) -> str:
    """A script within the page. No text in it ends it, or begins a comment."""
    return "<script>" + script.replace("</", "<\\/").replace("<!--", "<\\!--") + "</script>\n"


def _bundle(main: str) -> str:
    """A module and all that it needs, each a function that returns what it exports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = _text(_FOLDER + name)
        for _, needed in _IMPORT.findall(text):
            add(needed)
        exported = [names.strip("{ }") for _, names in _EXPORT.findall(text)]
        text = _EXPORT.sub(r"\1 \2", _IMPORT.sub(r'const \1 = modules["\2"];', text))
        done[name] = f'modules["{name}"] = (() => {{\n{text}\nreturn {{ {", ".join(exported)} }};\n}})();\n'

    add(main)
    return f'"use strict";\nconst modules = {{}};\n{"".join(done.values())}'
