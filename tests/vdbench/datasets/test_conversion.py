"""Data as people have it: every form gives the same data set, copied."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data_forms import IDS, Columns, N, Rows, Vision, X, Y, frame, rows
from PIL import Image
from sklearn.utils import Bunch
from torch import Tensor
from torch.utils import data as torch_data

from vdbench import datasets
from vdbench.datasets.conversion import as_dataset
from vdbench.errors import InputError


class Foreign:
    """An array of a library that numpy can read, such as h5py's."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> Any:
        return self.array[i]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.array, dtype)


FORMS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "numpy": lambda: ((X, Y), {}),
    "float32 and int32": lambda: ((X.astype(np.float32), Y.astype(np.int32)), {}),
    "fortran order": lambda: ((np.asfortranarray(X), Y[::-1][::-1]), {}),
    "big-endian": lambda: ((X.astype(">f8"), Y.astype(">i4")), {}),
    "list of two": lambda: ([X, Y], {}),
    "torch": lambda: ((torch.tensor(X, dtype=torch.float32), torch.tensor(Y)), {}),
    "torch and numpy": lambda: ((torch.tensor(X, dtype=torch.float32, requires_grad=True), Y), {}),
    "lists": lambda: ((X.tolist(), Y.tolist()), {}),
    "lists in a list": lambda: ([X.tolist(), Y.tolist()], {}),
    "split": lambda: (datasets.Split(torch.tensor(X).float(), torch.tensor(Y)), {}),
    "frame": lambda: (frame(), {"target": "y"}),
    "frame, column named": lambda: (frame().rename(columns={"y": "label"}), {}),
    "frame, nullable": lambda: (frame().convert_dtypes(), {"target": "y"}),
    "frame and series": lambda: ((frame()[["a", "b", "c"]], frame()["y"]), {}),
    "frame and array": lambda: ((frame()[["a", "b", "c"]], Y), {}),
    "tensor data set": lambda: (
        torch_data.TensorDataset(torch.tensor(X).float(), torch.tensor(Y)), {}),
    "map style": lambda: (Rows(rows()), {}),
    "map style of numpy": lambda: (Rows(list(zip(X, Y, strict=True))), {}),
    "map style of lists": lambda: (Rows([[x.tolist(), y] for x, y in zip(X, Y, strict=True)]), {}),
    "list of examples": lambda: (rows(), {}),
    "subset": lambda: (torch_data.Subset(Rows([*rows(), "no example"]), range(N)), {}),
    "loader": lambda: (
        torch_data.DataLoader(Rows(rows()), batch_size=2, shuffle=True, drop_last=True), {}),
    "loader without batches": lambda: (torch_data.DataLoader(Rows(rows()), batch_size=None), {}),
    "loader that collates": lambda: (
        torch_data.DataLoader(
            Rows(list(zip(X, Y, strict=True))), 3,
            collate_fn=lambda rows: (torch.tensor(np.array([x for x, _ in rows])).float(),
                                     torch.tensor([y for _, y in rows]))), {}),
    "loader of a subset": lambda: (
        torch_data.DataLoader(
            Rows([*rows(), "no example"]), 2, sampler=torch_data.SubsetRandomSampler([*range(N)][::-1])), {}),
    "loader with a sampler of batches": lambda: (
        torch_data.DataLoader(
            Rows(rows()), batch_sampler=torch_data.BatchSampler(torch_data.RandomSampler(range(N)), 2, False)), {}),
    "loader that collates by a partial": lambda: (
        torch_data.DataLoader(Rows(rows()), 3, collate_fn=functools.partial(torch_data.default_collate)), {}),
    "bunch": lambda: (Bunch(data=X, target=Y, frame=None, DESCR="text"), {}),
    "array of another library": lambda: ((Foreign(X), Foreign(Y)), {}),
    "columns": lambda: (Columns(features=X.tolist(), label=Y.tolist()), {}),
    "columns, target named": lambda: (Columns(features=X.tolist(), grade=Y.tolist()), {"target": "grade"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_data_set(form: str) -> None:
    data, options = FORMS[form]()
    found = as_dataset(data, **options)
    assert found.tables is None
    train, test = found.dataset.train, found.dataset.test
    assert torch.equal(train.inputs, torch.tensor(X, dtype=torch.float32))
    assert torch.equal(train.targets, torch.tensor(Y))
    assert (train.inputs.dtype, train.targets.dtype) == (torch.float32, torch.int64)
    assert (found.dataset.classes, found.dataset.name) == (3, "data")
    assert (test.inputs.shape, test.targets.shape) == ((0, 3), (0,))
    assert not found.dataset.has_test
    assert found.said == ("the data set has no test split: no figure of a test set is computed.",)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given", ["pair", "apart", "dict"])
def test_every_form_has_a_test_split_too(form: str, given: str) -> None:
    data, options = FORMS[form]()
    if given == "apart":
        found = as_dataset(data, test=data, **options)
    elif given == "dict":
        found = as_dataset({"train": data, "test": data}, **options)
    else:
        found = as_dataset((data, data), **options)
    train, test = found.dataset.train, found.dataset.test
    assert torch.equal(train.inputs, torch.tensor(X, dtype=torch.float32))
    assert torch.equal(test.inputs, train.inputs)
    assert torch.equal(test.targets, train.targets)
    assert found.dataset.has_test
    assert not found.said


def test_random_split_is_a_pair_of_splits() -> None:
    first, second = torch_data.random_split(Rows(rows()), [5, 2], torch.Generator().manual_seed(0))
    for pair in ((first, second), [first, second]):
        found = as_dataset(pair).dataset
        assert (len(found.train.inputs), len(found.test.inputs)) == (5, 2)


def test_a_vdbench_data_set_and_its_name_are_themselves() -> None:
    digits = datasets.load("digits")
    assert as_dataset(digits).dataset is digits
    assert as_dataset("digits").dataset is digits
    made = as_dataset((X, Y))
    assert as_dataset(made) is made
    with pytest.raises(InputError, match=r"There is no data set 'digit'\. Did you mean 'digits'"):
        as_dataset("digit")
    with pytest.raises(InputError, match="a vdbench Dataset has its own test"):
        as_dataset(digits, test=(X, Y))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.arange(N, dtype=np.int16), torch.int64),
        (np.arange(N, dtype=np.uint32), torch.int64),
        (np.arange(N, dtype=np.uint8), torch.uint8),
        (np.arange(N) > 2, torch.bool),
        (np.arange(N, dtype=np.float64), torch.float32),
        (np.arange(N, dtype=np.float16), torch.float32),
        (torch.arange(N, dtype=torch.int32), torch.int32),
        (torch.arange(N, dtype=torch.float64), torch.float64),
        (torch.arange(N) > 2, torch.bool),
        (list(range(N)), torch.int64),
        (pd.Series(range(N)), torch.int64),
    ],
    ids=lambda x: str(getattr(x, "dtype", type(x).__name__)),
)
def test_types_of_inputs(given: Any, wanted: torch.dtype) -> None:
    assert as_dataset((given, Y)).dataset.train.inputs.dtype == wanted


