"""The forms of CIFAR-10's files: each gives the same bytes, and none runs code or passes when it is damaged."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from pickles import python2_pickle
from PIL import Image

from vdbench.datasets import cifar10
from vdbench.datasets.files import RouteError
from vdbench.errors import InputError

PER_BATCH = 3
BATCHES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


def examples(seed: int) -> tuple[np.ndarray, list[int]]:
    """Images, (n, 3, 32, 32), and classes."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (PER_BATCH, 3, 32, 32), dtype=np.uint8)
    return pixels, random.integers(0, 10, PER_BATCH).tolist()


def binary(pixels: np.ndarray, classes: list[int]) -> bytes:
    """The binary version, written by the book: a record is the class, then red, green and blue row by row."""
    out = bytearray()
    for image, label in zip(pixels, classes, strict=True):
        out.append(label)
        for colour in image:
            for row in colour:
                out += bytes(row.tolist())
    return bytes(out)


def test_a_batch_is_read_back() -> None:
    pixels, classes = examples(1)
    found, labels = cifar10.parse_batch(binary(pixels, classes), "it")
    np.testing.assert_array_equal(found, pixels)
    assert labels.tolist() == classes
    assert [len(part) for part in cifar10.parse_batch(b"", "it")] == [0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(cifar10.RECORD + 1), "it has 3074 bytes, expected a multiple of 3073"),
        (bytes([10]) + bytes(3072), "it has the class 10, expected 0 to 9"),
    ],
)
def test_a_bad_batch_gets_one_clear_sentence(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cifar10.parse_batch(data, "it")


# --- pickles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fortran", [False, True])
def test_a_pickle_gives_the_same_bytes(fortran: bool) -> None:
    """In either order of memory that numpy pickles; numpy itself reads it as the same, too."""
    pixels, classes = examples(2)
    rows = pixels.reshape(PER_BATCH, -1)
    data = python2_pickle(rows, classes, fortran=fortran)
    assert cifar10.from_pickle(data) == binary(pixels, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy.core is an old name
        own = pickle.loads(data, encoding="bytes")
    np.testing.assert_array_equal(own[b"data"], rows)
    assert own[b"labels"] == classes


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_cannot_run_code(protocol: int, tmp_path: Path) -> None:
    """Nothing but an array is known to the reader; the same pickle does run under pickle.loads."""
    mark = tmp_path / "mark"
    data = pickle.dumps({b"data": Evil(mark), b"labels": []}, protocol)
    with pytest.raises(RouteError, match="no batch of CIFAR-10 as a Python pickle"):
        cifar10.from_pickle(data)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()


def test_numpy_is_no_way_around() -> None:
    """Functions of numpy that load or run things are not known either."""
    for name in (b"numpy\nload", b"numpy.core.multiarray\nfromfile", b"numpy.testing\nrundocs"):
        with pytest.raises(RouteError, match=r"it asks for numpy"):
            cifar10.from_pickle(b"\x80\x02c" + name + b"\n.")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no batch of CIFAR-10"),
        (b"no pickle", "no batch of CIFAR-10"),
        (pickle.dumps({}, 2), "no batch of CIFAR-10"),
        (pickle.dumps([1], 2), "no batch of CIFAR-10"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2])[:-50], "no batch of CIFAR-10"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [1]), "2 images and 1 classes"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [1, 256]), "no batch of CIFAR-10"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2], b"f4"), "of type b'f4'"),
    ],
)
def test_a_bad_pickle_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(RouteError, match=why):
        cifar10.from_pickle(data)


# --- sheets ---------------------------------------------------------------------------------------


def png(pixels: np.ndarray, mode: str = "RGB") -> bytes:
    """A sheet: one image a row, one RGB pixel after the other."""
    out = io.BytesIO()
    rows = [[image[:, y, x] for y in range(32) for x in range(32)] for image in pixels]
    Image.fromarray(np.array(rows, np.uint8)).convert(mode).save(out, "PNG")
    return out.getvalue()


def sheets() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """All parts of a small package, and the files of the binary version that it holds."""
    made = {batch: examples(seed) for seed, batch in enumerate(BATCHES)}
    parts = {f"{batch}.png": png(pixels) for batch, (pixels, _) in made.items()}
    train = [label for batch in BATCHES[:5] for label in made[batch][1]]
    parts["train_lables.json"] = json.dumps(train).encode()
    parts["test_lables.json"] = json.dumps(made["test_batch"][1]).encode()
    return parts, {f"{batch}.bin": binary(*made[batch]) for batch in BATCHES}


def test_sheets_give_the_same_bytes() -> None:
    parts, expected = sheets()
    assert set(parts) == set(cifar10.PARTS)
    assert cifar10.from_sheets(parts) == expected


@pytest.mark.parametrize(
    ("part", "data", "why"),
    [
        ("data_batch_2.png", b"no image", "data_batch_2.png is no whole PNG"),
        ("data_batch_2.png", sheets()[0]["data_batch_2.png"][:-2000], "is no whole PNG"),
        (
            "data_batch_2.png",
            png(examples(1)[0], "L"),
            "1024 pixels wide in mode L, expected 1024 in RGB",
        ),
        ("test_lables.json", b"[1, 2", "test_lables.json is no JSON"),
        ("test_lables.json", b"\xff\xfe", "test_lables.json is no JSON"),
        ("test_lables.json", b"{}", "is no list of classes from 0 to 9"),
        ("test_lables.json", b"[1, 2, 10]", "is no list of classes from 0 to 9"),
        ("test_lables.json", b'[1, 2, "3"]', "is no list of classes from 0 to 9"),
        ("test_lables.json", b"[1, 2, []]", "is no list of classes from 0 to 9"),
        ("test_lables.json", b"[1, 2]", "there are 3 images and 2 classes"),
        ("test_lables.json", b"[1, 2, 3, 4]", "has 1 classes more than there are images"),
    ],
)
def test_bad_sheets_are_refused(part: str, data: bytes, why: str) -> None:
    parts, _ = sheets()
    with pytest.raises(RouteError, match=why):
        cifar10.from_sheets({**parts, part: data})


def test_a_sheet_of_another_width_is_refused() -> None:
    parts, _ = sheets()
    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, "PNG")
    with pytest.raises(RouteError, match=r"data_batch_1\.png is 32 pixels wide"):
        cifar10.from_sheets({**parts, "data_batch_1.png": out.getvalue()})
