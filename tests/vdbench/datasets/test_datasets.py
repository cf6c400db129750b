"""Data sets: shapes, ranges, fixed splits, the IDX format, folders as people have them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pickles import python2_pickle

from vdbench import datasets
from vdbench.datasets import cifar10 as cifar
from vdbench.datasets import files as sources
from vdbench.datasets import mirrors
from vdbench.datasets import sources as source_list
from vdbench.datasets.bundled import BREAST_CANCER_TRAIN, DIGITS_TRAIN, fixed_split, standardised
from vdbench.datasets.readers import parse_idx
from vdbench.errors import InputError

SPLIT_SHA256 = {
    (1797, DIGITS_TRAIN): "51cdb44fd71dc72995a68079eb8652530d18451c098849e8b485a613045ff895",
    (569, BREAST_CANCER_TRAIN): "6d3bd956202d2906265ad68dfc4fcf224b6bd4049bae0fca1b18f0a0bc3bdd11",
}
# of the bytes of training inputs, training targets, test inputs and test targets, one after the other
CONTENT_SHA256 = {
    "digits": "1263be1168d6c04f3e8e17d61c9f706bc659718763e2ef588fc056cbfb157848",
    "breast-cancer": "5233da95d15ed56e538d0c2cd9e5b7ca562f761e2d3e8aa9d07c96512fb4442c",
}


def idx(values: np.ndarray) -> bytes:
    """An IDX file, written by the book."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has a cache of its own, and no route to any network."""
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VDBENCH_DATA", raising=False)
    monkeypatch.setattr(mirrors, "probe", lambda urls: dict.fromkeys(urls, "no connection"))
    monkeypatch.setenv("PATH", "")
    datasets.load.cache_clear()
    yield
    datasets.load.cache_clear()


@pytest.fixture(params=["mnist", "fashion-mnist"])
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """A tiny MNIST or one like it, in tmp/data, one file of it packed; VDBENCH_DATA not yet set."""
    random = np.random.default_rng(1)
    arrays = [
        random.integers(0, 256, (5, 28, 28)),
        random.integers(0, 10, 5),
        random.integers(0, 256, (3, 28, 28)),
        random.integers(0, 10, 3),
    ]
    arrays[0][0, 0, 0] = 255
    return shrink(request.param, [idx(array) for array in arrays], arrays, tmp_path, monkeypatch)


@pytest.fixture
def tiny_cifar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """A tiny CIFAR-10, two images a batch, in the binary version."""
    arrays = [np.random.default_rng(n).integers(0, 256, (2, cifar.RECORD)) for n in range(6)]
    for array in arrays:
        array[:, 0] %= 10
    arrays[0][0, 1] = 255
    contents = [array.astype(np.uint8).tobytes() for array in arrays]
    return shrink("cifar10", contents, arrays, tmp_path, monkeypatch)


class Tiny(NamedTuple):
    """A data set whose files were replaced by small ones."""

    name: str
    source: sources.Source
    data: Path
    arrays: list[np.ndarray]


def shrink(
    name: str,
    contents: list[bytes],
    arrays: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Tiny:
    """Give a data set other files, and put them where torchvision has them; the first is packed."""
    entry = datasets.DATASETS[name]
    assert entry.source is not None
    folder = tmp_path / "data" / entry.source.folder
    folder.mkdir(parents=True)
    files = []
    for number, (file, data) in enumerate(zip(entry.source.files, contents, strict=True)):
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        files.append(dataclasses.replace(file, size=len(data), md5=md5))
        if number:
            (folder / file.name).write_bytes(data)
        else:
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(data))
    source = dataclasses.replace(entry.source, files=tuple(files))
    monkeypatch.setitem(datasets.DATASETS, name, dataclasses.replace(entry, source=source))
    return Tiny(name, source, tmp_path / "data", arrays)


def test_digits_has_the_documented_shapes_and_range() -> None:
    """1,437 and 360 examples of 64 features in [0, 1], which reach both ends, and ten classes."""
    digits = datasets.load("digits")
    assert (digits.name, digits.classes) == ("digits", 10)
    for split, n in ((digits.train, 1437), (digits.test, 360)):
        assert split.inputs.shape == (n, 64)
        assert split.inputs.dtype == torch.float32
        assert (split.inputs.min(), split.inputs.max()) == (0.0, 1.0)
        assert split.targets.shape == (n,)
        assert split.targets.dtype == torch.int64
        assert split.targets.unique().tolist() == list(range(10))
    assert torch.equal(digits.train.inputs * 16, (digits.train.inputs * 16).round())


@pytest.mark.parametrize(("examples", "train"), SPLIT_SHA256)
def test_a_split_is_a_partition_and_never_changes(examples: int, train: int) -> None:
    """Every example is in one part; the order is pinned, for figures depend on it."""
    first, second = fixed_split(examples, train)
    assert len(first) == train
    assert sorted([*first, *second]) == list(range(examples))
    order = np.concatenate([first, second]).astype("<i8").tobytes()
    assert hashlib.sha256(order).hexdigest() == SPLIT_SHA256[examples, train]


