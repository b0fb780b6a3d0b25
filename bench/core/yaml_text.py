"""YAML as this project reads it: what two versions of YAML, or two readers, would take for different values is refused.

YAML 1.1 reads yes, on and 2020-01-01 as truths and dates, 010 as 8 and 1:30 as 90; YAML 1.2 reads texts, 10 and a text.
Here words and dates are texts, and such numbers are an error. Every file and every "key=value" goes this way.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from bench.core.errors import BenchError, first_line

MAX_DEPTH = 50
"""Levels of a document; the deepest shipped config has 8."""
MAX_VALUES = 250_000
"""Values of a document, those of an alias counted wherever it stands."""

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class _RefusedError(yaml.MarkedYAMLError):
    """What is YAML, and no value that is certain."""


def _refuse(problem: str, at: yaml.Node | yaml.Event) -> NoReturn:
    mark: Any = at.start_mark
    raise _RefusedError(None, None, problem, mark)


class _Loader(yaml.SafeLoader):
    """YAML whose keys are texts that stand once, and whose values mean one thing."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = 0
        self._open: set[str] = set()  # anchors whose node is not complete
        self._extent: dict[yaml.Node, tuple[int, int]] = {}  # node -> values and levels below and with it

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor in self._open:
                _refuse(f"*{anchor} stands inside itself", event)
            return super().compose_node(parent, index)
        if self._level >= MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", event)
        self._level += 1
        if anchor is not None:
            self._open.add(anchor)
        node = super().compose_node(parent, index)
        self._open.discard(str(anchor))
        self._level -= 1
        if node is not None:
            self._measure(node)
        return node

    def _measure(self, node: yaml.Node) -> None:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [each for pair in inner for each in pair] if isinstance(node, yaml.MappingNode) else inner
        known = [self._extent[part] for part in parts]
        values, levels = 1 + sum(size for size, _ in known), 1 + max((depth for _, depth in known), default=0)
        if values > MAX_VALUES:
            _refuse(f"more than {MAX_VALUES:,} values", node)
        if levels > MAX_DEPTH:
            _refuse(f"nested deeper than {MAX_DEPTH} levels", node)
        self._extent[node] = values, levels

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key is a text; this one is a list or a mapping", key)
            if key.value in seen:
                _refuse(f"key {key.value!r} stands twice", key)
            seen.add(key.value)
            if key.tag not in (_TAG + "str", _TAG + "merge"):
                _refuse(f"key {key.value!r} is no text; write it in quotes if it is a name", key)
        return node


def storable(text: str) -> bool:
    """Return whether a file can hold `text` and be named by it: no zero byte, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    value = str(loader.construct_scalar(node))
    if not storable(value):
        _refuse("a text with a character that no file can hold (a zero byte, or half of a surrogate pair)", node)
    return value


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    written = str(loader.construct_scalar(node))
    if not _INT.fullmatch(written):
        _refuse(
            f"{written} is one number in YAML 1.1 and another, or a text, in 1.2; write the number in decimal digits"
            " alone, or quotes around a text",
            node,
        )
    return int(written, 0)


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> float:
    written = str(loader.construct_scalar(node))
    if not _FLOAT.fullmatch(written):
        _refuse(f"{written} is a number in YAML 1.1 and a text in 1.2; write it with one point, or in quotes", node)
    return float(loader.construct_yaml_float(node))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in (_TAG + "bool", _TAG + "timestamp", _TAG + "value")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.yaml_constructors = {
    tag: made
    for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "seq", "map")
}
for _name, _made in (("str", _text), ("int", _whole), ("float", _decimal)):
    _Loader.add_constructor(_TAG + _name, _made)


def read_yaml(text: str, where: str, parameter: str = "") -> Any:
    """Return the value of a YAML document.

    Args:
        where: names the document in messages. parameter: of the error, see `BenchError`.

    Raises:
        BenchError: no YAML; a key that is no text or stands twice; a number that is another one in another version of
            YAML; a text that no file can hold; more than `MAX_DEPTH` levels or `MAX_VALUES` values.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark and "\n" in text.strip() else ""
        problem = getattr(error, "problem", None) or first_line(error)
        kind = "" if isinstance(error, _RefusedError) else "not valid YAML: "
        raise BenchError(f"{where}{place}: {kind}{problem}", parameter) from error
    except ValueError as error:  # such as a number of 5,000 digits
        raise BenchError(
            f"{where}: not valid YAML: {first_line(error)}; quote it if it is a text", parameter
        ) from error
