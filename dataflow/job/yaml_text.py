"""Reads YAML warily: any file gives either plain values with their lines, or an error of one sentence.

It supports the part of YAML that a job file needs: mappings by name, lists, and scalars. Aliases are followed, and
counted; tags of programming languages are refused. It uses libyaml's parser, because PyYAML's own takes the `?` of
`{tailnum: string?}` for an indicator, unlike YAML 1.2.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from dataflow.job.problem import Place

LONGEST: Final = 1 << 20
"""The most characters of a text; a job file of a thousand aggregations has a third of them."""
DEEPEST: Final = 50
MOST_VALUES: Final = 100_000
"""The most values with all aliases followed: ten aliases of ten aliases of … make a bomb of a few hundred bytes."""

_TAG: Final = "tag:yaml.org,2002:"
_TEXTS: Final = frozenset(_TAG + name for name in ("str", "timestamp", "merge", "value"))
"""Scalars that stay text: a job file has no dates, does not merge with `<<`, and `=` means nothing."""
_SCALARS: Final = _TEXTS | frozenset(_TAG + name for name in ("int", "float", "bool", "null"))
_CONTENT: Final = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent, yaml.AliasEvent)
_NUMBERS: Final = (_TAG + "int", _TAG + "float")
_AMBIGUOUS: Final = re.compile(r"[+-]?(0[0-9_]+|0[xb][0-9a-f_]+|[0-9][0-9_:]*[_:][0-9_:.]*)", re.IGNORECASE)
"""Forms of YAML 1.1 (010, 0x1F, 1_000, 1:30) that are different numbers, or texts, in YAML 1.2."""
_MAPPING, _LIST = _TAG + "map", _TAG + "seq"
_rules: Final[Any] = yaml.SafeLoader("")
"""YAML 1.1's rules for the type of a scalar without a tag, and for the value of a scalar of a type."""


class YamlError(ValueError):
    """A text that is not YAML, or uses an unsupported part of it; `line` counts from 1 and may be unknown."""

    def __init__(self, sentence: str, line: int | None = None):
        super().__init__(sentence)
        self.line = line


def read_yaml(text: str) -> tuple[Any, dict[Place, int]]:
    """The value of a text and the line of every place in it; a text with only comments is None.

    Raises:
        YamlError: with what is wrong, for any text that has no value.

    >>> read_yaml("{tailnum: string?, sizes: [1h, 1d]}")[0]
    {'tailnum': 'string?', 'sizes': ['1h', '1d']}
    """
    if len(text) > LONGEST:
        raise YamlError(f"has {len(text):,} characters; a job file has at most {LONGEST:,}")
    try:
        node = _document(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(f"is not YAML: {error.problem or error.context}", mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlError(f"is not YAML: {str(error).splitlines()[0]}") from None
    except UnicodeEncodeError:
        raise YamlError("is not YAML: it holds half of a character (a lone surrogate)") from None
    lines: dict[Place, int] = {}
    return (None if node is None else _value(node, (), lines)), lines


@dataclass(frozen=True, slots=True)
class _Node:
    """A scalar's text, a list's nodes, or the alternating keys and values of a mapping."""

    tag: str
    content: Any
    line: int


def _document(events: Iterator[Any]) -> _Node | None:
    """The tree of the only document in a stream; an alias is the node of its anchor."""
    root: _Node | None = None
    for event in events:
        if type(event) not in _CONTENT:
            continue
        if root is not None:
            raise YamlError("holds more than one YAML document", event.start_mark.line + 1)
        root = _node(event, events, {}, 1)
    return root


def _node(event: Any, events: Iterator[Any], anchors: dict[str, _Node], depth: int) -> _Node:
    line = event.start_mark.line + 1
    if depth > DEEPEST:
        raise YamlError(f"is nested deeper than {DEEPEST} levels", line)
    content: Any
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise YamlError(f"the alias *{event.anchor} has no anchor before it", line)
        return anchors[event.anchor]
    if isinstance(event, yaml.ScalarEvent):
        tag, content = event.tag, event.value
        if tag in (None, "!"):
            tag = _rules.resolve(yaml.ScalarNode, event.value, event.implicit)
        served = tag in _SCALARS
    else:
        tag = event.tag or (_MAPPING if isinstance(event, yaml.MappingStartEvent) else _LIST)
        content = []
        for child in events:
            if isinstance(child, yaml.CollectionEndEvent):
                break
            content.append(_node(child, events, anchors, depth + 1))
        served = tag == (_MAPPING if isinstance(event, yaml.MappingStartEvent) else _LIST)
    if not served:
        raise YamlError(f"the tag {_short(tag.replace(_TAG, '!!'))} is not supported", line)
    node = _Node(tag, content, line)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _value(node: _Node, place: Place, lines: dict[Place, int]) -> Any:
    if len(lines) >= MOST_VALUES:
        raise YamlError(f"holds more than {MOST_VALUES:,} values, aliases followed", node.line)
    lines.setdefault(place, node.line)
    if node.tag == _MAPPING:
        return _mapping(node, place, lines)
    if node.tag == _LIST:
        return [_value(child, (*place, index), lines) for index, child in enumerate(node.content)]
    if node.tag in _TEXTS:
        return node.content
    if node.tag in _NUMBERS and _AMBIGUOUS.fullmatch(node.content):
        raise YamlError(
            f"{_short(node.content)} is a different number in other YAML readers: write its decimal digits", node.line
        )
    try:
        return _rules.yaml_constructors[node.tag](_rules, yaml.ScalarNode(node.tag, node.content))
    except (ValueError, LookupError):
        raise YamlError(f"{_short(node.content)} is not a valid {node.tag.removeprefix(_TAG)}", node.line) from None


def _mapping(node: _Node, place: Place, lines: dict[Place, int]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in zip(node.content[::2], node.content[1::2], strict=True):
        if key.tag in (_MAPPING, _LIST):
            raise YamlError("a key must be a name", key.line)
        if key.content in content:
            raise YamlError(f"{_short(key.content)} is there twice", key.line)
        here: Place = (*place, key.content)
        lines[here] = key.line
        content[key.content] = _value(value, here, lines)
    return content


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
