"""``vdbench.Monitor``: gradient variance in the user's own training loop, which goes on as if nothing was measured."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vdbench.errors import CellError, InputError, one_line
from vdbench.estimation.base import Estimator
from vdbench.interactive import monitor_arguments as asked
from vdbench.interactive.untouched import untouched
from vdbench.measures import variance_units
from vdbench.measures.context import Context
from vdbench.measures.metrics import LookSchedule, MetricValue, UnitRows
from vdbench.measures.variance_metrics import variance, variance_ratios
from vdbench.noise import Key
from vdbench.problems.copied import unwrapped
from vdbench.problems.from_module import noisy
from vdbench.problems.given_parameters import started
from vdbench.problems.problem import Problem
from vdbench.siblings import import_own

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Parameters = Mapping[str, Tensor] | nn.Module | Callable[[], Any]


class Monitor:
    """Measures the gradient variance of estimators every k steps of a training.

    Call `step` once a training step. Every ``every``-th call measures, at the weights that the model has then: on a
    copy of the model in eval mode, with random numbers of vdbench's own. The training's random numbers, modes, buffers,
    gradients and optimizer are not touched. Data are read once, when the monitor is made. What a forward hook of the
    model does elsewhere, it does in the copy's passes too; hooks on gradients are no part of what is measured.

    Intervals are of each measurement alone. Minibatches and noise are drawn anew for each, so that their errors are
    independent; the estimators of one measurement share them.

    Args:
        model: A module, whose weights are the posterior's means; or a problem of `vdbench.noisy`, with ``parameters``.
        estimators: Names, or estimators from `vdbench.get`.
        data: The data of a module, in a form that `vdbench.noisy` takes.
        every: Steps between two measurements.
        parameters: The values at which to measure, read anew each time: a mapping, a module, or a function that returns
            one, as ``parameters`` of `vdbench.noisy`. It gives the standard deviations that a module itself does not
            have; a problem's tensors may be those that the training changes.
        batch_size: M; 64 by default, or all examples where there are fewer.
        units: Of a measurement, four gradients each.
        baseline: Label of the estimator that ratios are against; ``naive`` where it is measured, else the first.
        objective: ``likelihood``, or ``elbo`` to add the gradient of −KL.
        precision: ``float32`` or ``float64``.
        seed: Of all random numbers.
        level: Of the intervals.
        device: Where it is measured; that of the model by default.
        options: Further arguments of `vdbench.noisy` for a module: ``likelihood``, ``prior``, ``layers``, ….

    Raises:
        InputError: Something given is wrong, or the model cannot be measured; the monitor is made in front of the loop,
            and a measurement that fails later is recorded as failed, with a warning.

    Example:
        >>> import torch
        >>> import vdbench
        >>> X, y = torch.randn(200, 4), torch.arange(200) % 3
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> monitor = vdbench.Monitor(net, ["naive", "local"], (X, y), every=5)
        >>> for _ in range(10):
        ...     optimizer.zero_grad()
        ...     torch.nn.functional.cross_entropy(net(X), y).backward()
        ...     optimizer.step()
        ...     monitor.step()
        >>> monitor.frame.step.unique().tolist()
        [5, 10]
    """

    def __init__(
        self,
        model: nn.Module | Problem,
        estimators: str | Estimator | Sequence[str | Estimator] = ("naive", "local"),
        data: Any = None,
        *,
        every: int = 100,
        parameters: Parameters | None = None,
        batch_size: int | None = None,
        units: int = 64,
        baseline: str | None = None,
        objective: str = "likelihood",
        precision: str = "float32",
        seed: int = 0,
        level: float = 0.95,
        device: str | None = None,
        **options: Any,
    ) -> None:
        asked.check(model, data, parameters, options)
        asked.check_settings(every, units, objective, precision, level)
        self.estimators = asked.estimators(estimators)
        self.baseline = asked.baseline(baseline, list(self.estimators))
        self.steps, self.every, self.seconds = 0, every, 0.0
        self._model, self._given, self._options = model, parameters, options
        self._objective, self._dtype, self._seed = objective, getattr(torch, precision), seed
        self._schedule, self._units = LookSchedule((units,), level, 1.0, units), units
        self._rows: list[dict[str, Any]] = []
        self._device = device or _device_of(model)
        with untouched():
            self._data = None if isinstance(model, Problem) else asked.read(data, options)
            problem = self._problem()
            self.batch_size = min(64, problem.examples) if batch_size is None else batch_size
            if not 1 <= self.batch_size <= problem.examples:
                raise InputError(
                    f"Monitor: batch_size {self.batch_size} is not between 1 and the {problem.examples} training "
                    "examples."
                )
            for name, estimator in self.estimators.items():
                try:
                    _ = self._context(problem, name, estimator).traced
                except CellError as error:
                    raise InputError(f"Monitor: {error}") from error

    def step(self) -> None:
        """Count a training step; measure if it is the turn."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.measure()

    def measure(self) -> None:
        """Measure now, at the number of steps counted so far; nothing if that number has been measured."""
        if any(row["step"] == self.steps for row in self._rows):
            return
        began = time.perf_counter()
        with untouched():
            self._rows += self._measured()
        self.seconds += time.perf_counter() - began

    @property
    def frame(self) -> pd.DataFrame:
        """What was measured: a row for each step, estimator, metric, layer and role, named as in a run's results."""
        import pandas as pd

        return pd.DataFrame(self._rows, columns=COLUMNS)

    def figure(self, metric: str = "variance.total", layer: str = "all") -> Figure:
        """A metric over the steps, a line with its intervals for each estimator, a panel for each role.

        Args:
            metric: ``variance.total``, ``variance.noise``, ``variance.data`` or ``ratio.variance.total``, ….
            layer: Of the network; ``all`` for all together.

        Raises:
            InputError: Nothing of that kind was measured.
        """
        found: Figure = import_own("reports").series(self.frame, metric, layer)
        return found

    def _repr_html_(self) -> str:
        if not self._rows:
            return f"<p>{self!r}</p>"
        return str(import_own("reports").series_html(self.frame, repr(self)))

    def __repr__(self) -> str:
        times = len({row["step"] for row in self._rows})
        return (
            f"Monitor({', '.join(self.estimators)}: {times} measurements in {self.steps} steps, "
            f"{self.seconds:.1f} s)"
        )

    # -- one measurement --------------------------------------------------------------------------------------

    def _measured(self) -> list[dict[str, Any]]:
        """The rows of a measurement; an estimator that fails has one that says why."""
        rows: list[dict[str, Any]] = []
        try:
            problem = self._problem()
        except InputError as error:
            self._warn("no estimator", error)
            return [self._failed(name, error) for name in self.estimators]
        units: dict[str, UnitRows] = {}
        for name, estimator in self.estimators.items():
            try:
                context = self._context(problem, name, estimator).at("variance")
                found = variance_units.rows(context, 0, self._units)
            except Exception as error:  # an estimator of the user's may raise anything
                self._warn(name, error)
                rows.append(self._failed(name, error))
                continue
            units[name] = UnitRows(found, context.sizes)
        for name, mine in units.items():
            values = variance(mine, self._schedule)
            if self.baseline in units:
                values += variance_ratios(mine, units[self.baseline], self._schedule, self.baseline)
            rows += [self._row(name, value) for value in values]
        return rows

    def _row(self, name: str, value: MetricValue) -> dict[str, Any]:
        e = value.estimate
        return {
            "step": self.steps, "label": name, "metric": value.metric, "layer": value.layer,
            "role": value.role, "value": e.value, "ci_low": e.low, "ci_high": e.high,
            "level": value.level, "n": e.n, "unit": value.unit, "against": value.against,
            "status": "ok", "message": value.message,
        }  # fmt: skip

    def _warn(self, name: str, error: Exception) -> None:
        said = f"Monitor: step {self.steps}: {name} could be measured: {told(error)}"
        if name in self.estimators:
            said = f"Monitor: step {self.steps}: {name} could not be measured: {told(error)}"
        warnings.warn(said, stacklevel=5)

    def _failed(self, name: str, error: Exception) -> dict[str, Any]:
        nothing = float("nan")
        return {
            "step": self.steps, "label": name, "metric": "variance", "layer": "all", "role": "all",
            "value": nothing, "ci_low": nothing, "ci_high": nothing, "level": self._schedule.level,
            "n": 0, "unit": "", "against": "", "status": "failed", "message": told(error),
        }  # fmt: skip

    def _context(self, problem: Problem, name: str, estimator: Estimator) -> Context:
        key = Key(("vdbench", self._seed, "monitor", self.steps))
        values = problem.start
        state = estimator.fit(problem, values, key / "fit" / name)
        return Context(
            problem, values, estimator, name, self.batch_size, key, {}, self._objective, state
        )

    def _problem(self) -> Problem:
        """The problem at the weights that there are now, on a copy."""
        given = self._given
        if callable(given) and not isinstance(given, nn.Module):
            given = given()
        if isinstance(self._model, Problem):
            problem = started(self._model, given)  # type: ignore[arg-type]
        else:
            problem = noisy(
                _copied(self._model), self._data, parameters=_on_cpu(given), **self._options
            )
        return problem.to(self._device, self._dtype)


