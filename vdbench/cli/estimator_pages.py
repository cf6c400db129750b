"""Pages of the estimators, made from their docstrings.

``python -m vdbench.cli.estimator_pages [FOLDER]`` writes ``docs/estimators``.

A page says what ``vdbench show`` says, for a reader of the repository: the docstring with its formulas as LaTeX, what
is declared, the options with their defaults, and, of a wrapper, what it can wrap. Where an estimator was measured on
the four problems of ``docs/results/estimators.md``, its page says what it came to there.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdbench.cli import catalogue
from vdbench.estimation import registry

FOLDER = Path("docs/estimators")

FRONTS = "results/fronts.json"
"""Beside the folder of the pages: by estimator, where it was on the front of variance against time."""

NOTE = "<!-- Made from the docstrings by `make docs`: change them, not this page. -->"

DECLARED = {
    "objective": "objective class",
    "objective_on_convolution": "on convolutions",
    "unbiased": "unbiased",
    "unbiased_given_minibatch": "unbiased given the minibatch",
    "independent_examples": "noise of examples independent",
    "laws": "noise laws",
    "posteriors": "posteriors",
    "pure": "function of its arguments alone",
    "version": "version",
}
"""The words of a page for what is declared, in order."""


def pages(fronts: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every page by its file name: one for each estimator that comes with vdbench, and the index.

    Args:
        fronts: By estimator, what it came to on the four problems; None for nothing.
    """
    names = [n for n in registry.names() if registry.find(n).__module__.startswith("estimators.")]
    found = {f"{name}.md": page(name, (fronts or {}).get(name, "")) for name in names}
    return {"README.md": index(names), **found}


def page(name: str, measured: str = "") -> str:
    """The page of one estimator, with what it came to on the four problems."""
    shown = catalogue.show(name)
    parts = [f"# {name}", NOTE, _prose(shown["about"])]
    if measured:
        parts.append(f"**Measured** on [four problems](../results/estimators.md): {measured}")
    declares = shown["declares"]
    rows = [
        (words, _value(declares[key]))
        for key, words in DECLARED.items()
        # nearly all are, or are as what they wrap
        if key in declares and (key != "unbiased_given_minibatch" or declares[key] is False)
    ]
    parts.append(_table(("declared", ""), rows))
    if shown["options"] != ["none"]:
        options = [tuple(f"`{part}`" for part in o.split("=", 1)) for o in shown["options"]]
        parts.append(_table(("option", "default"), options))
    if shown.get("wraps"):
        parts.append("Wraps: " + ", ".join(f"[{w}]({w}.md)" for w in shown["wraps"]) + ".")
    file = registry.find(name).__module__.replace(".", "/") + ".py"
    parts.append(f"Source code: [{file}](../../{file})")
    return "\n\n".join(parts) + "\n"


def index(names: list[str]) -> str:
    """The list of all pages."""
    about = {row["name"]: row for row in catalogue.estimators()}
    rows = [
        (f"[{name}]({name}.md)", about[name]["objective"], about[name]["unbiased"], about[name]["summary"])
        for name in names
    ]  # fmt: skip
    table = _table(("estimator", "objective class", "unbiased", ""), rows)
    return f"# The estimators\n\n{NOTE}\n\n{table}\n"


def _prose(about: str) -> str:
    """A docstring as Markdown: literals, the lines of claim, cost and source apart, options and example as such."""
    text = about.replace("``", "`")
    text = re.sub(r"^(Formula|Claim|Cost|Source):", r"**\1:**", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S)\n(?=\*\*(?:Claim|Cost|Source):)", "\n\n", text)
    text, _, example = text.partition("Example:\n")
    text, _, attributes = text.partition("Attributes:\n")
    parts = [text.strip()]
    if attributes.strip():
        parts.append("**Options:**\n\n" + _list(attributes))
    if example.strip():
        parts.append("```pycon\n" + inspect.cleandoc(example) + "\n```")
    return "\n\n".join(parts)


def _list(attributes: str) -> str:
    """The section Attributes as a list."""
    lines = inspect.cleandoc(attributes).splitlines()
    items = [re.sub(r"^(\w+):", r"- `\1`:", line) if line[:1] != " " else line for line in lines]
    return "\n".join(items)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def measured(folder: Path) -> dict[str, str]:
    """What committed runs say of the estimators, for pages in a folder; nothing where there is no such file."""
    file = folder.parent / FRONTS
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def write(folder: Path) -> list[Path]:
    """Write all pages, and remove those of estimators that are there no longer."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / name: text for name, text in pages(measured(folder)).items()}
    for old in set(folder.glob("*.md")) - set(made):
        old.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return sorted(made)


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(written)
