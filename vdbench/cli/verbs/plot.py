"""``vdbench plot``: static plots of a run, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vdbench.cli.options import Json
from vdbench.cli.printing import print_json
from vdbench.cli.streams import say
from vdbench.errors import InputError, nearest, unwritable

FORMATS = ("pdf", "png", "svg")


def plot_verb(
    run: Annotated[Path, Argument(help="A run folder.")],
    kind: Annotated[
        str,
        Option(help="variance, noise, ratio, efficiency, time, plane, elbo or scaling."),
    ] = "variance",
    style: Annotated[str, Option(help="paper (one column), slides or screen.")] = "paper",
    format_: Annotated[str, Option("--format", help="pdf, png or svg.")] = "pdf",
    problem: Annotated[str | None, Option(help="Of this problem alone.")] = None,
    checkpoint: Annotated[str | None, Option(help="At this checkpoint alone.")] = None,
    batch_size: Annotated[int | None, Option(help="At this minibatch size alone.")] = None,
    out: Annotated[Path | None, Option(help="Folder for the files; default RUN/plots.")] = None,
    json: Json = False,
) -> None:
    """Draw static plots of a run, one file for each place; intervals are the run's own."""
    from vdbench.plotting import plots
    from vdbench.siblings import import_own

    if format_ not in FORMATS:
        raise InputError(
            f"plot --format {format_}: there is no such format.{nearest(format_, FORMATS)}"
        )
    asked = {"problem": problem, "checkpoint": checkpoint, "batch_size": batch_size}
    found = plots(run, kind, style, {k: v for k, v in asked.items() if v is not None})
    folder, written = out or run / "plots", []
    for name, what, figure in found:
        path = folder / f"{name}.{format_}"
        try:
            import_own("reports").save_plot(figure, path, style)
        except OSError as error:
            raise unwritable(f"plot --out {folder}", folder, error) from error
        written.append({"file": str(path), "shows": what})
    if json:
        print_json(written)
        return
    for one in written:
        say(f"wrote {one['file']}: {one['shows']}")
