"""Data sets: shapes, ranges, fixed splits, the IDX format, folders as torchvision has them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vdbench import datasets, fetch, sources
from vdbench.errors import InputError

SPLIT_SHA256 = "51cdb44fd71dc72995a68079eb8652530d18451c098849e8b485a613045ff895"


def idx(values: np.ndarray) -> bytes:
    """An IDX file, written by the book."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test has a cache of its own, and no route to any network."""
    monkeypatch.setenv("VDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VDBENCH_DATA", raising=False)
    monkeypatch.setattr(fetch, "_probe", lambda urls: dict.fromkeys(urls, "no connection"))
    monkeypatch.setenv("PATH", "")
    datasets.load.cache_clear()
    yield
    datasets.load.cache_clear()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A tiny MNIST, in tmp/data/MNIST/raw, one file of it packed; VDBENCH_DATA not yet set."""
    random = np.random.default_rng(1)
    arrays = [
        random.integers(0, 256, (5, 28, 28)),
        random.integers(0, 10, 5),
        random.integers(0, 256, (3, 28, 28)),
        random.integers(0, 10, 3),
    ]
    arrays[0][0, 0, 0] = 255
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files, by_name = [], {}
    for file, array in zip(sources.MNIST.files, arrays, strict=True):
        data = idx(array)
        by_name[file.name] = array
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        files.append(dataclasses.replace(file, size=len(data), md5=md5))
        if file.name == "train-images-idx3-ubyte":
            (raw / f"{file.name}.gz").write_bytes(gzip.compress(data))
        else:
            (raw / file.name).write_bytes(data)
    source = dataclasses.replace(sources.MNIST, files=tuple(files))
    monkeypatch.setattr(sources, "MNIST", source)
    entry = dataclasses.replace(datasets._ENTRIES["mnist"], source=source)
    monkeypatch.setitem(datasets._ENTRIES, "mnist", entry)
    return tmp_path / "data", by_name


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


def test_digits_split_is_a_partition_and_never_changes() -> None:
    """Every example is in one part; the order is pinned, for figures depend on it."""
    train, test = datasets.digits_split(1797)
    assert sorted([*train, *test]) == list(range(1797))
    order = np.concatenate([train, test]).astype("<i8").tobytes()
    assert hashlib.sha256(order).hexdigest() == SPLIT_SHA256


def test_digits_agrees_with_scikit_learn() -> None:
    """The examples are scikit-learn's, at the split's indices."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    _, test = datasets.digits_split(1797)
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
    assert datasets.names() == ["digits", "mnist"]
    digits, mnist = datasets.info("digits"), datasets.info("mnist")
    assert (digits.local, digits.path, digits.examples) == (True, None, 1797)
    assert (mnist.local, mnist.examples, mnist.features) == (False, 70_000, 784)
    assert mnist.path == str(sources.target(sources.MNIST))
    json.dumps(dataclasses.asdict(mnist))


@pytest.mark.parametrize("variable", ["VDBENCH_DATA", "VDBENCH_CACHE"])
def test_a_torchvision_folder_is_used_as_it_is(
    variable: str, tiny: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain and packed files, below VDBENCH_DATA or in the cache: pixels / 255, flattened."""
    folder, arrays = tiny
    if variable == "VDBENCH_CACHE":
        (folder / "cache").mkdir()
        folder.joinpath("MNIST").rename(folder / "cache-data")
        (folder / "cache" / "datasets").mkdir()
        (folder / "cache-data").rename(folder / "cache" / "datasets" / "MNIST")
        folder = folder / "cache"
    monkeypatch.setenv(variable, str(folder))
    before = sorted(folder.rglob("*"))
    mnist = datasets.load("mnist")
    assert datasets.info("mnist").local
    for split, name in ((mnist.train, "train"), (mnist.test, "t10k")):
        images = arrays[f"{name}-images-idx3-ubyte"]
        expected = images.reshape(len(images), 784) / 255
        np.testing.assert_allclose(split.inputs.numpy(), expected, rtol=1e-7)
        np.testing.assert_array_equal(split.targets.numpy(), arrays[f"{name}-labels-idx1-ubyte"])
    assert mnist.train.inputs.max() == 1.0
    assert sorted(folder.rglob("*")) == before


def test_vdbench_data_comes_before_the_cache(
    tiny: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both have the files, the folder that the user named is read."""
    folder, _ = tiny
    goal = sources.target(sources.MNIST)
    goal.mkdir(parents=True)
    for file in sources.MNIST.files:
        (goal / file.name).write_bytes(b"")
    monkeypatch.setenv("VDBENCH_DATA", str(folder))
    assert sources.locate(sources.MNIST) == folder / "MNIST" / "raw"


def test_vdbench_data_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped folder must not silently mean a download."""
    monkeypatch.setenv("VDBENCH_DATA", "nowhere")
    with pytest.raises(InputError, match="VDBENCH_DATA is 'nowhere', which is not a folder"):
        datasets.load("mnist")


@pytest.mark.parametrize("damage", ["cut", "changed"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"])
def test_a_damaged_file_is_named(
    damage: str,
    name: str,
    tiny: tuple[Path, dict[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is not what it should be is never turned into a data set."""
    folder, _ = tiny
    path = folder / "MNIST" / "raw" / name
    data = path.read_bytes()
    path.write_bytes(data[:-9] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    monkeypatch.setenv("VDBENCH_DATA", str(folder))
    if name.endswith(".gz") and damage == "changed":
        # the last byte of a gzip file is the length's: only the unpacking can notice
        path.write_bytes(gzip.compress(b"other"))
    with pytest.raises(InputError, match=f"{name} is damaged or another file"):
        datasets.load("mnist")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_idx_round_trip(shape: list[int], seed: int) -> None:
    """Any shape, empty axes among them, is read back as it was written."""
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(datasets.parse_idx(idx(values), "it"), values)


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
        datasets.parse_idx(data, "labels.bin")
