"""The environment of a measurement, as recorded with every run and printed by ``vdbench env``.

Nothing here names the machine or its user: no host name, no path.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from vdbench.errors import InputError

_VARIABLES = re.compile(
    r"(OMP|MKL|KMP|GOMP|PYTORCH|TORCH|TORCHINDUCTOR)_\w+|OPENBLAS_NUM_THREADS|ATEN_CPU_CAPABILITY"
    r"|CUDA_(VISIBLE_DEVICES|LAUNCH_BLOCKING|DEVICE_ORDER)|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE"
)
_PATH = re.compile(r"(?<![\w.])(?:~?/|[A-Za-z]:\\)[^\s:;,]*")
_CORE = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "torch")


def describe(device: str = "cpu") -> dict[str, Any]:
    """Describe the environment; call it before measuring, for it records the load.

    Args:
        device: The device that figures are measured on: 'cpu', 'cuda' or 'cuda:<index>'.

    Returns:
        A JSON-serialisable mapping with the keys python, platform, cpu, memory, load_average (1, 5
        and 15 minutes, None where the system does not tell), torch, device, packages, git
        (vdbench's own checkout, and the current folder's; None where there is none) and variables.
        Sizes are in bytes, clocks in MHz.

    Raises:
        InputError: ``device`` is not the name of a device.
    """
    load = [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
        },
        "platform": _platform(),
        "cpu": _cpu(),
        "memory": _memory(),
        "load_average": load,
        "torch": _torch(),
        "device": _device(device),
        "packages": packages(),
        "git": {
            "vdbench": _git(Path(__file__).parent, tracked=Path(__file__).name),
            "cwd": _git(Path.cwd()),
        },
        "variables": _variables(),
    }


def packages() -> dict[str, str]:
    """The versions of vdbench and of what it depends on, as far as installed, by name."""
    try:
        required = metadata.requires("vdbench") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        required = []
    wanted = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in required}
    found = {}
    for name in sorted(wanted | set(_CORE) | {"vdbench"}):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def cpu_model() -> str:
    """The processor's name, such as 'AMD EPYC 7763 64-Core Processor'; '' where nothing tells."""
    try:
        # py-cpuinfo needs a second; Linux on x86 just says it
        told = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        told = None
    if told:
        return told.group(1).strip()
    import cpuinfo

    return str(cpuinfo.get_cpu_info().get("brand_raw", "") or platform.processor())


def _platform() -> dict[str, Any]:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = platform.mac_ver()[0] or platform.version()
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "name": name,
    }


def _cpu() -> dict[str, Any]:
    import psutil

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "model": cpu_model(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        # what a batch system or taskset leaves to this process
        "usable_cores": len(affinity(0)) if affinity else psutil.cpu_count(),
    }


def _memory() -> dict[str, Any]:
    import psutil

    memory = psutil.virtual_memory()
    return {"total_bytes": memory.total, "available_bytes": memory.available}


def _torch() -> dict[str, Any]:
    import torch

    backends: Any = torch.backends  # in part untyped
    # what follows "Build settings" is every compiler flag, with the paths of the build machine
    build = torch.__config__.show().split("- Build settings")[0]
    return {
        "version": torch.__version__,
        "git": torch.version.git_version,
        "cuda": torch.version.cuda,
        "cudnn": backends.cudnn.version() if backends.cudnn.is_available() else None,
        "build": [line.strip(" -") for line in build.splitlines()[1:] if line.strip()],
        "mkl": backends.mkl.is_available(),
        "mkldnn": backends.mkldnn.is_available(),
        "openmp": backends.openmp.is_available(),
        "cpu_capability": backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": backends.cudnn.deterministic,
        "cudnn_benchmark": backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


# --- the device ------------------------------------------------------------------------------


def _device(name: str) -> dict[str, Any]:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"'{name}' is not a device; expected 'cpu', 'cuda' or 'cuda:<index>'."
        ) from error
    if device.type != "cuda":
        return {"type": device.type, "name": cpu_model()}
    if not torch.cuda.is_available():
        return {"type": "cuda", "available": False}
    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "available": True,
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "devices": torch.cuda.device_count(),
        **_nvml(str(getattr(properties, "uuid", ""))),
    }


def _nvml(uuid: str) -> dict[str, Any]:
    """Driver, clocks and limits of a GPU as its driver tells them; {} where it tells nothing.

    By UUID, because CUDA_VISIBLE_DEVICES renumbers the devices for torch and not for the driver.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no such package, no driver library, no permission
        return {}
    try:
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
    except pynvml.NVMLError:  # a slice of a GPU (MIG) has another kind of name
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    queries: dict[str, Callable[[], Any]] = {
        "driver": lambda: pynvml.nvmlSystemGetDriverVersion(),
        "clock_sm_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
        "clock_memory_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM),
        "clock_sm_max_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM),
        "clock_memory_max_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(
            gpu, pynvml.NVML_CLOCK_MEM
        ),
        "power_limit_watts": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
        "temperature_celsius": lambda: pynvml.nvmlDeviceGetTemperature(
            gpu, pynvml.NVML_TEMPERATURE_GPU
        ),
        "ecc": lambda: bool(pynvml.nvmlDeviceGetEccMode(gpu)[0]),
        "utilization_percent": lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    }
    told: dict[str, Any] = {}
    for key, query in queries.items():
        try:
            told[key] = query()
        except pynvml.NVMLError:  # not every card answers every question
            told[key] = None
    pynvml.nvmlShutdown()
    return told


# --- git and variables -----------------------------------------------------------------------


def _git(folder: Path, tracked: str | None = None) -> dict[str, Any] | None:
    """The commit of the checkout that ``folder`` is in, and whether it differs from it.

    Args:
        folder: A folder.
        tracked: A file of it that must belong to the checkout; else an installed vdbench would be
            taken for part of whatever repository its site-packages happen to lie in.

    Returns:
        None where there is no git, no checkout, or no commit yet.
    """
    if tracked is not None and _run_git(folder, "ls-files", "--error-unmatch", tracked) is None:
        return None
    commit = _run_git(folder, "rev-parse", "--verify", "HEAD")
    # not what is inside submodules: git would ask there without what is switched off here
    status = _run_git(folder, "status", "--porcelain", "--ignore-submodules=dirty")
    if commit is None or status is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


_SAFE_GIT = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false",
             "protocol.allow=never", "safe.bareRepository=explicit")  # fmt: skip
"""Settings with which a repository's own ones run no program."""


def _run_git(folder: Path, *arguments: str) -> str | None:
    """What git says of a folder, whose settings run nothing: no monitor, hook, filter or transport."""
    drivers = _ask_git(
        folder, "config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$"
    )
    filters = [
        f"{key}={'false' if key.endswith('.required') else ''}"
        for key in (drivers or "").split("\n")
        if key
    ]
    return _ask_git(folder, *arguments, settings=filters)


def _ask_git(folder: Path, *arguments: str, settings: Sequence[str] = ()) -> str | None:
    # within a git hook, GIT_DIR and its like point elsewhere
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0",
                    "GIT_TERMINAL_PROMPT": "0"}  # fmt: skip
    switched_off = [word for setting in (*_SAFE_GIT, *settings) for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "--no-pager", *switched_off, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _variables() -> dict[str, str]:
    """The environment variables that bear on figures, with paths taken out."""
    return {
        key: _PATH.sub("<path>", value)
        for key, value in sorted(os.environ.items())
        if _VARIABLES.fullmatch(key)
    }
