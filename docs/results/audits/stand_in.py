"""Stands in for torchvision, which cannot be imported beside this torch, and for laplace: names that do nothing."""

import importlib.abc
import importlib.machinery
import sys
import types


class _Any(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Any(name, (), {"__init__": lambda self, *args, **more: None})


class _Module(types.ModuleType):
    def __getattr__(self, name):
        return getattr(_Any("torchvision", (), {}), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("torchvision", "laplace"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, _Finder())
