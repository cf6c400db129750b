"""The public names: each is documented, with an example that runs, and hides no module."""

from __future__ import annotations

import ast
import doctest
import inspect
import itertools
import pkgutil
import sys
from pathlib import Path

import pytest

import vdbench

NAMES = [name for name in vdbench.__all__ if name != "__version__"]


def documentation(name: str) -> str:
    """The docstring of a public name; of an alias, the string below it in its module."""
    found = getattr(vdbench, name)
    home = sys.modules[vdbench._HOME[name]]
    if inspect.isclass(found) or inspect.isfunction(found):
        return inspect.getdoc(found) or ""
    body = ast.parse(inspect.getsource(home)).body
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            assert isinstance(below, ast.Expr)
            assert isinstance(below.value, ast.Constant)
            return inspect.cleandoc(str(below.value.value))
    raise AssertionError(f"{name} is nowhere in {home.__name__}")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name: str, elsewhere: Path) -> None:
    text = documentation(name)
    example = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, None, 0)
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_errors_are_documented(name: str) -> None:
    """Every parameter of a function, every field of a class, and what is raised where something is."""
    found, text = getattr(vdbench, name), documentation(name)
    if inspect.isfunction(found):
        for parameter in inspect.signature(found).parameters:
            assert f"    {parameter}: " in text, f"{name} does not describe {parameter}"
        raises = "raise " in inspect.getsource(found) or name in ("get", "run", "noisy", "check")
        assert not raises or "Raises:" in text
    fields = getattr(found, "_fields", ()) or getattr(found, "__match_args__", ())
    for field in fields if inspect.isclass(found) else ():
        assert f"    {field}: " in text, f"{name} does not describe {field}"


def test_no_public_name_is_a_module_s() -> None:
    """Importing such a module would put it in the place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(vdbench.__path__)}
    assert not modules & set(vdbench.__all__)
