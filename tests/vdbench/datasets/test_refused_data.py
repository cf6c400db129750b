"""What is no data is refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data_forms import IDS, Columns, N, Rows, Vision, X, Y, frame, rows
from PIL import Image
from scipy import sparse
from torch.utils import data as torch_data

from vdbench import datasets
from vdbench.datasets.conversion import Converted, as_dataset
from vdbench.errors import InputError


def test_a_palette_image_is_refused() -> None:
    image = Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).convert("P")
    with pytest.raises(
        InputError, match=r"example 0: input 0 is an image of palette numbers.*convert\('RGB'\)"
    ):
        as_dataset(Vision([image] * N))


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