@pytest.mark.parametrize("name", CONTENT_SHA256)
def test_what_is_embedded_never_changes(name: str) -> None:
    """Every bit of it is pinned, for fingerprints of problems depend on it."""
    data = datasets.load(name)
    state = hashlib.sha256()
    for tensor in (*data.train, *data.test):
        state.update(tensor.numpy().data)
    assert state.hexdigest() == CONTENT_SHA256[name]


def test_breast_cancer_is_standardised_by_its_training_part() -> None:
    """Scikit-learn's measurements at the split's indices; nothing of the test part enters the scale."""
    from sklearn.datasets import load_breast_cancer

    measured, classes = load_breast_cancer(return_X_y=True)
    train, test = fixed_split(len(measured), BREAST_CANCER_TRAIN)
    data = datasets.load("breast-cancer")
    assert (data.classes, data.train.inputs.shape, data.test.inputs.shape) == (
        2,
        (455, 30),
        (114, 30),
    )
    assert data.train.inputs.dtype == torch.float32
    shift, scale = measured[train].mean(0), measured[train].std(0)
    for split, rows in ((data.train, train), (data.test, test)):
        expected = (measured[rows] - shift) / scale
        # float32's rounding of numbers up to 12, and of the sums
        np.testing.assert_allclose(split.inputs.numpy(), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(split.targets.numpy(), classes[rows])
        assert split.targets.dtype == torch.int64
    assert data.train.targets.bincount().tolist() == [165, 290]


def test_standardised_does_not_depend_on_the_order_of_rows() -> None:
    """To the last bit: sums are exactly rounded."""
    random = np.random.default_rng(1)
    values, rows = random.normal(1e6, 1.0, (100, 3)), np.arange(0, 100, 2)
    expected = standardised(values, rows)
    for _ in range(5):
        np.testing.assert_array_equal(standardised(values, random.permutation(rows)), expected)


def test_digits_agrees_with_scikit_learn() -> None:
    """The examples are scikit-learn's, at the split's indices."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    _, test = fixed_split(1797, DIGITS_TRAIN)
    digits = datasets.load("digits")
    np.testing.assert_array_equal(digits.test.inputs.numpy(), pixels[test] / 16)
    np.testing.assert_array_equal(digits.test.targets.numpy(), classes[test])


def test_load_is_cached() -> None:
    """The same object comes back."""
    assert datasets.load("digits") is datasets.load("digits")


@pytest.mark.parametrize("verb", [datasets.load, datasets.info, datasets.fetch])
def test_an_unknown_name_gets_the_nearest(verb: object) -> None:
    """A mistyped name is refused by every verb, with the way back."""
    with pytest.raises(InputError, match=r"no data set 'mnits'\. Did you mean 'mnist'\?"):
        verb("mnits")  # type: ignore[operator]


def test_info_tells_what_is_local() -> None:
    """Digits always is; MNIST is not in an empty cache, and its path is where it would go."""
    assert datasets.names() == ["breast-cancer", "cifar10", "digits", "fashion-mnist", "mnist"]
    digits, mnist = datasets.info("digits"), datasets.info("mnist")
    assert (digits.local, digits.path, digits.examples) == (True, None, 1797)
    assert (mnist.local, mnist.examples, mnist.features) == (False, 70_000, 784)
    assert mnist.path == str(sources.target(source_list.MNIST))
    json.dumps(dataclasses.asdict(mnist))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_sizes_are_as_described(name: str) -> None:
    """What the files hold, by their sizes, is what the list says before they are there."""
    info, source = datasets.info(name), datasets.DATASETS[name].source
    assert source is not None
    pixels = sum(file.size for file in source.files)
    headers = 2 * (16 + 8) if "mnist" in name else 0
    assert pixels - headers == info.examples * (info.features + 1)


@pytest.mark.parametrize("variable", ["VDBENCH_DATA", "VDBENCH_CACHE"])
def test_a_torchvision_folder_is_used_as_it_is(
    variable: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain and packed files, below VDBENCH_DATA or in the cache: pixels / 255, flattened."""
    folder = tiny.data
    if variable == "VDBENCH_CACHE":
        folder = tiny.data.parent / "cache"
        folder.mkdir()
        tiny.data.rename(folder / "datasets")
    monkeypatch.setenv(variable, str(folder))
    before = sorted(folder.rglob("*"))
    data = datasets.load(tiny.name)
    assert datasets.info(tiny.name).local
    for split, (images, classes) in ((data.train, tiny.arrays[:2]), (data.test, tiny.arrays[2:])):
        expected = images.reshape(len(images), 784) / 255
        np.testing.assert_allclose(split.inputs.numpy(), expected, rtol=1e-7)
        np.testing.assert_array_equal(split.targets.numpy(), classes)
    assert data.train.inputs.max() == 1.0
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("form", ["binary", "pickles"])
def test_a_folder_of_cifar_is_used_as_it_is(
    form: str, tiny_cifar: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher's binary version, or torchvision's pickles: pixels / 255, colours first."""
    if form == "pickles":
        folder = tiny_cifar.data / "cifar-10-batches-py"
        (tiny_cifar.data / "cifar-10-batches-bin").rename(tiny_cifar.data / "away")
        folder.mkdir()
        for file, array in zip(tiny_cifar.source.files, tiny_cifar.arrays, strict=True):
            batch = python2_pickle(array[:, 1:].astype(np.uint8), array[:, 0].tolist())
            (folder / file.name.removesuffix(".bin")).write_bytes(batch)
    monkeypatch.setenv("VDBENCH_DATA", str(tiny_cifar.data))
    cifar10 = datasets.load("cifar10")
    assert (cifar10.train.inputs.shape, cifar10.train.inputs.dtype) == (
        (10, 3, 32, 32),
        torch.float32,
    )
    assert (cifar10.test.targets.shape, cifar10.test.targets.dtype) == ((2,), torch.int64)
    records = np.concatenate(tiny_cifar.arrays)
    inputs = torch.cat([cifar10.train.inputs, cifar10.test.inputs]).numpy()
    np.testing.assert_allclose(inputs.reshape(12, -1), records[:, 1:] / 255, rtol=1e-7)
    # example 3, green, row 5, column 7: one byte of class and 1,024 of red come before
    assert inputs[3, 1, 5, 7] * 255 == pytest.approx(records[3, 1 + 1024 + 5 * 32 + 7])
    targets = torch.cat([cifar10.train.targets, cifar10.test.targets])
    np.testing.assert_array_equal(targets.numpy(), records[:, 0])


def test_a_pickle_that_is_another_is_named(
    tiny_cifar: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are checked after reading, like those of every form."""
    folder = tiny_cifar.data / "cifar-10-batches-py"
    folder.mkdir()
    (tiny_cifar.data / "cifar-10-batches-bin").rename(tiny_cifar.data / "away")
    batch = python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2])
    for file in tiny_cifar.source.files:
        (folder / file.name.removesuffix(".bin")).write_bytes(batch)
    monkeypatch.setenv("VDBENCH_DATA", str(tiny_cifar.data))
    with pytest.raises(
        InputError, match=r"cifar-10-batches-py/data_batch_1 is damaged or another file"
    ):
        datasets.load("cifar10")