def test_types_of_targets() -> None:
    for y in (Y > 0, torch.tensor(Y > 0), torch.tensor(Y).to(torch.uint8), Y.astype(np.int8)):
        assert as_dataset((X, y)).dataset.train.targets.dtype == torch.int64
    assert as_dataset((X, Y.astype(float))).dataset.train.targets.dtype == torch.float32
    assert as_dataset((X, Y.astype(float))).dataset.classes == 0
    assert as_dataset((X, np.where(Y == 0, -100, Y))).dataset.classes == 0


def test_floats_of_others_follow_torch_s_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(as_dataset((X, Y)).dataset.train.inputs, torch.tensor(X))
    finally:
        torch.set_default_dtype(torch.float32)


def test_frames_of_integers_stay_integers_and_others_are_floats() -> None:
    whole = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True], "y": [0, 1, 1]})
    assert as_dataset(whole, target="y").dataset.train.inputs.tolist() == [[1, 1], [2, 0], [3, 1]]
    assert as_dataset(whole, target="y").dataset.train.inputs.dtype == torch.int64
    mixed = whole.assign(c=[0.5, 1.5, 2.5])
    assert as_dataset(mixed, target="y").dataset.train.inputs.dtype == torch.float32


@pytest.mark.parametrize("kind", ["numpy", "torch", "frame", "tensor data set", "several"])
def test_no_memory_is_shared_and_nothing_is_written(kind: str) -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    y = np.array([0, 1, 0, 1])
    tx, ty = torch.tensor(x), torch.tensor(y)
    table = pd.DataFrame(x, columns=list("abc")).assign(y=y)
    data, writers = {
        "numpy": ((x, y), [x, y]),
        "torch": ((tx, ty), [tx, ty]),
        "frame": (table, [table.iloc]),
        "tensor data set": (torch_data.TensorDataset(tx, ty), [tx, ty]),
        "several": (((tx, x), ty), [tx, x, ty]),
    }[kind]
    before = (x.copy(), y.copy(), table.copy())
    found = as_dataset(data, target="y" if kind == "frame" else None)
    held = [*found.dataset.train, *(found.tables or ())]
    copies = [t.clone() for t in held]
    assert all(np.array_equal(a, b) for a, b in zip((x, y, table), before, strict=True))
    for writer in writers:
        writer[:] = 7
    assert all(torch.equal(a, b) for a, b in zip(held, copies, strict=True))
    for tensor in held:
        tensor.zero_()
    assert x.max() in (7, 11)
    assert float(tx.max()) in (7, 11)
    assert table.to_numpy().max() in (7, 11)


