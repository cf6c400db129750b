"""What ``vdbench run`` and ``vdbench worker`` are asked for, as keywords of the call and as a line to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A suite, and the options that change what is measured.

    Attributes:
        suite: Name of a bundled suite, or path of a YAML file.
        device: ``cpu``, ``cuda`` or ``auto``.
        settings: ``key=value`` changes to the suite.
        only: Names of the estimators to run.
        plugins: Files of estimators.
        allow: Modules and factories that the suite may run.
    """

    suite: str
    device: str
    settings: Sequence[str]
    only: Sequence[str]
    plugins: Sequence[Path]
    allow: Sequence[str]

    @property
    def keywords(self) -> dict[str, Any]:
        """Arguments of `vdbench.runner.run`, but for the suite."""
        return {
            "device": self.device,
            "settings": self.settings,
            "only": self.only,
            "plugins": self.plugins,
            "allow": self.allow,
        }

    def command(self, out: Path | None = None, verb: str = "run", more: Sequence[str] = ()) -> str:
        """The command of a run; with ``out``, as it is typed here, else without paths of this machine.

        Args:
            out: The run folder.
            verb: ``run`` or ``worker``.
            more: Further words.
        """
        words = ["vdbench", verb, self.suite, *(["--out", str(out)] if out else []), *more]
        words += ["--device", self.device] if self.device != "cpu" else []
        for flag, values in (
            ("--set", self.settings),
            ("--only", self.only),
            ("--plugin", self.plugins),
            ("--allow", self.allow),
        ):
            for value in values:
                words += [flag, value.name if isinstance(value, Path) and not out else str(value)]
        return shlex.join(words)