def test_vdbench_data_comes_before_the_cache(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both have the files, the folder that the user named is read."""
    goal = sources.target(tiny.source)
    goal.mkdir(parents=True)
    for file in tiny.source.files:
        (goal / file.name).write_bytes(b"")
    monkeypatch.setenv("VDBENCH_DATA", str(tiny.data))
    place = sources.locate(tiny.source)
    assert place is not None
    assert place.folder == tiny.data / tiny.source.folder


def test_vdbench_data_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped folder must not silently mean a download."""
    monkeypatch.setenv("VDBENCH_DATA", "nowhere")
    with pytest.raises(InputError, match="VDBENCH_DATA is 'nowhere', which is not a folder"):
        datasets.load("mnist")


@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"])
def test_a_damaged_file_is_named(
    damage: str, name: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not what it should be is never turned into a data set."""
    path = tiny.data / tiny.source.folder / name
    data = path.read_bytes()
    path.write_bytes(data[:-9] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    monkeypatch.setenv("VDBENCH_DATA", str(tiny.data))
    if name.endswith(".gz") and damage == "changed":
        # the last byte of a gzip file is the length's: only the unpacking can notice
        path.write_bytes(gzip.compress(b"other"))
    with pytest.raises(InputError, match=f"{name} is damaged or another file"):
        datasets.load(tiny.name)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_idx_round_trip(shape: list[int], seed: int) -> None:
    """Any shape, empty axes among them, is read back as it was written."""
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(parse_idx(idx(values), "it"), values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x08", "begins with 00 00 08, expected 00 00 08 and the number of axes"),
        (b"\x1f\x8b\x08\x00rest", "not an IDX file of unsigned bytes: it begins with 1f 8b 08 00"),
        (b"\0\0\x0d\x01\0\0\0\0", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\x00", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends within its header of 16 bytes, after 8"),
        (idx(np.zeros((2, 3)))[:-1], r"has 5 values, expected 6 \(2 x 3\)"),
        (idx(np.zeros((2, 3))) + b"\0", r"has 7 values, expected 6 \(2 x 3\)"),
    ],
)
def test_a_bad_idx_file_gets_one_clear_sentence(data: bytes, message: str) -> None:
    """Bad magic, a cut header, too few values, too many."""
    with pytest.raises(InputError, match=f"^labels.bin .*{message}"):
        parse_idx(data, "labels.bin")
