"""The fused kernels against the plain reference in float64: on a GPU, or in Triton's interpreter.

`make kernels` runs them in the interpreter. How far a result may be off is a bound on rounding: each is a sum of n
products, and in arithmetic of relative error ε no rounding of one can exceed a few n ε Σ|products|.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

triton = pytest.importorskip("triton", reason="the fused kernels need Triton: make kernels")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("no GPU, and TRITON_INTERPRET=1 is not set", allow_module_level=True)

from vdbench.kernels import fused, launches, references  # noqa: E402
from vdbench.kernels.launches import Tiles  # noqa: E402
from vdbench.kernels.philox import normals, philox_4x32, signs_of_bits  # noqa: E402

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
STREAM = (0x9E3779B9, 0xFFFFFFFF, 7, 0xFFFFFFFE, 3)
SHAPES = [(37, 50, 21), (64, 32, 64), (1, 1, 1), (5, 7, 10), (70, 33, 68)]
SHAPES = SHAPES if DEVICE == "cpu" else SHAPES[:2]  # each is compiled anew, for some seconds
EPSILON = {torch.float64: 2.0**-52, torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def case(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> list[Tensor]:
    """x, a matrix, another that is positive, ζ, and a gradient that comes from above; one row of x is 0."""
    x, mean, spread, zeta, above = draws(
        (rows, inputs), (outputs, inputs), (outputs, inputs), (rows, outputs), (rows, outputs)
    )
    if rows > 1:
        x[rows // 2] = 0
    return [t.to(DEVICE, dtype) for t in (x, mean, spread.exp(), zeta, above)]


def outcome(f: Callable[..., Tensor], leaves: list[Tensor], above: Tensor) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in leaves]
    b = f(*leaves)
    return [b.detach(), *torch.autograd.grad(b, leaves, above.to(b.dtype))]


def sizes(leaves: list[Tensor], zeta: Tensor, above: Tensor) -> list[Tensor]:
    """What each result's rounding is relative to: the same sums, of absolute values."""
    x, mean, second = (t.abs() for t in leaves)
    zeta, above = zeta.abs(), above.abs()
    spread = x.square() @ second.T
    h = above * torch.where(spread > 0, zeta / (2 * spread.clamp_min(1e-300).sqrt()), 0.0)
    return [
        x @ mean.T + spread.sqrt() * (1 + zeta),
        above @ mean + 2 * x * (h @ second),
        above.T @ x,
        h.T @ x.square(),
    ]


def close(found: list[Tensor], wanted: list[Tensor], size: list[Tensor], epsilon: float) -> None:
    names = ("b", "gradient of x", "gradient of the mean", "gradient of the second matrix")
    for name, a, b, s in zip(names, found, wanted, size, strict=True):
        assert a.isfinite().all(), name
        gap = (a.double() - b).abs()
        assert (gap <= epsilon * s + 1e-30).all(), (
            f"{name}: off by {float((gap / s.clamp_min(1e-30)).max()):.3g} of its terms, {epsilon:.3g} allowed"
        )


def allowed(dtype: torch.dtype, terms: int, precision: str = "ieee") -> float:
    """A few roundings of each operand and result, and one a term of a sum, in float32 unless in float64."""
    own = 2.0**-10 if precision == "tf32" and DEVICE == "cuda" else EPSILON[dtype]
    total = EPSILON[torch.float64 if dtype == torch.float64 else torch.float32]
    return 8 * own + 4 * terms * total + 32 * total


