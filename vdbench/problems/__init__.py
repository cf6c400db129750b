"""Problems by name, and the user's own as ``package.module:factory``."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from vdbench import datasets
from vdbench.datasets import Dataset
from vdbench.errors import InputError, nearest, one_line
from vdbench.problems import gaussian, given, networks, own, priors, toys
from vdbench.problems.from_module import noisy as noisy
from vdbench.problems.from_module import ours
from vdbench.problems.identity import fingerprint as fingerprint
from vdbench.problems.problem import Problem
from vdbench.problems.regression import regression

_stand_in: ContextVar[Callable[[str], Dataset] | None] = ContextVar("stand_in", default=None)
"""Gives data sets in place of `datasets.load`, for a check that fetches nothing."""


def classification(
    dataset: str = "digits",
    widths: list[int] | tuple[int, ...] | None = None,
    parameterization: object = "mean-log_variance",
    prior: object = "gaussian",
    model: str = "mlp",
    size: float | None = None,
    pooling: str | None = None,
) -> Problem:
    """A network with noisy dense and convolutional layers and softmax outputs.

    Args:
        dataset: Name of a data set.
        widths: Units of the hidden layers of ``mlp``; none for a linear classifier; default one layer of 32.
        parameterization: The posterior: ``mean-log_variance``, ``theta-log_alpha``, ``binary-dropout``,
            ``learned-binary`` or ``point``, or a mapping with that under ``kind`` and these options: ``sigma``;
            ``alpha``, ``learned``, ``per`` and ``sharing``; ``rate``, ``scaling`` and ``sharing``; ``keep`` and
            ``per``; none. Further families of noise: ``low-rank-scale`` and ``low-rank-plus-diagonal`` (``sigma``,
            ``rank``), ``uniform``, ``radial`` and ``matrix-normal`` (``sigma``), ``truncated-normal`` (``sigma``,
            ``bound``).
        prior: ``gaussian``, ``log-uniform``, ``bernoulli`` or ``none``, or a mapping with that under ``kind`` and
            these options: ``variance``; ``form``; ``keep``; none.
        model: ``mlp`` (images are flattened), ``lenet-300-100``, ``lenet-5`` or ``kingma-cifar``; see
            `vdbench.problems.networks`.
        size: Of ``kingma-cifar``: 32 × size and 64 × size channels; default 1.
        pooling: Of ``kingma-cifar``: ``stride`` (the default) or ``max``.

    Raises:
        InputError: A value is not one there is.
    """
    if not isinstance(dataset, str):
        raise InputError(f"dataset must be a name, not {dataset!r}.{nearest('', datasets.names())}")
    coordinates, term = gaussian.from_spec(parameterization), priors.from_spec(prior)
    data = (_stand_in.get() or datasets.load)(dataset)
    options = {"widths": widths, "size": size, "pooling": pooling}
    with torch.random.fork_rng(devices=[]):  # torch draws weights here that are never used
        body = networks.build(model, data, options)
    return ours(
        body,
        data,
        name=f"{dataset}-{_named(model, body)}",
        prior=term,
        parameterization=coordinates,
    )


def _named(model: str, body: nn.Module) -> str:
    """The model, or the sizes of one that is made of dense layers alone."""
    if model != "mlp":
        return model
    dense = [part for part in body.modules() if isinstance(part, nn.Linear)]
    return "-".join(str(size) for size in (dense[0].in_features, *(p.out_features for p in dense)))


FACTORIES: dict[str, Callable[..., Problem]] = {
    "classification": classification,
    "logistic-regression": toys.logistic_regression,
    "regression": regression,
    "toy-cost": toys.toy_cost,
    "toy-dimension": toys.toy_dimension,
}
"""Built-in problems by name."""


def build(name: str, factory: str, options: Mapping[str, Any]) -> Problem:
    """Build a problem; a factory runs under a forked and seeded global generator.

    Args:
        name: Label in reports.
        factory: A name in `FACTORIES`, that of an installed package's entry point in the group
            ``vdbench.problems``, or ``package.module:factory`` of the user's own, looked up from the current folder
            too. It is imported: a caller that has it from a file sees first that the user allows it
            (`need_allowed`).
        options: Keyword arguments of the factory. ``data``, the name of a data set, is for the network of a factory
            that takes no such option and returns a `torch.nn.Module`.

    Raises:
        InputError: The factory cannot be found, refuses its options, fails, or returns no `Problem`; or the problem was
            handed over from Python, and is not here.
    """
    if factory == given.GIVEN:
        raise given.missing(name)
    make = FACTORIES.get(factory) or own.find(name, factory, FACTORIES)
    known = list(inspect.signature(make).parameters.values())
    options, data = _apart(factory, known, options)
    if all(p.kind is not p.VAR_KEYWORD for p in known):
        for option in options:
            if option not in [p.name for p in known]:
                hint = nearest(option, [p.name for p in known]) if known else " It has none."
                raise InputError(f"problem '{name}': {factory} has no option '{option}'.{hint}")
    try:
        with torch.random.fork_rng(devices=[]):
            # weights that the factory leaves to torch to draw are the same in every process
            torch.default_generator.manual_seed(0)
            problem = make(**options)
            if data is not None and isinstance(problem, nn.Module):
                problem = noisy(problem, data)
    except InputError as error:
        at = f"problem '{name}': "
        raise InputError(f"{at}{str(error).removeprefix(at)}") from error
    except BaseException as error:
        if factory in FACTORIES or isinstance(error, KeyboardInterrupt):
            raise
        raise InputError(
            f"problem '{name}': {factory} failed with {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem '{name}': {factory} returned {type(problem).__name__}, expected the vdbench.Problem "
            "that vdbench.noisy(module, data) makes, or a network with the name of a data set as option data."
        )
    return dataclasses.replace(problem, name=name)


def _apart(
    factory: str, known: Collection[inspect.Parameter], options: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Any]:
    """Options of a factory of the user's own, and the data for the network that it makes, if it takes none itself."""
    takes = any(p.name == "data" or p.kind is p.VAR_KEYWORD for p in known)
    if factory in FACTORIES or takes or "data" not in options:
        return options, None
    return {key: value for key, value in options.items() if key != "data"}, options["data"]


def check(name: str, factory: str, options: Mapping[str, Any]) -> Problem | None:
    """Refuse what `build` would refuse, without fetching a data set.

    Returns:
        The problem; None where its data set is not on this machine.

    Raises:
        InputError: As `build`.
    """
    if factory == "classification":
        dataset = options.get("dataset", "digits")
        if isinstance(dataset, str) and not datasets.info(dataset).local:
            token = _stand_in.set(datasets.blank)
            try:
                build(name, factory, options)
            finally:
                _stand_in.reset(token)
            return None
    return build(name, factory, options)


def need_allowed(where: str, factories: Mapping[str, str], allow: Collection[str]) -> None:
    """See that a suite runs no code that the user has not named (`vdbench.problems.own`).

    Args:
        where: What messages call the suite.
        factories: By problem, its factory.
        allow: Modules and factories that the user named.

    Raises:
        InputError: It does; says what to add to the command line.
    """
    own.need_allowed(where, factories, FACTORIES, allow)
