"""What all tests share: which are left out here, and why."""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# One thread each, for tests and the processes they start: small calls lose more to waiting for a second thread
# on a busy machine than it gains them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]

# oracles, twins and servers that tests share
sys.path.append(str(Path(__file__).parent / "helpers"))

LEFT_OUT = ("benchmarks", "pages")
"""Folders that are left out unless the command line names them: ``make bench``, ``make browser``."""

# No deadline: a shared machine's pauses are no failures. Derandomized: a failure is everyone's.
settings.register_profile("vdbench", deadline=None, derandomize=True)
settings.load_profile("vdbench")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the long forms out unless the command line names them."""
    if collection_path.parent != Path(__file__).parent or collection_path.name not in LEFT_OUT:
        return None
    words = [Path(str(word)).parts for word in config.invocation_params.args]
    return None if any(collection_path.name in parts for parts in words) else True


# Thousands of tests and the libraries they import are collected and kept to the end: looking for garbage among them,
# again and again, was a quarter of the time of collection.
gc.disable()


def pytest_collection_finish() -> None:
    """Garbage is looked for from here on, and only among what tests make."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line that the tests in a browser were left out, where that is so."""
    from chromium import installed

    if installed() is None:
        terminalreporter.write_line(
            "Chromium is not installed: the tests of the page in a browser were left out."
        )


@pytest.fixture(scope="session", autouse=True)
def in_this_process() -> Iterator[None]:
    """Runs measure in the test's own process, where what a test replaces holds: ``isolate=True`` asks for others.

    What processes of their own are for is tested in tests/vdbench/runner/test_apart.py and tests/faults.
    """
    from vdbench.runner import run_suite

    defaults = run_suite.run.__kwdefaults__
    defaults["isolate"] = False
    yield
    defaults["isolate"] = True


@pytest.fixture
def pytester(all_loaded: None, pytester: pytest.Pytester) -> pytest.Pytester:
    """Pytest's own, with all modules loaded before: it forgets those that are first loaded while it is there.

    Some of torch's cannot be loaded twice, and classes of vdbench that are loaded twice are not the same.
    """
    return pytester


@pytest.fixture(scope="session")
def all_loaded() -> None:
    """All modules of vdbench, and those of torch that they load late."""
    import estimators
    import reports
    import vdbench

    names = ["torch._dynamo", "torch._inductor.test_operators"]
    for package in (vdbench, estimators, reports):
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [module.name for module in found if not module.name.endswith("__main__")]
    if importlib.util.find_spec("triton") is None:  # an extra
        names.remove("vdbench.kernels.programs")
    for name in names:
        importlib.import_module(name)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, whatever the environment says: threads only wait for each other on small tensors."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their pictures, which take nine tenths of the time: the tests of reports draw them."""
    from reports.output import pictures

    monkeypatch.setattr(pictures, "draw_for_page", lambda *_: "<svg/>")
    monkeypatch.setattr(pictures, "draw_for_paper", lambda *_: None)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, a cache and a registry of the test's own, paths and modules as they were."""
    from vdbench.estimation import registry

    registry.discover()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VDBENCH_DATA", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name.startswith(("vdbench_plugin_", "own_")):
            del sys.modules[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Several workers: tests that share a fixture of their module or of the session go to one of them.

    They go first, as they are the long ones; all other tests go one by one to whoever is free.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if shares(config.rootpath / file) else nodeid

    return Together(config, log)


@functools.cache
def shares(file: Path) -> bool:
    """Whether a test file, or a conftest.py beside or above it, makes something once for many tests."""
    folders = [folder for folder in file.parents if Path(__file__).parent in folder.parents]
    files = [file, *(folder / "conftest.py" for folder in folders)]
    return any(WIDE.search(f.read_text(encoding="utf-8")) for f in files if f.exists())


WIDE = re.compile(
    r"fixture\(.*scope=\"(?:module|package|session)\"|^@(?:functools\.)?cache$", re.MULTILINE
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, with the reason."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))
