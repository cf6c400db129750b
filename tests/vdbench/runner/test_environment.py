"""The recorded environment: complete, JSON, and silent about whose machine it is."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from vdbench.errors import InputError
from vdbench.runner import environment


def test_it_is_json_and_has_what_a_figure_needs() -> None:
    """Every key is there, and what can be checked elsewhere agrees."""
    told = environment.describe("cpu")
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert list(told) == [
        "python", "platform", "cpu", "memory", "load_average", "torch", "device", "packages", "git",
        "variables",
    ]  # fmt: skip
    assert told["python"]["version"] == platform.python_version()
    assert told["memory"]["total_bytes"] == psutil.virtual_memory().total
    assert told["cpu"]["logical_cores"] == os.cpu_count()
    assert told["cpu"]["model"]
    assert told["torch"]["version"] == torch.__version__ == told["packages"]["torch"]
    assert told["torch"]["threads"] == torch.get_num_threads()
    assert told["device"] == {"type": "cpu", "name": told["cpu"]["model"]}


def test_it_names_neither_machine_nor_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host name and no absolute path, not even out of an environment variable."""
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", "/home/alice/kernels")
    monkeypatch.setenv("TORCH_HOME", r"C:\Users\alice")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "~/alice")
    told = json.dumps(environment.describe())
    for secret in ("alice", str(Path.home()), str(Path.cwd()), str(Path(__file__).parents[3])):
        assert secret not in told
    if len(platform.node()) > 3:  # a host called 'x' is in every text
        assert not re.search(rf"\b{re.escape(platform.node())}\b", told)


def test_variables_are_those_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thread counts and device choice are kept as they are, all else is left out."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128,expandable_segments:True")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    told = environment.describe()["variables"]
    assert told["OMP_NUM_THREADS"] == "3"
    assert told["CUDA_VISIBLE_DEVICES"] == ""
    assert told["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert told["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:128,expandable_segments:True"
    assert "SECRET_TOKEN" not in told


def test_it_draws_nothing_and_sets_nothing() -> None:
    """Describing leaves the generator and the settings of torch alone."""
    before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    environment.describe()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.get_default_dtype())


def test_a_bad_device_is_refused() -> None:
    """One sentence, with what was expected."""
    with pytest.raises(InputError, match="'gpu' is not a device; expected 'cpu', 'cuda'"):
        environment.describe("gpu")


def test_importing_it_does_not_import_torch() -> None:
    """So that the command line's help is quick."""
    code = (
        "import sys, vdbench.runner.environment, vdbench.datasets, vdbench.datasets.download; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'requests', 'sklearn')))"
    )
    root = str(Path(environment.__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)


def git(folder: Path, *arguments: str) -> str:
    """Run git in ``folder`` as nobody in particular."""
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_git_tells_commit_and_dirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkout, no commit, clean, dirty; a git hook's variables do not mislead."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", "")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert environment.describe()["git"]["cwd"] is None
    git(tmp_path, "init", "-q")
    assert environment.describe()["git"]["cwd"] is None
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.describe()["git"]["cwd"] == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("2")
    assert environment.describe()["git"]["cwd"] == {"commit": commit, "dirty": True}


def test_a_hostile_repository_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor, hooks, filters and a submodule's monitor, each of which would write a file."""
    bad = f"touch {tmp_path / 'RAN'}; cat"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("fsmonitor", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\n{bad}\n")
        (hooks / name).chmod(0o755)
    inner, repository = tmp_path / "inner", tmp_path / "repository"
    for folder in (inner, repository):
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / "file").write_text("1")
        git(folder, "add", "file")
        git(folder, "commit", "-qm", "first")
    git(
        repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "part"
    )
    (repository / ".gitattributes").write_text("* filter=bad\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    (repository / "file").write_text("2")
    for folder in (repository, repository / "part"):
        for key, value in {
            "core.fsmonitor": str(hooks / "fsmonitor"), "core.hooksPath": str(hooks), "core.pager": bad,
            "filter.bad.clean": bad, "filter.bad.process": bad, "filter.bad.required": "true", "core.sshCommand": bad,
            "diff.external": bad, "status.submoduleSummary": "true", "pager.status": bad,
        }.items():  # fmt: skip
            git(folder, "config", key, value)
    subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, check=False
    )
    assert (tmp_path / "RAN").exists()  # it would
    (tmp_path / "RAN").unlink()
    os.utime(repository / "file", (1, 1))
    monkeypatch.chdir(repository)
    assert environment.describe()["git"]["cwd"]["dirty"] is True
    assert not (tmp_path / "RAN").exists()


def test_an_installed_vdbench_is_not_part_of_the_repository_around_it(tmp_path: Path) -> None:
    """A virtual environment inside some project's checkout: the project's commit is not ours."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    package = tmp_path / "venv" / "vdbench"
    package.mkdir(parents=True)
    (package / "environment.py").write_text("")
    assert environment._git(package, tracked="environment.py") is None
    git(tmp_path, "add", ".")
    assert environment._git(package, tracked="environment.py") is not None


def test_without_git_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git is no failure."""
    monkeypatch.setenv("PATH", "")
    assert environment.describe()["git"] == {"vdbench": None, "cwd": None}


def test_a_gpu_is_described_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU: found by UUID; a question it does not answer is None; no UUID kept."""
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    properties = types.SimpleNamespace(
        name="Stand-in", major=9, minor=0, multi_processor_count=132, total_memory=2**36, uuid=uuid
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(uuid))
    told = environment.describe("cuda")
    assert uuid not in json.dumps(told)
    device = told["device"]
    assert (device["name"], device["capability"], device["driver"]) == ("Stand-in", "9.0", "600.1")
    assert (device["clock_sm_mhz"], device["clock_memory_max_mhz"]) == (1000, 3001)
    assert (device["ecc"], device["power_limit_watts"]) == (None, 700.0)


def fake_nvml(uuid: str) -> types.ModuleType:
    """A pynvml with one GPU, which has no ECC."""
    module: Any = types.ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def by_uuid(name: str) -> str:
        assert name == f"GPU-{uuid}"
        return "gpu"

    def refuse(gpu: str) -> None:
        raise NVMLError

    module.NVMLError = NVMLError
    module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM, module.NVML_TEMPERATURE_GPU = 0, 1, 0
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetHandleByUUID = by_uuid
    module.nvmlSystemGetDriverVersion = lambda: "600.1"
    module.nvmlDeviceGetClockInfo = lambda gpu, clock: 1000 + clock
    module.nvmlDeviceGetMaxClockInfo = lambda gpu, clock: 3000 + clock
    module.nvmlDeviceGetEnforcedPowerLimit = lambda gpu: 700_000
    module.nvmlDeviceGetTemperature = lambda gpu, sensor: 30
    module.nvmlDeviceGetEccMode = refuse
    module.nvmlDeviceGetUtilizationRates = lambda gpu: types.SimpleNamespace(gpu=0)
    return module


def test_cuda_without_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error here: the run decides what to do about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.describe("cuda:0")["device"] == {"type": "cuda", "available": False}


@pytest.mark.gpu
def test_a_real_gpu_is_described() -> None:
    """On a machine with a GPU, the driver answers."""
    device = environment.describe("cuda")["device"]
    assert device["available"]
    assert device["driver"]
    assert device["clock_sm_mhz"] > 0
