"""Functions, estimators and networks on their way between the processes of one run: by cloudpickle, never by a file."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import cloudpickle


class Sent:
    """Something on its way; what the other process cannot import is sent along."""

    def __init__(self, value: Any) -> None:
        """Pack it.

        Raises:
            Exception: It cannot travel.
        """
        self._value = value
        self._along: list[ModuleType] = []
        self.content = self._packed()

    def with_module(self, name: str) -> bytes | None:
        """The same with a module of this process sent along; None where that does not help."""
        module = sys.modules.get(name)
        if module is None or module in self._along:
            return None
        self._along.append(module)
        return self._packed()

    def _packed(self) -> bytes:
        registered = cloudpickle.list_registry_pickle_by_value()
        mine = [module for module in self._along if module.__name__ not in registered]
        for module in mine:
            cloudpickle.register_pickle_by_value(module)
        try:
            packed: bytes = cloudpickle.dumps(self._value, protocol=5)
        finally:
            for module in mine:
                cloudpickle.unregister_pickle_by_value(module)
        return packed
