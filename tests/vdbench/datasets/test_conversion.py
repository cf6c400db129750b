"""Data as people have it: every form gives the same data set, copied, and what is no data is refused in a sentence."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from sklearn.utils import Bunch
from torch import Tensor
from torch.utils import data as torch_data

from vdbench import datasets
from vdbench.datasets.conversion import Converted, as_dataset
from vdbench.errors import InputError

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


# -- types and memory -----------------------------------------------------------------------------------------


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


# -- several inputs -------------------------------------------------------------------------------------------

IDS = np.arange(2 * N).reshape(N, 2)
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


# -- images and augmentation ----------------------------------------------------------------------------------


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


def test_a_palette_image_is_refused() -> None:
    image = Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).convert("P")
    with pytest.raises(
        InputError, match=r"example 0: input 0 is an image of palette numbers.*convert\('RGB'\)"
    ):
        as_dataset(Vision([image] * N))


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


# -- refusals -------------------------------------------------------------------------------------------------


class Stream(torch_data.IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return iter(rows())


def with_value(value: float) -> np.ndarray:
    changed = X.copy()
    changed[3, 2] = value
    return changed


text = frame().assign(town=list("abcdefg"))
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "lengths": ((X, Y[:5]), {}, "training: the inputs have 7 rows and the targets 5; expected as many"),
    "lengths of several": (
        ({"x": X, "ids": IDS[:6]}, Y), {}, "the inputs 'ids' have 6 rows and the targets 7"),
    "rows in a list": (
        ([*X], Y), {}, "the inputs 0 have 3 rows and the targets 7; expected as many (a list of arrays is several"),
    "nan in an example": (Rows([(torch.ones(2), 1), (torch.tensor([1, np.nan]), 1)]), {},
        "training inputs have nan at row 1, column 1"),
    "nan in an unnamed series": ((X, pd.Series([1, 2, np.nan] * 2 + [1])), {}, "(NaN) at row 2 (one of 2"),
    "unnamed series of text": ((X, pd.Series(list("abcdefg"))), {}, "targets: it holds "),
    "weighted batches": (
        torch_data.DataLoader(
            Rows(rows()),
            batch_sampler=torch_data.BatchSampler(torch_data.WeightedRandomSampler([1.0] * N, N), 2, False)), {},
        "draws its examples by WeightedRandomSampler with replacement"),
    "nan": ((with_value(np.nan), Y), {}, "training inputs have nan at row 3, column 2 (one of 1 such"),
    "inf": ((with_value(np.inf), Y), {}, "training inputs have inf at row 3, column 2"),
    "nan in torch": ((torch.tensor(with_value(np.nan)), Y), {}, "have nan at row 3, column 2"),
    "nan in an image": (
        (torch.tensor(with_value(np.nan)).reshape(N, 1, 3, 1), Y), {}, "have nan at row 3, place (0, 2, 0)"),
    "nan in targets": ((X, with_value(np.nan)[:, 2]), {}, "training targets have nan at row 3"),
    "nan in a test split": (((X, Y), (with_value(-np.inf), Y)), {}, "test inputs have -inf at row 3, column 2"),
    "nan in a frame": (
        frame().assign(b=with_value(np.nan)[:, 2]), {"target": "y"},
        "training, inputs have a missing value (NaN) at row 3, column 'b'"),
    "inf in a frame": (
        frame().assign(b=with_value(np.inf)[:, 2]), {"target": "y"}, "have inf at row 3, column 'b'"),
    "missing in a nullable column": (
        frame().assign(b=pd.array([1, 2, None, 4, 5, 6, 7], dtype="Int64")), {"target": "y"},
        "a missing value (NaN) at row 2, column 'b'"),
    "missing in the target": (
        frame().assign(y=pd.array([1, 2, None, 4, 5, 6, 7], dtype="Int64")), {"target": "y"},
        "training, targets have a missing value (NaN) at row 2, column 'y'"),
    "text column": (text, {"target": "y"}, "column 'town' holds "),
    "text target": (text[["a", "town"]], {"target": "town"}, "targets: column 'town' holds "),
    "dates": (frame().assign(day=pd.Timestamp("2020-01-01")), {"target": "y"}, "column 'day' holds datetime64"),
    "categories": (frame().assign(k=pd.Categorical(Y)), {"target": "y"}, "column 'k' holds category"),
    "no target column": (frame(), {"target": "z"}, "no column 'z' to be the target"),
    "misspelt target": (frame().rename(columns={"y": "price"}), {"target": "prise"}, "Did you mean 'price'?"),
    "target not named": (frame(), {}, "the columns a, b, c, y, and which of them is the target is not said"),
    "two labels": (
        frame().assign(label=Y, target=Y), {}, "a, b, c, y, label, target, and which of them"),
    "only a target": (frame()[["y"]], {"target": "y"}, "have no column; expected one or more beside"),
    "target of arrays": ((X, Y), {"target": "y"}, "target='y' names a column, and the data are a pair"),
    "another order": (
        (frame()[["a"]], frame()["y"].iloc[::-1]), {}, "the same row labels in another order; expected equal orders"),
    "objects": ((X.astype(object), Y), {}, "training inputs hold objects (dtype object)"),
    "strings": ((X, np.array(list("abcabca"))), {}, "training targets hold text (dtype <U1)"),
    "complex": ((X + 1j, Y), {}, "training inputs hold complex numbers"),
    "complex in torch": ((torch.tensor(X + 1j), Y), {}, "training inputs are complex numbers"),
    "masked": ((np.ma.masked_less(X, 0), Y), {}, "training inputs have masked values"),
    "sparse": ((sparse.csr_matrix(X), Y), {}, "are a sparse matrix; expected a dense array: call toarray()"),
    "sparse in torch": ((torch.tensor(X).to_sparse(), Y), {}, "are a sparse tensor"),
    "huge integers": ((np.full(N, 2**64 - 1, dtype=np.uint64), Y), {}, "integers above 2⁶³ − 1"),
    "empty": ((X[:0], Y[:0]), {}, "training data have no examples; expected at least one"),
    "empty test": (((X, Y), (X[:0], Y[:0])), {}, "test data have no examples"),
    "empty list": (([], []), {}, "training data have no examples"),
    "no examples": (Rows([]), {}, "training have no examples; expected at least one"),
    "one array": (X, {}, "a ndarray is no form of data with targets; expected (X, y) of arrays"),
    "one tensor": (torch.tensor(X), {}, "a Tensor is no form of data with targets"),
    "one table of lists": (X[:2].tolist(), {}, "a list of 2 is no form of data with targets"),
    "three": ((X, X, Y), {}, "a tuple of 3 is no form of data with targets"),
    "None": (None, {}, "a NoneType is no form of data"),
    "number": ((1.0, 2), {}, "a tuple of 2 is no form of data"),
    "scalar targets": ((X, np.array(3)), {}, "training targets are one number"),
    "no array": ((X, {"y": Y}), {}, "training targets are a dict; expected an array of numbers"),
    "iterable": (Stream(), {}, "a Stream has no length and can only be gone through"),
    "loader of an iterable": (torch_data.DataLoader(Stream(), 2), {}, "a Stream has no length"),
    "weighted loader": (
        torch_data.DataLoader(Rows(rows()), 2, sampler=torch_data.WeightedRandomSampler([1.0] * N, N)), {},
        "draws its examples by WeightedRandomSampler with replacement"),
    "no target in an example": (Rows([torch.ones(2)] * 3), {}, "example 0: an example is a Tensor; expected"),
    "tensor data set of one": (
        torch_data.TensorDataset(torch.ones(3, 2)), {}, "an example is a tuple of 1; expected (input, target)"),
    "text example": (Rows([("word", 1)] * 3), {}, "example 0: input 0 is text; expected numbers"),
    "text of columns": (
        Columns(text=["a", "b"], ids=[[1], [2]], label=[0, 1]), {}, "example 0: column 'text' is text"),
    "columns without target": (Columns(x=[1.0], z=[1]), {}, "the columns x, z, and which of them is the target"),
    "only a label": (Columns(label=[1, 2]), {}, "no column beside the target 'label'"),
    "None in an example": (Rows([(None, 1)] * 3), {}, "example 0: input 0 is None"),
    "ragged": (
        Rows([(torch.ones(k), 1) for k in (2, 2, 3)]), {},
        "input 0 has shape (3,) in example 2 and (2,) in example 0; expected one shape: pad or crop"),
    "mixed types": (
        Rows([(torch.ones(2), 1), (torch.ones(2), 1.5), (torch.ones(2), 1)]), {},
        "the target is torch.float32 in example 1 and torch.int64 in example 0"),
    "other shape in test": (((X, Y), (X[:, :2], Y)), {}, "one training example have shape (3,) and of one test"),
    "other type in test": (((X, Y), (IDS[:, [0, 1, 1]], Y)), {},
        "inputs are torch.float32 in training and torch.int64"),
    "other inputs in test": (
        (({"a": X}, Y), ({"b": X}, Y)), {}, "training data have the inputs ['a'] and test data ['b']"),
    "two test splits": (((X, Y), (X, Y)), {"test": (X, Y)}, "test= is given and the data have a test split"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data_is_refused_in_a_sentence(case: str) -> None:
    data, options, said = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        as_dataset(data, name="mine", **options)
    message = str(caught.value)
    assert message.startswith("data 'mine'")
    assert "\n" not in message


def test_a_data_set_made_by_hand_is_checked() -> None:
    good = datasets.Split(torch.ones(3, 2), torch.tensor([0, 1, 0]))
    short = datasets.Split(torch.ones(3, 2), torch.tensor([0, 1]))
    lost = datasets.Split(torch.tensor([[1.0, 2.0], [float("nan"), 1.0]]), torch.tensor([0, 1]))
    empty = datasets.Split(torch.ones(0, 2), torch.ones(0, dtype=torch.int64))
    assert isinstance(as_dataset(datasets.Dataset("d", good, empty, 2)), Converted)
    for split, said in ((short, "have 3 rows and the targets 2"), (lost, "nan at row 1, column 0")):
        for train, test in ((split, good), (good, split)):
            with pytest.raises(InputError, match=said):
                as_dataset(datasets.Dataset("d", train, test, 2))
    with pytest.raises(InputError, match="no examples"):
        as_dataset(datasets.Dataset("d", empty, good, 2))
