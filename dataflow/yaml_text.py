"""YAML read warily: whatever a file holds, it ends in plain values with their lines, or in one sentence.

Of YAML's language this is the part that a job file needs: mappings by name, lists, and scalars. Aliases are
followed, and counted; tags of programming languages are refused. The reader is libyaml's, because PyYAML's own
takes the `?` of `{tailnum: string?}` for an indicator, which YAML 1.2 does not.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml

Place = tuple[str | int, ...]
"""Where a value stands: names and indices."""

LONGEST: Final = 1 << 20
"""Characters of a text; a job file of a thousand aggregations has a third of it."""
DEEPEST: Final = 50
MOST_VALUES: Final = 100_000
"""Values with every alias followed: ten aliases of ten aliases of … are a bomb of a few hundred bytes."""

_TAG: Final = "tag:yaml.org,2002:"
_TEXTS: Final = frozenset(_TAG + name for name in ("str", "timestamp", "merge", "value"))
"""Scalars that stay text: a job file has no dates, does not merge with `<<`, and `=` means nothing."""
_SCALARS: Final = _TEXTS | frozenset(_TAG + name for name in ("int", "float", "bool", "null"))
_RULES: Final = yaml.SafeLoader("")
"""YAML 1.1's rules for what a scalar without a tag is, and what a scalar of a type is worth."""


class YamlError(ValueError):
    """A text that is not YAML, or more of it than is served; `line` counts from 1 and may be unknown."""

    def __init__(self, sentence: str, line: int | None = None):
        super().__init__(sentence)
        self.line = line


def read_yaml(text: str) -> tuple[Any, dict[Place, int]]:
    """The value of a text and the line of every place in it; nothing but comments is None.

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


def _document(events: Iterator[yaml.Event]) -> yaml.Node | None:
    """The tree of the one document of a stream, aliases pointing where their anchor does."""
    anchors: dict[str, yaml.Node] = {}
    root: yaml.Node | None = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlError("holds more than one YAML document", event.start_mark.line + 1)
        elif isinstance(event, yaml.NodeEvent):
            root = _node(event, events, anchors, 1)
    return root


def _node(event: yaml.NodeEvent, events: Iterator[yaml.Event], anchors: dict[str, yaml.Node], depth: int) -> yaml.Node:
    line = event.start_mark.line + 1
    if depth > DEEPEST:
        raise YamlError(f"is nested deeper than {DEEPEST} levels", line)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise YamlError(f"the alias *{event.anchor} has no anchor before it", line)
        return anchors[event.anchor]
    node: yaml.Node
    if isinstance(event, yaml.ScalarEvent):
        tag = event.tag
        if tag in (None, "!"):
            tag = _RULES.resolve(yaml.ScalarNode, event.value, event.implicit)
        node = yaml.ScalarNode(tag, event.value, event.start_mark)
        served = tag in _SCALARS
    else:
        children = []
        for child in events:
            if isinstance(child, yaml.CollectionEndEvent):
                break
            children.append(_node(child, events, anchors, depth + 1))
        if isinstance(event, yaml.MappingStartEvent):
            pairs = list(zip(children[::2], children[1::2], strict=True))
            node = yaml.MappingNode(event.tag or f"{_TAG}map", pairs, event.start_mark)
        else:
            node = yaml.SequenceNode(event.tag or f"{_TAG}seq", children, event.start_mark)
        served = node.tag in (f"{_TAG}map", f"{_TAG}seq")
    if not served:
        raise YamlError(f"the tag {node.tag.replace(_TAG, '!!')} is not served", line)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _value(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Any:
    line = node.start_mark.line + 1
    if len(lines) >= MOST_VALUES:
        raise YamlError(f"holds more than {MOST_VALUES:,} values, aliases followed", line)
    lines.setdefault(place, line)
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key must be a name", at)
            key = key_node.value
            if key in content:
                raise YamlError(f"{_short(key)} is there twice", at)
            here: Place = (*place, key)
            lines[here] = at
            content[key] = _value(value_node, here, lines)
        return content
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*place, index), lines) for index, child in enumerate(node.value)]
    if node.tag in _TEXTS:
        return node.value
    try:
        return _RULES.yaml_constructors[node.tag](_RULES, node)
    except (ValueError, LookupError):
        raise YamlError(f"{_short(node.value)} is no {node.tag.removeprefix(_TAG)}", line) from None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
