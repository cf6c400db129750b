"""The notebooks run from top to bottom, in a kernel of their own, and are kept without outputs."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SHORT = ("reading_a_run",)
"""Notebooks that measure nothing."""


def executed(path: Path, folder: Path) -> Any:
    """A notebook with its outputs, after it was run in a folder with what it reads."""
    book = nbformat.read(path, as_version=4)
    shutil.copytree(ROOT / "docs" / "results" / "quick", folder / "results" / "quick")
    home = folder / "notebooks"
    home.mkdir()
    client = NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(home)}}
    )
    with warnings.catch_warnings():  # of the kernel's own libraries
        warnings.simplefilter("ignore")
        client.execute(env={"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent)})
    return book


def outputs(book: Any) -> list[Any]:
    """What all cells have shown."""
    return [shown for cell in book.cells for shown in cell.get("outputs", [])]


def parameters() -> list[Any]:
    """The notebooks; those that measure are left to make long."""
    long = pytest.mark.long
    return [
        pytest.param(path, id=path.stem, marks=() if path.stem in SHORT else (long,))
        for path in NOTEBOOKS
    ]


@pytest.mark.parametrize("path", parameters())
def test_a_notebook_runs_and_shows_tables_and_pictures(path: Path, tmp_path: Path) -> None:
    shown = outputs(executed(path, tmp_path))
    kinds = {kind for one in shown for kind in one.get("data", {})}
    assert "text/html" in kinds
    html = "".join("".join(one["data"].get("text/html", "")) for one in shown if "data" in one)
    assert "<table" in html
    assert "data:image/svg+xml;base64," in html or "image/png" in kinds
    figures = [
        one["data"] for one in shown if "Figure" in str(one.get("data", {}).get("text/plain"))
    ]
    assert all("image/png" in data for data in figures), "a figure is shown as its name"
    said = [one.get("text", "") for one in shown if one.get("name") == "stderr"]
    assert not any("Warning" in text or "Traceback" in text for text in said), said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    """What it shows is made when it is run, so that no figure in it is an old one."""
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert outputs(book) == []
    assert all(cell.get("execution_count") is None for cell in book.cells)
    assert path.stat().st_size < 20_000


def test_the_page_lists_all_notebooks() -> None:
    text = (ROOT / "docs" / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in text for path in NOTEBOOKS)
