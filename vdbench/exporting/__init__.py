"""A run's figures in the formats of other tools, one file a format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vdbench.errors import InputError, nearest, unwritable
from vdbench.exporting import asv, pytest_benchmark, tensorboard, wandb_csv
from vdbench.exporting.figures import Figures, read
from vdbench.store import atomic

FORMATS: dict[str, Callable[[Figures], dict[str, str]]] = {
    "pytest-benchmark": pytest_benchmark.files,
    "asv": asv.files,
    "wandb-csv": wandb_csv.files,
}
"""By name, what makes the content of each file of a format, by the file's path."""

NAMES = (*FORMATS, "tensorboard")
"""All formats; tensorboard's own writer writes its files."""


def export(run: str | Path, to: str, out: str | Path | None = None) -> list[Path]:
    """Write a run's figures for another tool.

    Args:
        run: Run folder; nothing in it is changed but for ``export/``.
        to: ``pytest-benchmark``, ``asv``, ``tensorboard`` or ``wandb-csv``.
        out: Folder for the files; default ``RUN/export/FORMAT``.

    Returns:
        The files or, for tensorboard, the folder that was written.

    Raises:
        InputError: There is no such format, a package of its is missing, or a folder cannot be read or written.
    """
    if to not in NAMES:
        raise InputError(f"export --to {to}: there is no such format.{nearest(to, NAMES)}")
    found = read(Path(run))
    folder = Path(out) if out is not None else Path(run) / "export" / to
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if to == "tensorboard":
            return tensorboard.write(found, folder)
        written = []
        for name, text in FORMATS[to](found).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(path)
        return written
    except OSError as error:
        raise unwritable(f"export --out {folder}", folder, error) from error
