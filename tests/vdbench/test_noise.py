"""Streams of noise: addressed, reproducible, independent, and of the law they are named after.

Where a test is statistical its false-alarm rate is stated; keys are fixed, so that a failure is everyone's.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vdbench.errors import InputError
from vdbench.estimation.draws import inject
from vdbench.noise import (
    LAWS,
    NOISES,
    PHILOX,
    TORCH,
    Injected,
    Key,
    Noise,
    Recorder,
    Request,
    Stream,
    _stream,
    draw,
    draws,
    stream,
)

KEY = Key(("tests", "noise"))
KEYS = {noise: Key(KEY.path, noise) for noise in NOISES}
FALSE_ALARM = 1e-6
NUMBERS = 40_000
PARTS = st.one_of(st.integers(-3, 12), st.text("12ab\x1f\\:intsr", max_size=4))


@pytest.fixture(params=NOISES)
def key(request: pytest.FixtureRequest) -> Key:
    """An address of noise that is made in either way."""
    return KEYS[request.param]


def numbers(key: Key, law: str, dtype: torch.dtype, count: int = NUMBERS) -> Tensor:
    return stream(key, dtype=dtype)("moments", (count,), law)


def test_the_address_is_the_only_thing_that_counts(key: Key) -> None:
    noise = stream(key)
    first = noise("fc1", (3, 5))
    noise("fc2", (7,)), noise("fc1", (4,)), stream(key / 1)("fc1", (3, 5))
    assert torch.equal(noise("fc1", (3, 5)), first)
    assert torch.equal(stream(Key(key.path, key.noise))("fc1", torch.Size([3, 5])), first)


def test_the_path_of_a_noise_is_part_of_the_address_and_nothing_else(key: Key) -> None:
    below = stream(key).at("sample", 3)
    assert torch.equal(below("fc1", (9,)), stream(key).at("sample").at(3)("fc1", (9,)))
    assert torch.equal(below("fc1", (9,)), stream(key / "sample" / 3)("fc1", (9,)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", LAWS)
def test_shape_and_type_are_as_asked(key: Key, law: str, dtype: torch.dtype) -> None:
    for shape in [(), (1,), (0, 3), (2, 3, 4)]:
        drawn = stream(key, dtype=dtype)("layer", shape, law)
        assert drawn.shape == shape
        assert drawn.dtype == dtype


def test_a_row_of_a_stack_is_the_stream_itself(key: Key) -> None:
    """What vectorised draws are injected equals what looped ones draw, for short and long rows."""
    keys = [key / k for k in range(3)]
    requests = [
        Request(("fc1",), shape, law) for shape in [(3,), (15,), (16,), (7, 11)] for law in LAWS
    ]
    noise = inject(requests, keys, torch.device("cpu"), torch.float32)
    for request, stack in noise.items():
        for row, key in zip(stack, keys, strict=True):
            assert torch.equal(
                row, Noise(Stream(key, torch.device("cpu"), torch.float32)).source(request)
            )


def variants(key: Key) -> dict[str, Tensor]:
    """Streams whose addresses differ in one thing each, cut to the same number of numbers."""
    base = stream(key)
    count = 4096
    found = {
        "base": base("fc1", (count,)),
        "shape (n, 1)": base("fc1", (count, 1)),
        "shape (1, n)": base("fc1", (1, count)),
        "shape (64, 64)": base("fc1", (64, 64)),
        "shape (n + 1,)": base("fc1", (count + 1,)),
        "shape (2n,)": base("fc1", (2 * count,)),
        "other name": base("fc2", (count,)),
        "one level below": base.at("fc1")("fc1", (count,)),
        "sample 0": base.at("sample", 0)("fc1", (count,)),
        "sample 1": base.at("sample", 1)("fc1", (count,)),
        "name of an integer": base.at("sample", "1")("fc1", (count,)),
        "key / 0": stream(key / 0)("fc1", (count,)),
        "key / 1": stream(key / 1)("fc1", (count,)),
        "reordered": stream(Key(key.path[::-1], key.noise))("fc1", (count,)),
        "key / 0 / 1": stream(key / 0 / 1)("fc1", (count,)),
        "key / 1 / 0": stream(key / 1 / 0)("fc1", (count,)),
        "key / 1 / 0 / 1": stream(key / 1 / 0 / 1)("fc1", (count,)),
        "key / 2^32": stream(key / 2**32)("fc1", (count,)),
        "key / -1": stream(key / -1)("fc1", (count,)),
        "uniform": base("fc1", (count,), "uniform"),
        "sign": base("fc1", (count,), "sign"),
        "float64": stream(key, dtype=torch.float64)("fc2", (count,)),
    }
    return {name: values.flatten()[:count].double() for name, values in found.items()}


@pytest.mark.parametrize("change", [lambda x: x, torch.square, lambda x: x.roll(1)])
def test_streams_of_different_addresses_are_independent(key: Key, change) -> None:  # type: ignore[no-untyped-def]
    """Correlations of values, of squares and at lag one lie within their standard error 1/√n.

    False alarms: FALSE_ALARM for each of the three, shared out over the pairs. (float64 "fc2" and float32
    "fc2" share an address and are left out of each other's pairs.)
    """
    found = variants(key)
    pairs = [p for p in itertools.combinations(found, 2) if set(p) != {"other name", "float64"}]
    bound = scipy.stats.norm.isf(FALSE_ALARM / len(pairs) / 2)
    for one, other in pairs:
        if change is torch.square and "sign" in (one, other):
            continue  # its square is constant
        a, b = (
            change(found[one]),
            torch.square(found[other]) if change is torch.square else found[other],
        )
        z = float(np.corrcoef(a, b)[0, 1]) * math.sqrt(len(a))
        assert abs(z) < bound, f"{one} and {other}: correlation is {z:.1f} standard errors from 0"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("law", "cdf"), [("normal", scipy.stats.norm.cdf), ("uniform", scipy.stats.uniform.cdf)]
)
def test_continuous_laws(key, law, cdf, dtype) -> None:  # type: ignore[no-untyped-def]
    """Kolmogorov-Smirnov, and the first four moments of the normal; FALSE_ALARM each."""
    drawn = numbers(key, law, dtype).double().numpy()
    assert scipy.stats.kstest(drawn, cdf).pvalue > FALSE_ALARM
    if law == "uniform":
        assert drawn.min() >= 0
        assert drawn.max() < 1
        return
    bound = scipy.stats.norm.isf(FALSE_ALARM / 2)
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], 1):
        z = (np.mean(drawn**power) - moment) / math.sqrt(variance / len(drawn))
        assert abs(z) < bound, f"moment {power} is {z:.1f} standard errors off"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_signs(key: Key, dtype: torch.dtype) -> None:
    """Only ±1, as many of each as a fair coin gives; FALSE_ALARM."""
    drawn = numbers(key, "sign", dtype)
    assert set(drawn.tolist()) == {-1.0, 1.0}
    heads = int((drawn > 0).sum())
    assert scipy.stats.binomtest(heads, len(drawn)).pvalue > FALSE_ALARM


def test_the_first_number_of_many_streams_is_normal_too(key: Key) -> None:
    """One number a stream, over many streams: seeds are spread as they should be; FALSE_ALARM."""
    keys = [key / "draw" / k for k in range(4000)]
    drawn = draws(keys, Request(("fc1",), (1,), "normal"), torch.empty(4000, 1))[:, 0].tolist()
    assert scipy.stats.kstest(drawn, "norm").pvalue > FALSE_ALARM
    z = np.corrcoef(drawn[:-1], drawn[1:])[0, 1] * math.sqrt(len(drawn) - 1)
    assert abs(z) < scipy.stats.norm.isf(FALSE_ALARM / 2)


def test_paths_that_read_alike_are_different_addresses() -> None:
    paths = [
        (1, "2"),
        ("12",),
        ("1", 2),
        ("1", "2"),
        (1, 2),
        (12,),
        ("1/2",),
        ("1", "", "2"),
        ("1", "2", ""),
    ]
    paths += [("str:1",), ("int:1",), ("1\x1fstr:2",), ("1\x1fint:2",), ("1\\x1fstr:2",), (), ("",)]
    seeds = {Key(path).seed() for path in paths}
    assert len(seeds) == len(paths)


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_two_paths_have_one_seed_only_if_they_are_one(one: list, other: list) -> None:  # type: ignore[type-arg]
    same = [(type(p), p) for p in one] == [(type(p), p) for p in other]
    assert (Key(tuple(one)).seed() == Key(tuple(other)).seed()) == same


def test_a_request_cannot_be_taken_for_another(key: Key) -> None:
    """Shape and law close the address, so that names cannot imitate them."""
    out = torch.empty(3, dtype=torch.float64)
    found = [
        draw(key, Request(("a",), (3,), "normal"), out).clone(),
        draw(key, Request(("a", "normal"), (3,), "normal"), out).clone(),
        draw(key, Request(("a", "normal", "3"), (3,), "normal"), out).clone(),
    ]
    assert len({tuple(x.tolist()) for x in found}) == 3


def test_seeds_are_known_numbers_that_fit_a_generator() -> None:
    """The streams are the same on every machine and in every version: stored blocks rely on it."""
    assert Key().seed() == 8238016292129134938
    assert Key(("seed", 0)).seed() == 988821626754474545
    for k in range(100):
        assert 0 <= (KEY / k).seed() < 2**63


def test_streams_by_counter_are_known_numbers() -> None:
    """Unit and draw are words of the counter, the rest is a hash: the same in every version, as stored blocks need."""
    key = KEYS[PHILOX] / "unit" / 12 / "a" / "draw" / 2
    hashed = (3917185589, 2125801276, 200018486)
    request = Request(("fc1",), (2, 3), "normal")
    assert _stream(key, request) == (*hashed, 12, 2)
    assert _stream(KEYS[PHILOX] / "unit" / 0 / "a" / "draw" / 1, request) == (*hashed, 0, 1)
    below = Request((2, "fc1"), (2, 3), "normal")
    assert _stream(KEYS[PHILOX] / "unit" / 12 / "a" / "draw", below) == (*hashed, 12, 2)
    assert _stream(KEYS[PHILOX], request)[3:] == (0, 0)
    drawn = draw(key, request, torch.empty(2, 3, dtype=torch.float64)).flatten().tolist()
    assert drawn == pytest.approx(
        [
            -0.635450209462,
            1.082842385067,
            0.1232310244,
            -0.860250979975,
            -0.391343365748,
            -0.565122809155,
        ],
        abs=1e-11,
    )


@given(st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_two_paths_have_one_counter_only_if_they_are_one(one: list, other: list) -> None:  # type: ignore[type-arg]
    same = [(type(p), p) for p in one] == [(type(p), p) for p in other]
    request = Request(("fc1",), (2,), "sign")
    found = [_stream(Key(tuple(path), PHILOX), request) for path in (one, other)]
    assert (found[0] == found[1]) == same


def test_a_key_keeps_how_its_noise_is_made_and_its_seed_does_not_depend_on_it() -> None:
    assert (KEYS[PHILOX] / "a" / 1).noise == PHILOX
    assert (KEYS[PHILOX] / "a").seed() == (KEY / "a").seed()
    assert KEY == KEYS[TORCH] != KEYS[PHILOX]
    with pytest.raises(InputError, match=r"^noise 'phlox' is unknown\. Did you mean 'philox'\?$"):
        Key(("a",), "phlox")


def test_by_counter_precisions_have_the_same_numbers_up_to_rounding() -> None:
    for law, room in (("normal", 6e-6), ("uniform", 2**-23), ("sign", 0)):
        wide, narrow = (
            numbers(KEYS[PHILOX], law, t).double() for t in (torch.float64, torch.float32)
        )
        assert (wide - narrow).abs().max() <= room


def test_an_unknown_law_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"^noise law 'nromal' is unknown\. Did you mean 'normal'\?$"
    ):
        stream(KEY)("fc1", (2,), "nromal")
    with pytest.raises(InputError, match=r"Expected one of: normal, sign, uniform\.$"):
        stream(KEY)("fc1", (2,), "poisson")


def test_the_global_generators_are_left_alone(key: Key) -> None:
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1]
    for law in LAWS:
        stream(key)("fc1", (50,), law)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    torch.manual_seed(0)
    one = stream(key)("fc1", (5,))
    torch.manual_seed(1)
    assert torch.equal(stream(key)("fc1", (5,)), one)


def test_a_recorder_passes_on_and_remembers_in_order() -> None:
    recorder = Recorder(Stream(KEY, torch.device("cpu"), torch.float32))
    noise = Noise(recorder)
    assert torch.equal(noise("b", (2,)), stream(KEY)("b", (2,)))
    noise.at("sample", 1)("a", torch.Size([3]), "sign")
    assert recorder.requests == [
        Request(("b",), (2,), "normal"),
        Request(("sample", 1, "a"), (3,), "sign"),
    ]


def test_injected_noise_is_handed_out_and_nothing_else_is() -> None:
    given_ = {Request(("fc1",), (2,), "normal"): torch.tensor([1.0, 2.0])}
    noise = Noise(Injected(given_))
    assert noise("fc1", (2,)) is given_[Request(("fc1",), (2,), "normal")]
    for name, shape, law in [
        ("fc2", (2,), "normal"),
        ("fc1", (3,), "normal"),
        ("fc1", (2,), "sign"),
    ]:
        with pytest.raises(KeyError):
            noise(name, shape, law)
    with pytest.raises(KeyError):
        noise.at(0)("fc1", (2,))


def test_equal_numbers_are_one_address_whatever_their_types() -> None:
    """Streams are remembered by equality, so that otherwise the first type asked for would decide."""
    for noise in ("torch", "philox"):
        streams = [
            stream(Key(("types", part), noise))("x", (3,)) for part in (1, np.int64(1), True)
        ]  # type: ignore[arg-type]
        for other in streams[1:]:
            assert torch.equal(streams[0], other)
    assert Key((1,)).seed() != Key(("1",)).seed()