@pytest.mark.parametrize("drawn", [False, True], ids=["given noise", "noise by Philox"])
@pytest.mark.parametrize("dtype", EPSILON, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_local(shape: tuple[int, int, int], dtype: torch.dtype, drawn: bool) -> None:
    *leaves, zeta, above = case(*shape, dtype)
    stream = torch.tensor(STREAM, device=DEVICE)
    wide = [t.double() for t in leaves]
    exact = zeta.double()
    if drawn:
        exact = normals(stream[None], exact.new_empty(1, exact.numel())).reshape(exact.shape)
    found = outcome(
        lambda *t: fused.local(*t, stream if drawn else zeta, precision="ieee"), leaves, above
    )
    wanted = outcome(lambda *t: references.local(*t, exact), wide, above)
    size = sizes(wide, exact, above.double())
    # Philox's normals in float32 are off by some 1e-6
    more = 4e-6 if drawn and dtype != torch.float64 else 0
    close(found, wanted, size, allowed(dtype, max(shape)) + more)


@pytest.mark.parametrize("dtype", EPSILON, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flipout(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, inputs, outputs = shape
    *leaves, _, above = case(*shape, dtype)
    streams = torch.tensor([STREAM, STREAM[::-1]], device=DEVICE)
    bits = [
        launches.words(s[None], -(-rows * columns // 32))[0]
        for s, columns in zip(streams, (inputs, outputs), strict=True)
    ]
    found = outcome(lambda *t: fused.flipout(*t, *bits, precision="ieee"), leaves, above)
    wide = [t.double() for t in leaves]
    wanted = outcome(lambda *t: references.flipout(*t, *bits), wide, above)
    x, mean, second = (t.abs() for t in wide)
    up = above.double().abs()
    size = [x @ (mean + second).T, up @ (mean + second), up.T @ x, up.T @ x]
    close(found, wanted, size, allowed(dtype, max(shape)))


@pytest.mark.parametrize("precision", launches.PRECISIONS)
def test_other_precisions_and_tiles(precision: str) -> None:
    shape = (40, 50, 36)
    *leaves, zeta, above = case(*shape, torch.float32)
    tiles = Tiles(32, 16, 16)
    found = outcome(lambda *t: fused.local(*t, zeta, precision, tiles), leaves, above)
    wide = [t.double() for t in leaves]
    wanted = outcome(lambda *t: references.local(*t, zeta.double()), wide, above)
    size = sizes(wide, zeta.double(), above.double())
    close(found, wanted, size, allowed(torch.float32, max(shape), precision))


def test_gradients_are_those_of_finite_differences() -> None:
    x, mean, second, zeta, _ = case(3, 5, 4, torch.float64)
    leaves = [t.clone().requires_grad_() for t in (x + 1.0, mean, second)]
    assert torch.autograd.gradcheck(lambda *t: fused.local(*t, zeta), leaves)
    bits = [torch.tensor([0x5A5A5A5A], dtype=torch.int32, device=DEVICE) for _ in "st"]
    assert torch.autograd.gradcheck(lambda *t: fused.flipout(*t, *bits), leaves)


def test_rows_of_zeros_have_finite_gradients() -> None:
    """Of x, of σ² and of σ; the mean's gradient does not see them."""
    _, mean, second, zeta, above = case(4, 6, 5, torch.float64)
    zero = torch.zeros(4, 6, dtype=torch.float64, device=DEVICE)
    b, dx, dmean, dsecond = outcome(
        lambda *t: fused.local(*t, zeta), [zero, mean, second], above.to(torch.float64)
    )
    assert not b.any()
    assert not dmean.any()
    assert not dsecond.any()
    assert torch.allclose(dx, above @ mean, rtol=1e-14)


@pytest.mark.parametrize("drawn", [False, True], ids=["given noise", "noise by Philox"])
def test_vectorised_over_minibatches_and_draws(drawn: bool) -> None:
    """Two draws on each of three minibatches, of a network of two layers, as the engine takes them."""
    xs, one, two, zetas = draws((3, 6, 7), (5, 7), (4, 5), (3, 2, 6, 9))
    zetas = zetas.to(DEVICE)
    streams = torch.arange(30, device=DEVICE).reshape(3, 2, 5)
    matrices = [t.to(DEVICE) for t in (one, two, one.exp(), two.exp())]

    def loss(f, stream):  # type: ignore[no-untyped-def]
        def value(matrices, x, z, key):  # type: ignore[no-untyped-def]
            first = key if stream else z[:, :5]
            hidden = f(x, matrices[0], matrices[2], first).relu()
            return f(hidden, matrices[1], matrices[3], z[:, 5:]).square().sum()

        return grad(value)

    every = loss(fused.local, drawn)
    found = vmap(vmap(every, (None, None, 0, 0)), (None, 0, 0, 0))(
        matrices, xs.to(DEVICE), zetas, streams
    )
    for i in range(3):
        for j in range(2):
            z = zetas[i, j].clone()
            if drawn:
                z[:, :5] = normals(streams[i, j][None], z.new_empty(1, 30)).view(6, 5)
            single = loss(references.local, False)(matrices, xs[i].to(DEVICE), z, None)
            for a, b in zip(found, single, strict=True):
                assert torch.allclose(a[i, j], b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("numbers", [1, 4, 1023, 4099])
def test_normals_of_many_streams(numbers: int) -> None:
    streams = torch.tensor([STREAM, (0, 0, 0, 0, 0), STREAM[::-1]], device=DEVICE)
    exact = normals(streams, torch.empty(3, numbers, dtype=torch.float64, device=DEVICE))
    for dtype, gap in ((torch.float64, 1e-14), (torch.float32, 4e-6)):
        found = launches.normals(streams, torch.empty(3, numbers, dtype=dtype, device=DEVICE))
        assert (found - exact).abs().max() <= gap


PUBLISHED = [  # Random123, tests/kat_vectors: philox4x32 10
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_words_are_those_published(counter: str, key: str, expected: str) -> None:
    c, k = ([int(word, 16) for word in text.split()] for text in (counter, key))
    stream = torch.tensor([[*k, *c[1:]]], device=DEVICE)
    found = launches.words(stream, 4, first=c[0])[0].tolist()
    assert [f"{word & 0xFFFFFFFF:08x}" for word in found] == expected.split()


def test_words_are_the_reference_s_and_signs_are_their_bits() -> None:
    """Quarter by quarter, with a remainder in the last."""
    streams = torch.tensor([STREAM, STREAM[::-1]], device=DEVICE)
    count = 2003
    found = launches.words(streams, count).long() & 0xFFFFFFFF
    blocks = -(-count // 4)
    for row, stream in zip(found, streams, strict=True):
        counter = torch.zeros(blocks, 4, dtype=torch.int64, device=DEVICE)
        counter[:, 0], counter[:, 1:] = torch.arange(blocks), stream[2:]
        assert torch.equal(row, philox_4x32(counter, stream[:2]).T.reshape(-1)[:count])
    packed = launches.words(streams[:1], 3)[0]
    out = signs_of_bits(packed, torch.empty(90, device=DEVICE))
    bits = [int(packed[i // 32]) >> (i % 32) & 1 for i in range(90)]
    assert out.tolist() == [1 - 2 * bit for bit in bits]


def test_what_does_not_fit_is_refused() -> None:
    x, mean, second, zeta, _ = case(3, 5, 4, torch.float32)
    bits = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    for wrong, says in (
        (lambda: fused.local(x, mean[:, 1:], second, zeta), r"mean has shape \(4, 4\)"),
        (lambda: fused.local(x, mean, second.double(), zeta), "variance has .*float64"),
        (lambda: fused.local(x, mean, second, zeta[1:]), "expected .*or a stream"),
        (lambda: fused.local(x, mean, second, torch.zeros(4, dtype=torch.int64)), r"shape \(5,\)"),
        (lambda: fused.local(x[0], mean, second, zeta[0]), "two dimensions or more"),
        (lambda: fused.local(x[:0], mean, second, zeta[:0]), "one row"),
        (lambda: fused.local(x, mean, second, zeta, "fp8"), "'fp8' is none of ieee"),
        (lambda: fused.flipout(x, mean, second, bits.float(), bits), "row_bits has"),
        (lambda: fused.flipout(x[None], mean, second, bits, bits), r"expected \(M, inputs\)"),
    ):
        with pytest.raises(ValueError, match=says):
            wrong()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        fused.local(leaf, mean, second, zeta).sum(), leaf, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="second derivatives"):
        torch.autograd.grad(slope.sum(), leaf)


def test_a_sequence_is_its_rows() -> None:
    x, mean, second, zeta, _ = case(12, 5, 4, torch.float64)
    flat = fused.local(x, mean, second, zeta)
    found = fused.local(x.reshape(3, 4, 5), mean, second, zeta.reshape(3, 4, 4))
    assert torch.equal(found.reshape(12, 4), flat)
