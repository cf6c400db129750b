"""What NVML says of a clock, and nothing where it is not there; NVML itself is a stand-in here."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vdbench.measures.busy import kernel_seconds, shares
from vdbench.measures.clocks import SLOW, Clock, Nvml, reader


class Failure(Exception):
    pass


def library(reasons: int, fails: bool = False) -> Any:
    def clock(handle: str, which: int) -> int:
        if fails:
            raise Failure
        assert (handle, which) == ("device", 1)
        return 1410

    return SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVMLError=Failure,
        nvmlDeviceGetClockInfo=clock,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: reasons,
    )


@pytest.mark.parametrize(("reasons", "throttled"), [
    (0, False),
    (0x1, False),  # idle
    (0x2, False),  # clocks that were set
    *((bit, True) for bit in SLOW.values()),
    (0x1 | SLOW["HwSlowdown"], True),
])  # fmt: skip
def test_heat_and_power_throttle_and_a_choice_does_not(reasons: int, throttled: bool) -> None:
    assert Nvml(library(reasons), "device")() == Clock(1410.0, throttled)


def test_a_device_that_cannot_be_asked_is_not_throttled() -> None:
    mhz, throttled = Nvml(library(0, fails=True), "device")()
    assert math.isnan(mhz)
    assert not throttled


def test_of_a_cpu_nothing_is_known() -> None:
    mhz, throttled = reader(torch.device("cpu"))()
    assert math.isnan(mhz)
    assert not throttled


def event(start: float, end: float, device: str = "CUDA") -> Any:
    return SimpleNamespace(
        time_range=SimpleNamespace(start=start, end=end), device_type=SimpleNamespace(name=device)
    )


def test_busy_time_is_the_union_of_what_ran_on_the_device() -> None:
    """0–10, 5–20 (another stream), 30–40 µs, one within another, and a call on the CPU that does not count."""
    events = [event(30, 40), event(0, 10), event(5, 20), event(6, 8), event(0, 100, "CPU")]
    assert kernel_seconds(events) == pytest.approx(30e-6)


def test_nothing_is_said_where_the_profiler_sees_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdbench.measures.busy._profiled", lambda one: [])
    assert shares(lambda: None, lambda calls: 1.0) == []


def test_a_share_is_kernel_time_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vdbench.measures.busy._profiled", lambda one: [event(0, 3e6 * 0.25)])
    found = shares(lambda: None, lambda calls: 1.0)
    assert found == pytest.approx([0.25] * 8)