SEVERAL: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "tuple": lambda: (((X, IDS), Y), {}),
    "list": lambda: (([X, torch.tensor(IDS)], Y), {}),
    "tensor data set": lambda: (
        torch_data.TensorDataset(torch.tensor(X).float(), torch.tensor(IDS), torch.tensor(Y)), {}),
    "three": lambda: (Rows(list(zip(X, IDS, Y, strict=True))), {}),
    "nested": lambda: (Rows([((x, i), y) for x, i, y in zip(X, IDS, Y, strict=True)]), {}),
    "dict": lambda: (({"x": X, "ids": IDS}, Y), {}),
    "dict of examples": lambda: (Rows([({"x": x, "ids": i}, y) for x, i, y in zip(X, IDS, Y, strict=True)]), {}),
    "columns": lambda: (Columns(x=X.tolist(), ids=IDS.tolist(), labels=Y.tolist()), {}),
    "loader of dicts": lambda: (
        torch_data.DataLoader(
            Columns(x=X.tolist(), ids=IDS.tolist(), labels=Y.tolist()), 2,
            collate_fn=lambda rows: {k: torch.tensor([r[k] for r in rows]) for k in rows[0]}), {}),
    "one dict": lambda: ({"x": X, "ids": IDS, "grade": Y}, {"target": "grade"}),
}  # fmt: skip


@pytest.mark.parametrize("form", SEVERAL)
@pytest.mark.parametrize("tested", [False, True])
def test_several_inputs_are_rows_of_tables(form: str, tested: bool) -> None:
    data, options = SEVERAL[form]()
    found = as_dataset(data, test=data if tested else None, **options)
    by_name = form in ("dict", "dict of examples", "columns", "loader of dicts", "one dict")
    assert isinstance(found.tables, dict if by_name else tuple)
    tables = found.tables
    x, ids = (tables["x"], tables["ids"]) if isinstance(tables, dict) else tables
    twice = 2 if tested else 1
    assert torch.equal(x, torch.tensor(X, dtype=torch.float32).repeat(twice, 1))
    assert torch.equal(ids, torch.tensor(IDS).repeat(twice, 1))
    assert (x.dtype, ids.dtype) == (torch.float32, torch.int64)
    train, test = found.dataset.train, found.dataset.test
    assert train.inputs.tolist() == list(range(N))
    assert test.inputs.tolist() == list(range(N, 2 * N) if tested else [])
    assert (train.inputs.dtype, test.inputs.dtype) == (torch.int64, torch.int64)
    assert torch.equal(train.targets, torch.tensor(Y))


def test_tuples_of_arrays_are_told_apart() -> None:
    """((a, b), (c, d)) are two splits, ((a, b), y) are two inputs, each with a test split of its own or none."""
    a, b = as_dataset(((X, Y), (X[:3], Y[:3]))), as_dataset(((X, IDS), Y))
    assert (a.tables, len(a.dataset.test.inputs)) == (None, 3)
    assert (len(b.tables or ()), len(b.dataset.test.inputs)) == (2, 0)
    c = as_dataset((((X, IDS), Y), ((X[:3], IDS[:3]), Y[:3])))
    assert (len(c.tables or ()), len(c.dataset.test.inputs)) == (2, 3)
    one = as_dataset(((X,), Y))
    assert one.tables is None
    assert one.dataset.train.inputs.shape == (N, 3)


def test_images_become_what_to_tensor_makes_of_them() -> None:
    rng = np.random.default_rng(1)
    colour = [rng.integers(0, 256, (4, 5, 3), dtype=np.uint8) for _ in range(N)]
    wanted = torch.tensor(np.stack(colour)).permute(0, 3, 1, 2).float() / 255
    for images in ([Image.fromarray(c) for c in colour], colour):
        found = as_dataset(Vision(images)).dataset.train.inputs
        assert torch.equal(found, wanted)
        assert found.is_contiguous()
    grey = [c[:, :, 0].copy() for c in colour]
    for images in ([Image.fromarray(g) for g in grey], grey):
        assert torch.equal(as_dataset(Vision(images)).dataset.train.inputs, wanted[:, :1])
    tensors = Vision(colour, lambda image: torch.tensor(image).permute(2, 0, 1))
    assert as_dataset(tensors).dataset.train.inputs.dtype == torch.uint8
    one = Columns(image=[Image.fromarray(c) for c in colour], label=Y.tolist())
    assert torch.equal(as_dataset(one).dataset.train.inputs, wanted)


def test_an_image_as_target_is_a_map_of_classes() -> None:
    masks = [Image.fromarray(np.full((4, 5), y, dtype=np.uint8)) for y in Y]
    found = as_dataset(Rows([(x, m) for x, m in zip(X, masks, strict=True)])).dataset.train.targets
    assert (found.shape, found.dtype, found[1, 0, 0].item()) == ((N, 4, 5), torch.int64, 2)


def test_augmentation_is_applied_once_and_moves_no_global_generator() -> None:
    def noisy(image: Any) -> Tensor:
        return torch.rand(2) + float(np.random.rand()) + random.random()

    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = as_dataset(Vision(list(range(N)), noisy)).dataset.train.inputs
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    torch.manual_seed(4)
    assert torch.equal(as_dataset(Vision(list(range(N)), noisy)).dataset.train.inputs, first)
    assert len(first.unique()) == 2 * N
