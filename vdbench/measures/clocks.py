"""The clock of a GPU and whether it is throttled, by NVML; nothing where the driver does not answer.

A GPU that is too hot, or at its limit of power, runs slower than the one that is meant to be measured. Samples taken
then are left out and counted. Where NVML is not there, nothing is known and nothing is left out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch

SLOW = {
    "SwPowerCap": 0x4,
    "HwSlowdown": 0x8,
    "SwThermalSlowdown": 0x20,
    "HwThermalSlowdown": 0x40,
    "HwPowerBrakeSlowdown": 0x80,
}
"""Bits of NVML's reasons for a lower clock that are a limit of power or heat, not a choice or an idle device."""


class Clock(NamedTuple):
    """The state of a device.

    Attributes:
        mhz: Of its multiprocessors; NaN where it is not known.
        throttled: Whether it is slowed by heat or power; False where it is not known.
    """

    mhz: float = math.nan
    throttled: bool = False


UNKNOWN = Clock()


@dataclass(frozen=True)
class Nvml:
    """A device, as NVML has it."""

    library: Any
    handle: Any

    def __call__(self) -> Clock:
        """Read the clock."""
        library = self.library
        try:
            mhz = float(library.nvmlDeviceGetClockInfo(self.handle, library.NVML_CLOCK_SM))
            reasons = int(library.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle))
        except library.NVMLError:
            return UNKNOWN
        return Clock(mhz, bool(reasons & sum(SLOW.values())))


def reader(device: torch.device) -> Callable[[], Clock]:
    """What reads the clock of a device; of a CPU, and without NVML, it knows nothing."""
    if device.type != "cuda":
        return lambda: UNKNOWN
    return _of_gpu(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _of_gpu(index: int) -> Callable[[], Clock]:
    with contextlib.suppress(Exception):  # no driver, no permission: nothing is known then
        import pynvml  # type: ignore[import-untyped,unused-ignore]

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(index).uuid)
        found = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        for handle in found:  # torch's numbers follow CUDA_VISIBLE_DEVICES, NVML's do not
            if uuid in str(pynvml.nvmlDeviceGetUUID(handle)):
                return Nvml(pynvml, handle)
    return lambda: UNKNOWN
