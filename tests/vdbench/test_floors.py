"""The plan of the code in CONTRIBUTING.md, held against the imports, late ones too."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M)
FLOORS = {name: int(n) for n, names in TABLE for name in re.findall(r"`(.+?)(?:/|\.py)?`", names)}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("vdbench", "reports")
    for path in sorted((ROOT / top).rglob("*.py"))
}
OURS = ("vdbench", "reports", "estimators", "suites")


def imports(module: str) -> set[str]:
    """What a module imports of ours, but for the version, which is in the package itself."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} - {
                "vdbench.__version__"
            }
            found |= {name if name in MODULES else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] in OURS}


def place(module: str) -> str:
    """The folder or file of the table that a module is in."""
    top, *below = module.split(".")
    return f"{top}/{below[0] if below else '__init__'}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_folders_with_a_smaller_number(module: str) -> None:
    """Of its own package; reports may import all of vdbench, and vdbench nothing of its siblings."""
    mine, top = place(module), module.split(".")[0]
    assert mine in FLOORS, f"{mine} is not in the table of CONTRIBUTING.md"
    for other in imports(module):
        theirs = place(other)
        if other.split(".")[0] != top:
            assert (top, other.split(".")[0]) == ("reports", "vdbench"), f"{module} imports {other}"
        elif theirs != mine:
            assert FLOORS[theirs] < FLOORS[mine], f"{module} imports {other}, which is not below it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imports(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_the_table_names_what_there_is() -> None:
    there = {place(module) for module in MODULES}
    assert set(FLOORS) <= there, f"not there: {sorted(set(FLOORS) - there)}"
