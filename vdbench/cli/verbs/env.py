"""``vdbench env``: this machine, as it is recorded with every run."""

from __future__ import annotations

from vdbench.cli.options import Device, Json
from vdbench.cli.printing import indented, print_json
from vdbench.cli.streams import say


def env_verb(device: Device = "auto", json: Json = False) -> None:
    """Print the environment as recorded with every run."""
    from vdbench import runner
    from vdbench.runner import environment

    described = environment.describe(runner.resolve_device(device).type)
    if json:
        print_json(described)
    else:
        say(indented(described))
