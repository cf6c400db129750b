"""Every block of README and docs is executed: Python as it stands, suites planned or run, commands called."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import doc_pages
import pytest
import typer
import yaml
from doc_pages import ROOT, Block

from vdbench import cli
from vdbench.cli.app import app
from vdbench.estimation import registry
from vdbench.measures.registry import load

PAGES = {page.name: page for page in doc_pages.pages()}
KINDS = ("python", "yaml", "sh", "text")
SMALL: dict[str, Any] = {
    "name": "mine",
    "threads": 1,
    "problems": [{"name": "digits", "options": {"widths": [8]}}],
    "batch_sizes": [16],
    "estimators": ["naive", "local"],
    "baseline": "naive",
    "measures": {"variance": {"first_units": 8, "max_units": 8}},
}
"""The reader's own suite, where a page's commands speak of one; and what a suite's fragment is put into."""

pytestmark = pytest.mark.usefixtures("elsewhere", "undrawn", "one_thread")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Somebody who does what a page says, in an empty folder beside another one."""
    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    before = set(sys.modules)
    yield Reader(monkeypatch)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if name.startswith("page_") or file.startswith(str(tmp_path)):
            del sys.modules[name]


class Reader:
    """Executes blocks one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._page = types.ModuleType("page_of_docs")
        sys.modules["page_of_docs"] = self._page

    def do(self, block: Block, full: bool) -> None:
        """Execute a block; a suite is planned only, unless in full."""
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.kind == "python":
            self.python(block)
        elif block.kind == "yaml":
            self.suite(block, full)
        elif block.kind == "sh":
            for words in block.commands:
                self.command(words, block)

    def python(self, block: Block) -> None:
        """As a module of its own where it is a file; else as a continuation of the page's other blocks."""
        if block.file.startswith("test_"):
            return  # pytest executes it
        if block.file:
            spec = importlib.util.spec_from_file_location(
                f"page_{Path(block.file).stem}", block.file
            )
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            return
        exec(compile(block.text, str(block.page), "exec"), vars(self._page))

    def suite(self, block: Block, full: bool) -> None:
        """A whole suite is planned by the command line, and run in full where it says how; a part is read."""
        found = yaml.safe_load(block.text)
        if "problems" not in found:
            load({**SMALL, **found, "baseline": SMALL["baseline"], "estimators":
                  ["naive", *found.get("estimators", [])]})  # fmt: skip
            return
        file = Path(block.file or "page.yaml")
        file.write_text(block.text, encoding="utf-8")
        pairs = zip(block.more[::2], block.more[1::2], strict=True)
        named = [word for pair in pairs if pair[0] in ("--allow", "--plugin") for word in pair]
        self.vdbench("run", str(file), *named, "--dry-run")
        if full and block.more:
            self.vdbench("run", str(file), "--out", f"runs/{file.stem}", *block.more)

    def command(self, words: list[str], block: Block) -> None:
        """A command, with nothing outside the reader's folder touched."""
        words = [word.replace("/shared/", "shared/") for word in words]
        if words[0] == "vdbench":
            self.vdbench(*words[1:], *block.more)
        elif words[0] == "pytest":
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *words[1:]], capture_output=True, text=True,
                check=False, env={**os.environ, "PYTHONPATH": f"{ROOT}"},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        elif words[0] == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
            assert words[1] in targets, f"{block}: there is no 'make {words[1]}'"
        else:
            raise AssertionError(f"{block}: a test does not know how to execute '{words[0]}'")

    def vdbench(self, *words: str) -> None:
        """Call the command line in this process; what it registers is gone after it, as with a process of its own."""
        with self._patch.context() as patch:
            patch.setattr(registry, "_registry", dict(registry._registry))
            patch.setattr(sys, "argv", ["vdbench", *words])
            with pytest.raises(SystemExit) as end:
                cli.main()
        assert not end.value.code, f"vdbench {' '.join(words)} ended with {end.value.code}"


def gate_files(full: bool) -> None:
    """What the how-to's commands take for granted: a suite of one's own, and the estimator on another branch."""
    Path("mine.yaml").write_text(yaml.safe_dump(SMALL))
    estimator = doc_pages.block(ROOT / "README.md", "my_estimator.py")
    Path("my_estimator.py").write_text(estimator)
    Path("../base").mkdir()
    Path("../base/my_estimator.py").write_text(estimator)
    shutil.copy(ROOT / "docs" / "gate" / "gate.yaml", "gate.yaml")
    if full:
        text = Path("gate.yaml").read_text().replace("2048", "64").replace("epochs: 5", "epochs: 1")
        Path("gate.yaml").write_text(text)


def two_runs(full: bool) -> None:
    """What the README's commands take for granted: two runs."""
    if full:
        from vdbench.runner import run

        for name in ("base", "new"):
            run(SMALL, f"runs/{name}")


BEFORE: dict[str, Callable[[bool], None]] = {"howto.md": gate_files, "README.md": two_runs}


def executed(reader: Reader, page: str, full: bool) -> None:
    if page in BEFORE:
        BEFORE[page](full)
    for block in doc_pages.blocks(PAGES[page]):
        if not block.why_not and (full or not block.long):
            try:
                reader.do(block, full)
            except (Exception, pytest.fail.Exception) as error:
                raise AssertionError(f"{block}: {error}") from error


def some(kind: bool) -> list[str]:
    """Pages with a block that is executed, or with one that takes long."""
    found = {n: [b for b in doc_pages.blocks(p) if not b.why_not] for n, p in PAGES.items()}
    return [
        n for n, each in found.items() if any(b.long or b.more for b in each) or (each and not kind)
    ]


@pytest.mark.parametrize("page", some(False))
def test_every_block_of_a_page_works(page: str, reader: Reader) -> None:
    executed(reader, page, False)


@pytest.mark.long
@pytest.mark.parametrize("page", some(True))
def test_every_block_of_a_page_works_in_full(page: str, reader: Reader) -> None:
    executed(reader, page, True)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    text = PAGES[page].read_text(encoding="utf-8")
    found = list(doc_pages.blocks(PAGES[page]))
    assert text.count("\n```") == 2 * len(found), "a block has no kind, or no end"
    for block in found:
        assert block.kind in KINDS, f"{block}: '{block.kind}' is not executed"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_the_text_exist(page: str) -> None:
    """Verbs and options of each `vdbench …` in a line; what is in capitals stands for the reader's own."""
    for words in doc_pages.inline(PAGES[page]):
        verb: Any = typer.main.get_command(app)
        rest = words[1:]
        while hasattr(verb, "commands") and rest and not rest[0].startswith("-"):
            names = re.split(r"\|", rest.pop(0))
            if names[0].isupper():  # any verb
                break
            assert names[0] in verb.commands, f"{page}: {' '.join(words)}"
            verb = verb.commands[names[0]]
        known = {
            flag
            for parameter in verb.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in {*known, "--help"}, f"{page}: {' '.join(words)}"
