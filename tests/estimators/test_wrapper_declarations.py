"""Estimators made of others: what they declare, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from everyone import WRAPPERS
from wrapped import NOISY

from estimators.naive import Naive
from vdbench.errors import InputError
from vdbench.estimation.base import Declaration, Estimator, Gradient
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import find

CHANGED: dict[str, dict[str, Any]] = {
    "latin-hypercube": {"laws": ("uniform",)},
    "sobol": {"laws": ("uniform",), "independent_examples": False},
    "sticking-the-landing": {"posteriors": "independent-normal"},
    "svrg": {"unbiased_given_minibatch": False},
    "joint-control-variate": {"unbiased_given_minibatch": False},
}
"""What a wrapper declares of its own."""


def accepted() -> list[Any]:
    """Every wrapper with every estimator that it does not refuse."""
    found = []
    for name in WRAPPERS:
        for inner in NOISY:
            try:
                get(name, of=inner)
            except InputError:
                continue
            found.append(pytest.param(name, inner, id=f"{name}-{label(inner)}"))
    return found


@pytest.mark.parametrize(("name", "inner"), accepted())
def test_a_wrapper_declares_what_it_wraps(name: str, inner: Estimator) -> None:
    wrapper = get(name, of=inner)
    own, declared = inner.declaration, wrapper.declaration
    version = find(name).declared.version
    changed = CHANGED.get(name, {})
    if name == "activity-perturbation":  # its directions are normal, beside the wrapped one's noise
        changed = {"laws": tuple(dict.fromkeys((*own.laws, "normal")))}
    assert declared == replace(own, name=name, version=version, **changed)
    if name in ("sticking-the-landing", "activity-perturbation"):  # around no average
        return
    assert wrapper != get(name, of=get("samples", of="local", samples=7))
    assert hash(wrapper) == hash(get(name, of=inner))


def test_draws_behind_a_gradient_multiply() -> None:
    counts = {
        label(e): e.draws_per_gradient
        for e in [
            get("local"),
            get("score", samples=4),
            get("samples", of="local", samples=8),
            get("samples", of=get("score", samples=4), samples=2),
            get("antithetic", of="naive"),
            get("antithetic", of=get("samples", of="local", samples=3)),
            get("samples", of=get("antithetic", of=get("score", samples=2)), samples=3),
            get("latin-hypercube", of=get("antithetic", of="local"), samples=5),
            get("samples", of=get("sobol", of=get("score", samples=2), samples=8), samples=3),
            get("sticking-the-landing", of="grouped"),
        ]
    }
    assert list(counts.values()) == [1, 4, 8, 8, 2, 6, 12, 10, 48, 1], counts


@dataclass(frozen=True)
class Custom(Naive):
    """Naive sampling that declares something else; each test says what."""

    declared = Declaration("custom", "elbo", True, ("normal",), False, "1")


def declaring(**change: Any) -> Estimator:
    cls = type("Custom", (Custom,), {"declared": replace(Custom.declared, **change)})
    made: Estimator = cls()
    return made


@dataclass(frozen=True)
class Unregistered(Estimator):
    """Declares nothing."""

    def __call__(self, *args: Any) -> Gradient:
        raise NotImplementedError


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("samples", lambda: get("deterministic"), "samples: estimator 'deterministic' draws no noise: all its draws"),
    ("antithetic", lambda: get("deterministic"), "antithetic: estimator 'deterministic' draws no noise"),
    ("antithetic", lambda: get("antithetic"), "antithetic: estimator 'antithetic' is in antithetic pairs already"),
    ("antithetic", lambda: get("samples", of="antithetic", samples=2), "'samples' is in antithetic pairs already"),
    ("antithetic", lambda: declaring(laws=("normal", "uniform")),
     "estimator 'custom' takes uniform noise, whose negative follows another law; expected normal or sign noise."),
    ("antithetic", lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, which nobody else can"),
    ("control-variate", lambda: get("score"), "control-variate: estimator 'score' is not pathwise, so that its"),
    ("control-variate", lambda: get("samples", of="score"), "estimator 'samples' is not pathwise, so that"),
    ("control-variate", lambda: get("measure-valued"), "estimator 'measure-valued' is not pathwise, so that its"),
    ("control-variate", lambda: get("deterministic"), "'deterministic' draws no normal noise for a Taylor"),
    ("control-variate", lambda: declaring(laws=("normal", "uniform")), "'custom' takes uniform noise, whose mean is"),
    ("control-variate", lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, along which"),
    ("samples", lambda: "local", "samples: option of must be an estimator, such as vdbench.get('local'), not 'local'."),
    ("samples", lambda: Naive, "samples: option of must be an estimator, such as vdbench.get('local'), not <class"),
    *((name, make, f"{name}: estimator {text}") for name in ("latin-hypercube", "sobol") for make, text in [
        (lambda: get("moment-matching"), "'moment-matching' draws no noise"),
        (lambda: get("sobol"), "'sobol' is on the coupled noise of 'sobol' already, and numbers are coupled once."),
        (lambda: get("samples", of="latin-hypercube"), "'samples' is on the coupled noise of 'latin-hypercube'"),
        (lambda: declaring(laws=("weibull",)), "'custom' takes weibull noise; expected normal, sign or uniform noise."),
        (lambda: declaring(pure=False, laws=()), "'custom' draws its own noise, which nobody else can couple."),
    ]),
    ("antithetic", lambda: get("latin-hypercube"), "is on the coupled noise of 'latin-hypercube'; put the pair inside"),
    ("antithetic", lambda: get("samples", of="sobol"), "'samples' is on the coupled noise of 'sobol'; put the pair"),
    ("sticking-the-landing", lambda: get("local"), "'local' does not differentiate along sampled weights; expected"),
    ("sticking-the-landing", lambda: get("score"), "'score' does not differentiate along sampled weights"),
    ("sticking-the-landing", lambda: get("samples"), "put it outside, 'samples' of 'sticking-the-landing', which"),
    ("antithetic", lambda: None, "antithetic: option of must be an estimator"),
    ("samples", Unregistered, "samples: the estimator Unregistered() is not registered: decorate its class"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inner", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(name: str, inner: Callable[[], Any], message: str) -> None:
    """When it is made, from Python as well as through the registry."""
    with pytest.raises(InputError) as caught:
        find(name)(of=inner())  # type: ignore[call-arg]
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.endswith(".")


def test_random_signs_are_symmetric() -> None:
    assert get("antithetic", of=declaring(laws=("normal", "sign"))).declaration.laws == (
        "normal",
        "sign",
    )


def test_no_samples_are_refused() -> None:
    for count in (0, -1):
        with pytest.raises(InputError, match=f"^samples: samples must be at least 1, not {count}"):
            get("samples", samples=count)
