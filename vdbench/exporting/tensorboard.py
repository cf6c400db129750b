"""TensorBoard's event files, by torch's writer: one run for each estimator at each place, intervals as scalars beside.

A figure that belongs to no step is at step 0. Needs the package tensorboard.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vdbench.errors import InputError
from vdbench.exporting.figures import Figures, Where

PARTS = {"value": "", "ci_low": "/ci_low", "ci_high": "/ci_high"}
"""Columns of the table, and how the tag of each scalar ends."""


def write(found: Figures, folder: Path) -> list[Path]:
    """Write the event files into a folder.

    Returns:
        The folder.

    Raises:
        InputError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "export --to tensorboard needs the package tensorboard, which is not installed here."
        ) from error
    rows: dict[Where, list[Any]] = {}
    for where, part in [*found.places(), *found.courses()]:
        rows.setdefault(where, []).extend(part.to_dict("records"))
    for where, mine in rows.items():
        name = "".join(c if c.isalnum() or c in "-_.=" else "_" for c in str(where))
        with SummaryWriter(str(folder / name)) as writer:
            for row in mine:
                step = 0 if math.isnan(row["step"]) else int(row["step"])
                for column, end in PARTS.items():
                    if math.isfinite(row[column]):
                        tag = f"{row['name'].replace(' ', '/')}{end}"
                        writer.add_scalar(tag, row[column], step)
    return [folder]
