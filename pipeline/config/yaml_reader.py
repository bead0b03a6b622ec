"""Read YAML with each value as it is written, for the type of its key to decide about it.

YAML 1.1 alone would take ``1.10`` for 1.1, ``no`` for false, and ``010`` for 8.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from pipeline.config.hints import HintAt, alternatives, element
from pipeline.config.keys import Path
from pipeline.config.scalars import typed

_TAG = "tag:yaml.org,2002:"
_PLAIN, _MERGE, _TEXT = "plain", f"{_TAG}merge", f"{_TAG}str"
_SCALARS = {_PLAIN, _MERGE, _TEXT, *(_TAG + name for name in ("int", "float", "bool", "null"))}
_LARGEST = 10_000
"""Most keys and values of a document; a few aliases of aliases would fill the memory."""


class _Loader(yaml.SafeLoader):
    """Loader that knows whether a scalar has quotes, and takes it for nothing yet."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return the tag of a node without one."""
        if kind is not yaml.ScalarNode:
            return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if not implicit[0]:
            return _TEXT
        return _MERGE if value == "<<" else _PLAIN


def compose(text: str) -> yaml.Node | None:
    """Return the root of a YAML document, None if it is empty.

    Raises:
        YAMLError: if it is no YAML, or has two values for a key, unknown tags or endless aliases.
        RecursionError: if it has too many brackets in brackets.
    """
    root = yaml.compose(text, _Loader)
    if root is not None and _size(root, {}) > _LARGEST:
        raise _error("YAML node expansion exceeds the configured limit", root)
    return root


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of nodes with all aliases written out, after a check of each node."""
    if id(node) in known:
        if known[id(node)] == 0:  # begun
            raise _error("YAML recursive aliases are not supported", node)
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    for child in _children(node):
        total += _size(child, known)
        if total > _LARGEST:
            break
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        return []
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return list(node.value)
    if not (isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map"):
        raise _error(f"could not determine a constructor for the tag '{node.tag}'", node)
    keys = set[str]()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("found unhashable key", key)
        if key.value in keys:
            raise _error(f"found duplicate key {key.value}", key)
        keys.add(key.value)
        if key.tag == _MERGE and not all(isinstance(n, yaml.MappingNode) for n in _sources(value)):
            raise _error("<< takes a mapping, or a list of mappings", key)
    return [child for pair in node.value for child in pair]


def _error(problem: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


def _sources(node: yaml.Node) -> list[Any]:
    """Return the mappings whose keys a mapping takes over by ``<<``."""
    return node.value if isinstance(node, yaml.SequenceNode) else [node]


def _items(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return the nodes of key and value by key; the mapping's own keys replace those of ``<<``."""
    own, others = {}, dict[str, tuple[yaml.Node, yaml.Node]]()
    for key, value in node.value:
        if key.tag == _MERGE:
            for other in _sources(value):
                others = _items(other) | others
        else:
            own[key.value] = key, value
    return others | own


def to_value(node: yaml.Node | None, hint_at: HintAt, path: Path = ()) -> Any:
    """Return the value of a composed document, or of the part of it at ``path``."""
    if isinstance(node, yaml.MappingNode):
        items = _items(node).items()
        return {key: to_value(value, hint_at, (*path, key)) for key, (_, value) in items}
    if isinstance(node, yaml.SequenceNode):
        part = element(hint_at(path))
        return [to_value(each, lambda _: part, path) for each in node.value]
    return None if node is None else typed(node.value, node.tag != _TEXT, hint_at(path))


def key_lines(node: yaml.Node | None, above: str = "") -> Iterator[tuple[str, int]]:
    """Yield each dotted key of a composed document, and its line from 1."""
    if isinstance(node, yaml.MappingNode):
        for name, (key, value) in _items(node).items():
            yield f"{above}{name}", key.start_mark.line + 1
            yield from key_lines(value, f"{above}{name}.")


def override_value(text: str, hint_at: HintAt, path: Path) -> Any:
    """Return the value of an override at ``path`` from the text after ``=``.

    The value of a key of texts is the whole text, whatever characters it has; only quotes around
    all of it are removed, as YAML does. Other values are YAML.

    Raises:
        YAMLError: if such a value is not YAML, or a comment follows it.
        RecursionError: if it has too many brackets in brackets.
    """
    hint = hint_at(path)
    if str in alternatives(hint):
        quoted = _quoted(text)
        return typed(text, True, hint) if quoted is None else typed(quoted, False, hint)
    root = compose(text)
    if root is None and text.strip():
        raise yaml.YAMLError("a comment is no value")
    if root is not None and text[root.end_mark.index :].strip():
        raise _error("there is a comment behind the value", root)
    return to_value(root, hint_at, path)


def _quoted(text: str) -> str | None:
    """Return the text inside YAML quotes that enclose the whole of ``text``; None without them."""
    if not text.startswith(("'", '"')):
        return None
    try:
        root = yaml.compose(text, _Loader)
    except yaml.YAMLError:
        return None
    whole = isinstance(root, yaml.ScalarNode) and root.end_mark.index == len(text)
    return str(root.value) if whole else None  # type: ignore[union-attr]
