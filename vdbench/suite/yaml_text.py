"""YAML as suites have it: plain data, of limited size, and no value that is another than it looks.

Read are mappings, lists, text, numbers, ``true``, ``false`` and ``null``, anchors and ``<<``. ``1e-3`` is a number.
Refused are tags, keys given twice, and what YAML 1.1 reads otherwise than people do: ``010`` (octal), ``1:30``
(base 60) and dates, each of which can be put in quotes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from vdbench.errors import printable, shown
from vdbench.limits import DEPTH, limits

TAG = "tag:yaml.org,2002:"
NUMBER = 60
"""Characters of the longest number."""
TRAPS = {
    "octal": "has a leading 0, which some read as octal: leave the 0 out, or put it in quotes",
    "sixty": "is a number in base 60 to some: put it in quotes",
    "date": "is a date to some: put it in quotes",
}
"""Kinds of words that do not mean what they look like, and what to do."""


class YamlError(ValueError):
    """Text that is not read.

    Attributes:
        problem: What is wrong.
        line: Where, from 1; 0 where no line is to blame.
        refused: Whether it is valid YAML, and refused.
    """

    def __init__(self, problem: str, line: int = 0, refused: bool = False) -> None:
        """Keep what is wrong, and where."""
        super().__init__(problem)
        self.problem, self.line, self.refused = printable(problem), line, refused


def parse(text: str) -> Any:
    """The data that a YAML text holds.

    Raises:
        YamlError: It is no YAML, or is refused.
    """
    size, most = len(text.encode(errors="replace")), limits().bytes
    if size > most:
        raise YamlError(
            f"{size:,} bytes, more than {most:,}; VDBENCH_LIMITS={-(-size // most)} in the environment allows them",
            refused=True,
        )
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except YamlError:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(
            f"the character {shown(text[error.position])} cannot stand there", line
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise YamlError(str(problem), mark.line + 1 if mark else 0) from error
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise YamlError(
            "it cannot be read"
        ) from error  # the parser's own, such as \U of no character


class _Loader(yaml.SafeLoader):
    """A loader of plain data that counts what it reads as it goes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the parent's is of the class, too)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._most, self._nodes, self._depth = limits().nodes, 0, 0
        self._known: dict[int, tuple[int, int]] = {}  # nodes and levels of what is anchored
        self._levels = [0]

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            return self._alias(parent, index, event)
        if getattr(event, "tag", None) is not None:
            self._refuse("tags such as !!int are not read: write the plain value", event)
        before = self._nodes
        self._count(1, 1, event)
        self._depth += 1
        self._levels.append(0)
        node = super().compose_node(parent, index)
        self._depth -= 1
        levels = self._levels.pop() + 1
        self._levels[-1] = max(self._levels[-1], levels)
        self._known[id(node)] = self._nodes - before, levels
        return node

    def _alias(self, parent: Any, index: Any, event: Any) -> Any:
        """What an alias stands for counts as if it were written out."""
        anchored = self.anchors.get(event.anchor)
        if anchored is not None:
            if id(anchored) not in self._known:
                self._refuse(f"'*{event.anchor}' stands within what it stands for", event)
            size, levels = self._known[id(anchored)]
            self._count(size, levels, event)
            self._levels[-1] = max(self._levels[-1], levels)
        return super().compose_node(parent, index)

    def _count(self, size: int, levels: int, event: Any) -> None:
        self._nodes += size
        if self._nodes > self._most:
            self._refuse(
                f"more than {self._most:,} keys and values, aliases written out; VDBENCH_LIMITS in the environment "
                "is a factor that allows more",
                event,
            )
        if self._depth + levels > DEPTH + 1:
            self._refuse(f"more than {DEPTH} levels within each other", event)

    @staticmethod
    def _refuse(problem: str, at: Any) -> None:
        raise YamlError(problem, at.start_mark.line + 1, refused=True)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """YAML keeps the last of a key given twice, and says nothing: it is refused."""
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == f"{TAG}merge":
                continue  # << takes over another mapping's keys, which may be given again
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse("a key is a list or a mapping: expected a word", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' is given twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _number(self, node: Any) -> int | float:
        text = self.construct_scalar(node).replace("_", "")
        if len(text) > NUMBER:
            self._refuse(f"a number of {len(text)} characters", node)
        if node.tag == f"{TAG}float":
            special = text.lower().lstrip("+-").startswith(".") and text[-1].isalpha()
            return float(text.replace(".", "") if special else text)
        base = {"0b": 2, "0x": 16}.get(text.lstrip("+-")[:2].lower(), 10)
        return int(text, base)

    def _trap(self, node: Any) -> None:
        why = TRAPS[node.tag.removeprefix(TAG)]
        self._refuse(f"{shown(node.value, 40)} {why}", node)


def _resolve(kind: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(
        f"{TAG}{kind}", re.compile(rf"^(?:{pattern})$", re.ASCII), list(first)
    )


DIGITS = "0123456789"
_resolve("null", r"~|null|Null|NULL|", "~nN")
_Loader.yaml_implicit_resolvers[""] = [(f"{TAG}null", re.compile(r"^$"))]
_resolve("bool", "|".join(w for x in ("yes", "no", "true", "false", "on", "off") for w in (x, x.title(), x.upper())),
         "yYnNtTfFoO")  # fmt: skip
_resolve("int", r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)", f"-+{DIGITS}")
_resolve("float", r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
         r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", f"-+.{DIGITS}")  # fmt: skip
_resolve("octal", r"[-+]?0[0-9_]+|[-+]?0[oO][0-9_]+", "-+0")
_resolve("sixty", r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", f"-+{DIGITS}")
_resolve("date", r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", DIGITS)
_resolve("merge", r"<<", "<")
for _kind in ("int", "float"):
    _Loader.add_constructor(f"{TAG}{_kind}", _Loader._number)
for _kind in TRAPS:
    _Loader.add_constructor(f"{TAG}{_kind}", _Loader._trap)
