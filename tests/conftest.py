"""What all tests share: which are left out here, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# One thread each, for tests and the processes they start: small calls lose more to waiting for a second thread
# on a busy machine than it gains them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]

sys.path.append(
    str(Path(__file__).parent / "helpers")
)  # oracles, twins and servers that tests share

BENCHMARKS = Path(__file__).parent / "benchmarks"

# No deadline: a shared machine's pauses are no failures. Derandomized: a failure is everyone's.
settings.register_profile("vdbench", deadline=None, derandomize=True)
settings.load_profile("vdbench")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the benchmarks out unless the command line names them (``make bench``)."""
    named = any("benchmarks" in str(argument) for argument in config.invocation_params.args)
    return True if collection_path == BENCHMARKS and not named else None


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a fixture, longest first, and skip what needs a GPU where there is none."""
    for item in items:
        if shares(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    skip_without_gpu(items)


def shares(item: pytest.Item) -> bool:
    """Whether a fixture of its module or of the session, made by these tests, is among its own."""
    fixtures = getattr(item, "_fixtureinfo", None)
    defined = [] if fixtures is None else fixtures.name2fixturedefs.values()
    wide = (d[-1] for d in defined if d[-1].scope in ("module", "session", "package"))
    return any(d.baseid.startswith("tests") for d in wide)


def skip_without_gpu(items: list[pytest.Item]) -> None:
    """Skip them with the reason."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))
