"""An estimator's state as named arrays and text, so that a training that is killed goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arrays = dict[str, np.ndarray[Any, Any]]

PREFIX = "state/"
"""What begins the names of a state's arrays in a training's file."""


def can_save(state: Any) -> bool:
    """Whether a state is made of tuples, lists and dicts of tensors, numbers, texts and None."""
    try:
        pack(state)
    except TypeError:
        return False
    return True


def pack(state: Any) -> Arrays:
    """A state as arrays: its form as JSON, and its tensors by number.

    Raises:
        TypeError: It holds something else.
    """
    tensors: list[Tensor] = []
    form = json.dumps(_form(state, tensors))
    arrays = {f"{PREFIX}{i}": t.detach().cpu().numpy() for i, t in enumerate(tensors)}
    return {f"{PREFIX}form": np.array(form), **arrays}


def _form(state: Any, tensors: list[Tensor]) -> Any:
    kind = type(state)
    if kind in (tuple, list):
        return {kind.__name__: [_form(item, tensors) for item in state]}
    if kind is dict and all(type(key) is str for key in state):
        return {"dict": {key: _form(item, tensors) for key, item in state.items()}}
    if isinstance(state, Tensor):
        tensors.append(state)
        return {"tensor": len(tensors) - 1}
    if state is None or kind in (bool, int, float, str):
        return {"plain": state}
    raise TypeError(f"a state with {kind.__name__} in it cannot be saved")


def unpack(saved: Mapping[str, np.ndarray[Any, Any]], device: torch.device) -> Any:
    """The state that `pack` made arrays of, its tensors on a device."""

    def made(form: Any) -> Any:
        ((kind, value),) = form.items()
        if kind == "tensor":
            return torch.from_numpy(saved[f"{PREFIX}{value}"].copy()).to(device)
        if kind == "dict":
            return {key: made(item) for key, item in value.items()}
        if kind in ("tuple", "list"):
            items = [made(item) for item in value]
            return tuple(items) if kind == "tuple" else items
        return value

    return made(json.loads(str(saved[f"{PREFIX}form"])))
