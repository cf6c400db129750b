"""Data in the forms that people have them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils import data as torch_data

N = 7

X = np.random.default_rng(0).normal(size=(N, 3))

Y = np.array([0, 2, 1, 1, 0, 2, 2])


class Rows(torch_data.Dataset):
    """A map-style data set of a list of examples."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.rows[i]


class Columns:
    """The interface of a Hugging Face data set, as far as it is used."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {name: values[i] for name, values in self.columns.items()}

    def with_format(self, kind: str | None) -> Columns:
        return self


class Vision:
    """The interface of a torchvision data set: no class of torch's, (PIL image, int) an example."""

    def __init__(self, images: list[Any], transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.transform = images, transform or (lambda x: x)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.transform(self.images[i]), int(Y[i])


def frame() -> pd.DataFrame:
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=Y)


def rows() -> list[Any]:
    return [(torch.tensor(x, dtype=torch.float32), int(y)) for x, y in zip(X, Y, strict=True)]


IDS = np.arange(2 * N).reshape(N, 2)
