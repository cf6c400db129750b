"""Execution modes: the same gradients in all, on a CPU, and on a GPU or a stand-in for its graphs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
import torch

from vdbench import problems
from vdbench.errors import CellError, InputError
from vdbench.estimation.base import Gradient
from vdbench.estimation.draws import gather, minibatch, trace
from vdbench.estimation.options import get
from vdbench.modes import compiled, eager, graph
from vdbench.modes.protocol import Work
from vdbench.modes.registry import MODES, refuse
from vdbench.noise import Key, Noise
from vdbench.problems.problem import Batch, Problem
from vdbench.suite.schema import Suite

KEY = Key(("tests", "modes"))
CPU = torch.device("cpu")


@functools.cache
def problem(device: str = "cpu", precision: str = "float32") -> Problem:
    return problems.build("p", "classification", {"widths": [8]}).in_precision(device, precision)


def work(name: str = "local", copies: int = 1, at: Problem | None = None) -> Work:
    at = at or problem()
    start, estimator = at.initial(KEY), get(name)
    batch = gather(at, minibatch(at, 16, KEY))
    repeated = Batch(*(t.expand(copies, *t.shape).clone() for t in batch))
    requests = trace(estimator, at, start, batch).requests
    return Work(estimator, at, start, repeated, KEY, requests)


def agree(ours: Gradient, theirs: Gradient, room: float) -> None:
    assert set(ours.gradients) == set(theirs.gradients)
    assert abs(float(ours.value - theirs.value)) <= room * abs(float(theirs.value))
    for name, value in theirs.gradients.items():
        error = float((ours.gradients[name] - value).norm())
        assert error <= room * float(value.norm()), (name, error, float(value.norm()))


def test_the_suite_names_all_modes() -> None:
    (names,) = get_args(Suite.model_fields["modes"].annotation)
    assert set(get_args(names)) == set(MODES)


def test_copies_of_the_minibatch_are_taken_in_turn() -> None:
    at = work(copies=3)
    at.batch.inputs[1] += 1.0
    turns = at.turns()
    taken = [next(turns).inputs for _ in range(7)]
    starts = [t.data_ptr() for t in taken]
    assert starts == [starts[0], starts[1], starts[2]] * 2 + [starts[0]]
    assert len(set(starts)) == 3
    assert not torch.equal(taken[0], taken[1])


def test_eager_has_fresh_noise_at_each_call_and_the_same_from_the_start() -> None:
    one, again = eager.prepare(work()), eager.prepare(work())
    values = [float(one().value) for _ in range(3)]
    assert len(set(values)) == 3
    assert [float(again().value) for _ in range(3)] == values


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["local", "naive"])
def test_compiled_gradients_are_the_eager_ones_to_rounding(name: str, precision: str) -> None:
    at = problem(precision=precision)
    ours, theirs = (MODES[mode](work(name, at=at)) for mode in ("compile", "eager"))
    for _ in range(3):
        agree(ours(), theirs(), {"float32": 1e-5, "float64": 1e-13}[precision])


def test_a_gradient_is_traced_with_its_noise_as_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler: what is traced is run as it is, and agrees to rounding, call by call."""
    monkeypatch.setattr(torch, "compile", lambda traced, **_: traced)
    ours, theirs = compiled.prepare(work()), eager.prepare(work())
    values = []
    for _ in range(3):
        found = ours()
        agree(found, theirs(), 1e-6)
        values.append(float(found.value))
    assert len(set(values)) == 3


def test_the_cause_is_told_where_the_compiler_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(traced: Any, **_: Any) -> Any:
        raise RuntimeError("No working C++ compiler found. Set TORCHDYNAMO_VERBOSE=1 for more")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(
        CellError, match=r"^mode compile: RuntimeError: No working C\+\+ compiler found\.$"
    ):
        compiled.prepare(work())


def test_graphs_are_refused_without_a_gpu() -> None:
    with pytest.raises(
        InputError, match=r"^mode 'graph' records CUDA graphs, and the device is 'cpu'; expected"
    ):
        refuse(["eager", "graph"], CPU)
    refuse(["eager", "compile"], CPU)
    refuse(["graph"], torch.device("cuda"))


class Impure:
    """An estimator that draws noise of its own, as far as is asked here."""

    class declaration:
        name, pure = "theirs", False


@pytest.mark.parametrize("mode", ["graph", "compile"])
def test_noise_of_an_estimator_s_own_is_not_recorded(mode: str) -> None:
    plain = work()
    other = Work(Impure(), plain.problem, plain.parameters, plain.batch, KEY)  # type: ignore[arg-type]
    with pytest.raises(CellError, match=f"^mode {mode}: estimator 'theirs' draws noise of its own"):
        MODES[mode](other)


class Stand:
    """Stands in for `torch.cuda.CUDAGraph`: what is called while recording is called again by a replay."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.recorded = log, None

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.log.append("register")

    def replay(self) -> None:
        self.log.append("replay")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of what records, in order; streams and graphs are stand-ins on the CPU."""
    found: list[str] = []

    @contextmanager
    def noted(name: str, _: Any) -> Iterator[None]:
        found.append(f"{name} begins")
        yield
        found.append(f"{name} ends")

    class Stream:
        def wait_stream(self, other: Any) -> None:
            found.append("wait")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Stand(found))
    monkeypatch.setattr(torch.cuda, "graph", functools.partial(noted, "recording"))
    monkeypatch.setattr(torch.cuda, "stream", functools.partial(noted, "warm-up"))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    return found


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_graph_is_recorded_after_warm_up_and_replayed(log: list[str], precision: str) -> None:
    """On a stand-in: this says that the calls come in the right order, and nothing of what a GPU does with them."""
    at = work(copies=2, at=problem(precision=precision))
    at.batch.inputs[1] += 1.0
    one = graph.Recorded(at)
    assert log == [
        "wait",
        "warm-up begins",
        "warm-up ends",
        "wait",
        "register",
        "recording begins",
        "recording ends",
    ]
    log.clear()
    turns = at.turns()
    first = one.replay(next(turns))
    assert torch.equal(one._batch.inputs, at.batch.inputs[0])
    second = one.replay(next(turns))
    assert torch.equal(one._batch.inputs, at.batch.inputs[1])
    assert first is second
    assert log == ["replay", "replay"]


def test_what_is_recorded_draws_fresh_noise_in_order(log: list[str]) -> None:
    at = work()
    one = graph.Recorded(at)
    values = [float(one.once().value) for _ in range(3)]
    assert len(set(values)) == 3
    one.generator.manual_seed(5)
    ours = one.once()
    noise = Noise(graph.InOrder(torch.Generator().manual_seed(5), torch.float32))
    theirs = at.estimator(at.problem, at.parameters, at.first, noise, ())
    agree(ours, theirs, 0.0)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", ["local", "naive", "flipout"])
def test_a_replayed_gradient_is_the_eager_one(name: str, precision: str) -> None:
    """On a GPU, with the generator set to one seed before both: equal to rounding; noise is fresh at every replay."""
    at = work(name, copies=2, at=problem("cuda", precision))
    one, turns = graph.Recorded(at), at.turns()
    for seed in (5, 6):
        batch = next(turns)
        one.generator.manual_seed(seed)
        found = one.replay(batch)
        ours = Gradient(found.value.clone(), {n: g.clone() for n, g in found.gradients.items()})
        one.generator.manual_seed(seed)
        agree(ours, one.once(), 1e-5)
    values = [float(one.replay(next(turns)).value) for _ in range(4)]
    assert len(set(values)) == 4
