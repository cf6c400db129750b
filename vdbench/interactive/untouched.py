"""A place in a program where nothing that is done stays behind in the process's random numbers and settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from vdbench.measures.guard import SETTINGS


@contextmanager
def untouched() -> Iterator[None]:
    """Within, nothing that is done to the process's random numbers and settings stays; autocast is off."""
    before = {setting: setting.get() for setting in SETTINGS}
    cuda: Any = torch.cuda
    devices = range(cuda.device_count()) if cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            stack.close()
            for setting, value in before.items():
                if setting.get() != value:
                    setting.put(value)
