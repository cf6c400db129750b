"""Module names of version 0.1, found under their new names; they go with version 0.3.

``from vdbench.layers import Layer`` and ``from vdbench import registry`` are answered by an import finder, which is
asked last and imports nothing until then. New code takes names from ``vdbench`` itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED: dict[str, tuple[str, ...]] = {
    "autodiff": ("vdbench.estimation.autodiff",),
    "draws": ("vdbench.estimation.draws",),
    "estimator": (
        "vdbench.estimation.base",
        "vdbench.estimation.pathwise",
        "vdbench.estimation.validity",
    ),
    "evaluation": ("vdbench.training.evaluation",),
    "layers": ("vdbench.problems.layers",),
    "likelihood_ratio": ("vdbench.estimation.score_function",),
    "likelihoods": ("vdbench.problems.likelihoods",),
    "posteriors": ("vdbench.problems.gaussian",),
    "problem": ("vdbench.problems.problem", "vdbench.problems.from_module"),
    "registry": (
        "vdbench.estimation.registry",
        "vdbench.estimation.options",
        "vdbench.estimation.base",
    ),
}
"""By the old name below ``vdbench``, the modules that have its contents now."""

RENAMED = {
    ("estimator", "differentiate"): "pathwise_gradient",
    ("posteriors", "Gaussian"): "Posterior",
}
"""By old module and name, what the name is now."""


class Moved(ModuleType):
    """A module under its old name; every attribute is looked up where it is now."""

    def __getattr__(self, name: str) -> object:
        """Find a name in the modules that have the old one's contents.

        Raises:
            AttributeError: None has it.
        """
        old = self.__name__.removeprefix("vdbench.")
        # importing asks for __path__ and the like, which must load nothing
        for home in () if name.startswith("__") else MOVED[old]:
            module = importlib.import_module(home)
            new = RENAMED.get((old, name), name)
            if hasattr(module, new):
                return getattr(module, new)
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")


class Finder(MetaPathFinder, Loader):
    """Answers for the old names, after all others have been asked."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The old module, if it is one."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "vdbench" and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that looks its names up elsewhere."""
        return Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: names are looked up when they are asked for."""


def install() -> None:
    """Put the finder last, once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
