"""A YAML file as plain data, and in a few words what is wrong with one that cannot be read."""

from pathlib import Path
from typing import Any, Final

import yaml

_LARGEST_BYTES: Final = 512 << 10
#: Values, those counted again that an alias repeats: a few lines of aliases can stand for thousands of millions.
_MOST_VALUES: Final = 50_000


class YamlError(Exception):
    """The file cannot be read; the message goes on from its name."""


def read_yaml(path: Path) -> Any:
    """The data of a file with one document of safe YAML in UTF-8; None where it is empty."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise YamlError(f" cannot be read ({error.strerror})") from None
    if len(raw) > _LARGEST_BYTES:
        raise YamlError(f" is larger than {_LARGEST_BYTES >> 10} KiB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise YamlError(f", line {line} is no UTF-8 text") from None
    try:
        return _parse(text)
    except yaml.YAMLError as error:
        raise YamlError(_words(error)) from None
    except RecursionError:
        raise YamlError(" is nested too deeply") from None
    except ValueError as error:  # a date or a number that cannot be
        raise YamlError(f" is no YAML ({error})") from None


def _parse(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, set(), {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _words(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", "") or "")
    where = f", line {mark.line + 1}" if mark else ""
    if r"'\t'" in problem:
        return f"{where} begins with a tab, where YAML takes blanks alone"
    reason = f" ({' '.join(problem.split())})" if problem else ""
    return f"{where} is no YAML{reason}"


def _count(node: yaml.Node, above: set[int], known: dict[int, int]) -> int:
    """How many values a node stands for. Raises `YamlError` for what YAML reads without a word and nobody means."""
    if id(node) in above:
        raise YamlError(f", line {node.start_mark.line + 1} has an anchor that holds itself")
    if id(node) in known:
        return known[id(node)]
    if isinstance(node, yaml.MappingNode):
        _refuse_doubles(node)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
    above.add(id(node))
    count = 1
    for part in parts:
        count += _count(part, above, known)
        if count > _MOST_VALUES:
            raise YamlError(f" has more than {_MOST_VALUES:,} values, those of its aliases included")
    above.remove(id(node))
    known[id(node)] = count
    return count


def _refuse_doubles(mapping: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in mapping.value:
        word = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
        if word in seen:
            raise YamlError(f", line {key.start_mark.line + 1} has the key {key.value} a second time")
        if word is not None:
            seen.add(word)
