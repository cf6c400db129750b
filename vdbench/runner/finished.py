"""A run that came to its end: its folder, its figures as a table, and what a notebook shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdbench.errors import InputError
from vdbench.runner import results
from vdbench.siblings import import_own
from vdbench.store import Damaged, records, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finished:
    """What `vdbench.run` and `vdbench.measure` return; a notebook shows its headline, tables and first figure.

    A run that was made earlier, or elsewhere, is read by naming its folder.

    Attributes:
        folder: The run folder.
        failed: How many cells failed; as the run's record says, where it is not given.

    Raises:
        InputError: The folder has no record of a run.

    Example:
        >>> import vdbench
        >>> made = vdbench.run({
        ...     "name": "mine",
        ...     "problems": [{"name": "digits", "options": {"widths": []}}],
        ...     "batch_sizes": [16],
        ...     "estimators": ["naive", "local"],
        ...     "baseline": "naive",
        ...     "measures": {"variance": {"first_units": 16, "max_units": 16}},
        ... }, "runs/mine")
        >>> found = vdbench.Finished("runs/mine")
        >>> found.failed, len(found.frame) == len(made.frame)
        (0, True)
    """

    folder: Path
    failed: int = -1

    def __post_init__(self) -> None:
        """Read the number of failures, where it is not given."""
        object.__setattr__(self, "folder", Path(self.folder))
        if self.failed < 0:
            object.__setattr__(self, "failed", _failures(self.folder))

    @property
    def frame(self) -> pd.DataFrame:
        """The figures, one row a metric value (``docs/schema.json`` has the columns); the table's seal is checked.

        Raises:
            InputError: The run has no table, as one of several parts of a run.
        """
        self._need()
        return tables.read_frame(self.folder / results.FILE)[0]

    @property
    def results(self) -> pd.DataFrame:
        """The same as `frame`."""
        return self.frame

    @property
    def headline(self) -> list[str]:
        """The answer in sentences."""
        found: list[str] = self._reports().headline([self.folder])
        return found

    @property
    def figures(self) -> list[str]:
        """Names of the report's figures, the most important first."""
        found: list[str] = self._reports().figure_names([self.folder])
        return found

    def figure(self, name: str = "") -> Figure:
        """One of the report's figures.

        Args:
            name: One of `figures`; the first by default.

        Returns:
            A figure of matplotlib; ``figure.savefig(path)`` saves it.

        Raises:
            InputError: There is no such figure.
        """
        found: Figure = self._reports().figure([self.folder], name)
        return found

    def report(self, path: str | Path | None = None, formats: Sequence[str] = ("svg",)) -> Path:
        """Write the report.

        Args:
            path: Folder to write to; by default ``report`` in the run's folder.
            formats: Of the files of its figures: ``svg``, ``png`` and ``pdf``.

        Returns:
            The page, ``index.html``, which needs no other file.
        """
        out = None if path is None else Path(path)
        page: Path = self._reports().write([self.folder], out, formats)
        return page

    def text(self, width: int = 120) -> str:
        """Headline and table for a terminal of so many columns."""
        return str(self._reports().shown([self.folder], "text", width))

    def _reports(self) -> Any:
        self._need()
        return import_own("reports")

    def _need(self) -> None:
        if not (self.folder / results.FILE).exists():
            raise InputError(
                f"{self.folder} has no {results.FILE}: it is a part of a run; vdbench.run on this folder ends it."
            )

    def _repr_html_(self) -> str:
        return str(self._reports().shown([self.folder], "html"))

    def __repr__(self) -> str:
        failed = f", {self.failed} cells failed" if self.failed else ""
        return f"Finished('{self.folder}'{failed})"


def _failures(folder: Path) -> int:
    try:
        cells = records.read(folder / "run.json").get("cells", [])
    except OSError as error:
        raise InputError(
            f"'{folder}' is no run: expected a folder with a run.json, as vdbench.run makes it."
        ) from error
    except Damaged as error:
        raise InputError(f"'{folder}': its run.json cannot be read, {error}.") from error
    return sum(cell.get("status") == "failed" for cell in cells)
