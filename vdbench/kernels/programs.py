"""The device programs, in Triton: two products from one read of the inputs, and normal numbers by Philox.

`vdbench.kernels.launches` starts them on tensors; `vdbench.kernels.references` has the same in plain torch. Both
estimators are of one form, with a matrix M that is μ, a matrix S that is σ² or ΔW, and inputs z that are x² or x∘s:

    first = x Mᵀ,   second = z Sᵀ,   b = first + epilogue(second).

So are their gradients, with h the gradient that reaches ``second``:

    ∇x = g M + (∂z/∂x) ∘ (h S),   ∇M = gᵀ x,   ∇S = hᵀ z.

Each program reads x, g once and makes both products of it. A launch has an axis of batches: draws of the noise, or
anything else that matrices or inputs differ in; a stride of 0 shares an operand between them.

Arguments in capitals are known when a program is compiled. ``FLIP`` chooses flipout, else it is local
reparameterization; ``PRECISION`` is how float32 operands are multiplied (``ieee``, ``tf32`` or ``tf32x3``).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def words_at(streams, batch, block):
    """Four words of a stream at each of these blocks; see `vdbench.kernels.philox` for what a stream is."""
    five = streams + 5 * batch
    key = tl.load(five).to(tl.uint64) | (tl.load(five + 1).to(tl.uint64) << 32)
    c0 = block.to(tl.uint32)
    c1 = c0 * 0 + tl.load(five + 2).to(tl.uint32)
    c2 = c0 * 0 + tl.load(five + 3).to(tl.uint32)
    c3 = c0 * 0 + tl.load(five + 4).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox(key, c0, c1, c2, c3)
    return w0.to(tl.uint32), w1.to(tl.uint32), w2.to(tl.uint32), w3.to(tl.uint32)


@triton.jit
def box_muller(first, second, WIDE: tl.constexpr):
    """Two independent normal numbers of two words, r cos t and r sin t; words are rounded to float32 first."""
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    uniform = ((first.to(tl.float32) + 0.5) * 2.3283064365386963e-10).to(kind)
    angle = second.to(tl.float32).to(kind) * 1.4629180792671596e-09  # 2π/2³²
    radius = tl.sqrt(-2.0 * tl.log(uniform))
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit
def normal_tile(streams, batch, m, n, columns, blocks, WIDE: tl.constexpr):
    """A tile of the matrix that is filled row by row with the numbers of so many blocks of a stream."""
    place = m[:, None].to(tl.int64) * columns + n[None, :]
    second, third, fourth = place >= blocks, place >= 2 * blocks, place >= 3 * blocks
    quarter = second.to(tl.int64) + third.to(tl.int64) + fourth.to(tl.int64)
    w0, w1, w2, w3 = words_at(streams, batch, place - quarter * blocks)
    even, odd = box_muller(tl.where(third, w2, w0), tl.where(third, w3, w1), WIDE)
    return tl.where(second ^ third ^ fourth, odd, even)


@triton.jit
def sign_tile(bits, m, n, columns, inside):
    """±1 of a tile of a matrix whose entries, row by row, have a bit each, the lowest of a word first; −1 if set."""
    place = m[:, None].to(tl.int64) * columns + n[None, :]
    word = tl.load(bits + place // 32, mask=inside, other=0)
    return 1.0 - 2.0 * ((word >> (place % 32).to(tl.int32)) & 1).to(tl.float32)


@triton.jit
def normals(out, streams, numbers, blocks, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """K streams in one launch: each program makes the four quarters of some blocks of one stream."""
    batch = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    w0, w1, w2, w3 = words_at(streams, batch, block)
    n0, n1 = box_muller(w0, w1, WIDE)
    n2, n3 = box_muller(w2, w3, WIDE)
    kind = out.dtype.element_ty
    to, left, there = out + batch * numbers + block, numbers - block, block < blocks
    tl.store(to, n0.to(kind), mask=there & (left > 0))
    tl.store(to + blocks, n1.to(kind), mask=there & (left > blocks))
    tl.store(to + 2 * blocks, n2.to(kind), mask=there & (left > 2 * blocks))
    tl.store(to + 3 * blocks, n3.to(kind), mask=there & (left > 3 * blocks))


@triton.jit
def words(out, streams, numbers, blocks, first, BLOCK: tl.constexpr):
    """Philox's own words in the order of normal numbers, from block ``first`` on, of K streams; held as int32."""
    batch = tl.program_id(1).to(tl.int64)
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    w0, w1, w2, w3 = words_at(streams, batch, block + first)
    to, left, there = out + batch * numbers + block, numbers - block, block < blocks
    tl.store(to, w0.to(tl.int32, bitcast=True), mask=there & (left > 0))
    tl.store(to + blocks, w1.to(tl.int32, bitcast=True), mask=there & (left > blocks))
    tl.store(to + 2 * blocks, w2.to(tl.int32, bitcast=True), mask=there & (left > 2 * blocks))
    tl.store(to + 3 * blocks, w3.to(tl.int32, bitcast=True), mask=there & (left > 3 * blocks))