COLUMNS = [
    "step", "label", "metric", "layer", "role", "value", "ci_low", "ci_high", "level", "n", "unit",
    "against", "status", "message",
]  # fmt: skip
"""Of the frame; those of a run's results have the same names."""


def told(error: Exception) -> str:
    """What an error says, with its kind where it is none of vdbench's own."""
    own = isinstance(error, InputError | CellError)
    return one_line(error) if own else f"{type(error).__name__}: {one_line(error)}"


def _copied(model: nn.Module) -> nn.Module:
    """The model in eval mode, on the CPU.

    Raises:
        InputError: It cannot be copied.
    """
    try:
        return copy.deepcopy(unwrapped(model)).to("cpu").eval()
    except Exception as error:  # a module may hold anything
        raise InputError(
            f"Monitor: the model cannot be copied ({type(error).__name__}: {one_line(error)}); keep locks, files and "
            "tensors computed from parameters out of its attributes, and load its weights first."
        ) from error


def _on_cpu(given: Any) -> Any:
    """Values that are copied anyway, from wherever they are."""
    if isinstance(given, nn.Module):
        return copy.deepcopy(given).to("cpu")
    return given


def _device_of(model: nn.Module | Problem) -> str:
    if isinstance(model, Problem):
        return str(model.device)
    return str(next((value.device for value in model.parameters()), "cpu"))
