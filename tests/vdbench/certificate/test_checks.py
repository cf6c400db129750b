"""The registry of checks: every file of its folder is in it, once."""

from __future__ import annotations

import importlib
import pkgutil

from vdbench.certificate import checks


def test_every_file_is_a_check_of_its_own() -> None:
    files = [module.name for module in pkgutil.iter_modules(checks.__path__)]
    made = [importlib.import_module(f"{checks.__name__}.{name}").CHECK for name in files]
    assert {id(one) for one in made} == {id(one) for one in checks.CHECKS}
    names = [one.name for one in checks.CHECKS]
    assert len(set(names)) == len(names) == len(files)