@triton.jit
def add_product(total, a, b, PRECISION: tl.constexpr, UPCAST: tl.constexpr):
    """The sum with a product of tiles added; ``UPCAST``, for the interpreter, which knows no product in bfloat16."""
    if UPCAST:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc=total, input_precision="ieee")
    else:
        return tl.dot(a, b, acc=total, input_precision=PRECISION, out_dtype=total.dtype)


@triton.jit
def second_input(a, bits, m, k, inputs, inside, FLIP: tl.constexpr, WIDE: tl.constexpr):
    """z, x² or x∘s, rounded once to the type of x."""
    if FLIP:
        return (a * sign_tile(bits, m, k, inputs, inside)).to(a.dtype)
    else:
        kind: tl.constexpr = tl.float64 if WIDE else tl.float32
        exact = a.to(kind)
        return (exact * exact).to(a.dtype)


@triton.jit
def preactivation(
    out, slope, x, first, second, noise, row_bits, out_bits,
    rows, inputs, outputs, blocks, x_step, first_step, second_step, row_step, out_step,
    FLIP: tl.constexpr, DRAWN: tl.constexpr, WIDE: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A tile of b (rows, outputs), and of what ∇second is g times: ζ/(2√second), of ``local`` alone.

    ``noise`` is ζ itself, or with ``DRAWN`` its streams.
    """
    batch = tl.program_id(1).to(tl.int64)
    tiles = tl.cdiv(outputs, BN)
    m = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    n = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    total: tl.constexpr = tl.float64 if WIDE else tl.float32
    bits = row_bits + batch * row_step
    mean = tl.zeros((BM, BN), dtype=total)
    other = tl.zeros((BM, BN), dtype=total)
    for i in range(0, inputs, BK):
        k = i + tl.arange(0, BK)
        inside = (m < rows)[:, None] & (k < inputs)[None, :]
        weights = (k < inputs)[:, None] & (n < outputs)[None, :]
        at = n[None, :].to(tl.int64) * inputs + k[:, None]
        a = tl.load(
            x + batch * x_step + m[:, None].to(tl.int64) * inputs + k[None, :],
            mask=inside,
            other=0.0,
        )
        w = tl.load(first + batch * first_step + at, mask=weights, other=0.0)
        v = tl.load(second + batch * second_step + at, mask=weights, other=0.0)
        z = second_input(a, bits, m, k, inputs, inside, FLIP, WIDE)
        mean = add_product(mean, a, w, PRECISION, UPCAST)
        other = add_product(other, z, v, PRECISION, UPCAST)
    inside = (m < rows)[:, None] & (n < outputs)[None, :]
    at = batch * rows * outputs + m[:, None].to(tl.int64) * outputs + n[None, :]
    if FLIP:
        b = mean + other * sign_tile(out_bits + batch * out_step, m, n, outputs, inside)
    else:
        if DRAWN:
            zeta = normal_tile(noise, batch, m, n, outputs, blocks, WIDE)
        else:
            zeta = tl.load(noise + at, mask=inside, other=0.0).to(total)
        some = (
            other > 0.0
        )  # 0 where a row of x is; its root has no derivative, and its gradient is 0
        root = tl.sqrt(tl.where(some, other, 1.0))
        b = mean + tl.where(some, root * zeta, 0.0)
        tl.store(slope + at, tl.where(some, 0.5 * zeta / root, 0.0), mask=inside)
    tl.store(out + at, b.to(out.dtype.element_ty), mask=inside)


@triton.jit
def second_gradient(g, slope, out_bits, batch, m, n, rows, outputs, out_step, FLIP: tl.constexpr):
    """Tiles of g (rows, outputs) and of the gradient that reaches ``second``: g∘ζ/(2√second), or g∘t."""
    inside = (m < rows)[:, None] & (n < outputs)[None, :]
    at = batch * rows * outputs + m[:, None].to(tl.int64) * outputs + n[None, :]
    tile = tl.load(g + at, mask=inside, other=0.0)
    if FLIP:
        h = tile * sign_tile(out_bits + batch * out_step, m, n, outputs, inside)
    else:
        h = tile * tl.load(slope + at, mask=inside, other=0.0)
    return tile, h.to(tile.dtype)


@triton.jit
def input_gradient(
    out, g, slope, x, first, second, row_bits, out_bits,
    rows, inputs, outputs, x_step, first_step, second_step, row_step, out_step,
    FLIP: tl.constexpr, WIDE: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A tile of ∇x (rows, inputs), BM × BN, summed over outputs by BK."""
    batch = tl.program_id(1).to(tl.int64)
    tiles = tl.cdiv(inputs, BN)
    m = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    i = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    total: tl.constexpr = tl.float64 if WIDE else tl.float32
    straight = tl.zeros((BM, BN), dtype=total)
    through = tl.zeros((BM, BN), dtype=total)
    for j in range(0, outputs, BK):
        n = j + tl.arange(0, BK)
        tile, h = second_gradient(g, slope, out_bits, batch, m, n, rows, outputs, out_step, FLIP)
        weights = (n < outputs)[:, None] & (i < inputs)[None, :]
        at = n[:, None].to(tl.int64) * inputs + i[None, :]
        w = tl.load(first + batch * first_step + at, mask=weights, other=0.0)
        v = tl.load(second + batch * second_step + at, mask=weights, other=0.0)
        straight = add_product(straight, tile, w, PRECISION, UPCAST)
        through = add_product(through, h, v, PRECISION, UPCAST)
    inside = (m < rows)[:, None] & (i < inputs)[None, :]
    at = m[:, None].to(tl.int64) * inputs + i[None, :]
    if FLIP:
        found = straight + through * sign_tile(row_bits + batch * row_step, m, i, inputs, inside)
    else:
        a = tl.load(x + batch * x_step + at, mask=inside, other=0.0).to(total)
        found = straight + 2.0 * a * through
    tl.store(out + batch * rows * inputs + at, found.to(out.dtype.element_ty), mask=inside)


@triton.jit
def weight_gradients(
    out_first, out_second, g, slope, x, row_bits, out_bits,
    rows, inputs, outputs, x_step, row_step, out_step,
    FLIP: tl.constexpr, WIDE: tl.constexpr,
    PRECISION: tl.constexpr, UPCAST: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Tiles of ∇first and ∇second (outputs, inputs), BM × BN, summed over rows by BK."""
    batch = tl.program_id(1).to(tl.int64)
    tiles = tl.cdiv(inputs, BN)
    n = (tl.program_id(0) // tiles) * BM + tl.arange(0, BM)
    i = (tl.program_id(0) % tiles) * BN + tl.arange(0, BN)
    total: tl.constexpr = tl.float64 if WIDE else tl.float32
    bits = row_bits + batch * row_step
    one = tl.zeros((BM, BN), dtype=total)
    two = tl.zeros((BM, BN), dtype=total)
    for r in range(0, rows, BK):
        m = r + tl.arange(0, BK)
        inside = (m < rows)[:, None] & (i < inputs)[None, :]
        at = m[:, None].to(tl.int64) * inputs + i[None, :]
        a = tl.load(x + batch * x_step + at, mask=inside, other=0.0)
        tile, h = second_gradient(g, slope, out_bits, batch, m, n, rows, outputs, out_step, FLIP)
        z = second_input(a, bits, m, i, inputs, inside, FLIP, WIDE)
        one = add_product(one, tl.trans(tile), a, PRECISION, UPCAST)
        two = add_product(two, tl.trans(h), z, PRECISION, UPCAST)
    inside = (n < outputs)[:, None] & (i < inputs)[None, :]
    at = batch * outputs * inputs + n[:, None].to(tl.int64) * inputs + i[None, :]
    tl.store(out_first + at, one.to(out_first.dtype.element_ty), mask=inside)
    tl.store(out_second + at, two.to(out_second.dtype.element_ty), mask=inside)
