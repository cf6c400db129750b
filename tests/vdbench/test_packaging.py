"""The wheel works when installed elsewhere, and importing vdbench costs next to nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import estimators
import reports
import suites
import vdbench

ROOT = Path(__file__).parents[2]
PACKAGES = ("vdbench", "estimators", "suites", "reports")


def sources(package: str) -> set[str]:
    """What of a package must be in the wheel: modules, suites, templates, markers."""
    wanted = (path for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in wanted if "__pycache__" not in path.parts}


def call(*command: str | Path, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command as a user elsewhere would, with nothing of this checkout on the way."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment = keep | {"HOME": str(cwd.parent), "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        timeout=timeout,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves folders that the next one would pick up."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    built = call(*pip, "--wheel-dir", out, copy, cwd=out)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("vdbench-*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment that holds the wheel and sees the dependencies here."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(home, symlinks=True)
    paths = sysconfig.get_paths("venv", vars={"base": str(home), "platbase": str(home)})
    # A path file's own path files are not read, so an editable install here stays out of it.
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(paths["purelib"], "dependencies.pth").write_text("\n".join(sorted(here)))
    scripts = Path(paths["scripts"])
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    done = call(*pip, "install", "--no-deps", "--ignore-installed", wheel, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return scripts


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_everything(wheel: Path, package: str) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(package + "/")}
    assert held == sources(package)


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {*PACKAGES, f"vdbench-{vdbench.__version__}.dist-info"}


@pytest.mark.slow
def test_installed_elsewhere_the_installed_one_is_used(elsewhere: Path, tmp_path: Path) -> None:
    code = "import vdbench, estimators, suites, reports as r; print(vdbench.__file__, r.__file__)"
    done = call(elsewhere / "python", "-W", "error", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    home = str(elsewhere.parent)
    assert all(path.startswith(home) for path in done.stdout.split()), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("program", [("vdbench",), ("python", "-m", "vdbench")], ids=" ".join)
def test_installed_elsewhere_help_answers(
    elsewhere: Path, tmp_path: Path, program: tuple[str, ...]
) -> None:
    done = call(elsewhere / program[0], *program[1:], "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


LESS = (
    "checkpoints.0.epochs=1",
    "estimators=[naive, local]",
    "reference=naive",
    "measures.throughput={rounds: 8, budget_seconds: 1}",
    "measures.variance.max_units=64",
    "measures.bias={units: 8, draws: 2}",
    "measures.convergence={steps: 10, evaluations: 2, seeds: 2, samples: 2}",
)
"""Of the suite "quick", what takes the longest: what may be missing from a wheel is a file, and all are read."""


@pytest.mark.slow
def test_installed_elsewhere_quick_runs_from_an_empty_folder(
    elsewhere: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = [word for setting in LESS for word in ("--set", setting)]
    done = call(elsewhere / "vdbench", "run", "quick", *settings, cwd=empty, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in empty.iterdir()] == ["runs"]
    (run,) = (empty / "runs").iterdir()
    assert run.name.startswith("quick-")
    for name in ("run.json", "results.parquet", "report/index.html", "report/report.md"):
        assert (run / name).is_file(), name


@pytest.mark.parametrize("module", ["vdbench", "vdbench.cli"])
def test_importing_is_light(module: str) -> None:
    heavy = "{'torch', 'pandas', 'matplotlib', 'seaborn', 'scipy', 'pyarrow', 'sklearn', 'plotly'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", vdbench.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(vdbench, name) is not None
    assert name in dir(vdbench)


def test_an_unknown_public_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'vdbench' has no attribute 'lokal'"):
        vdbench.lokal  # noqa: B018


@pytest.mark.parametrize("package", [estimators, reports, suites, vdbench])
def test_tests_see_the_packages_and_not_their_own_folders(package: object) -> None:
    file = getattr(package, "__file__", None)
    assert file is not None
    assert Path(file).parent.parent == ROOT
