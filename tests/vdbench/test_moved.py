"""Module names of version 0.1 are still there, and cost nothing until they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

import vdbench
from vdbench.moved import MOVED

NAMES = {
    "autodiff": ("differentiate", "vectorising", "Objective"),
    "draws": ("call", "gather", "gradients", "minibatch", "trace"),
    "estimator": (
        "Declaration", "Estimator", "Gradient", "Pathwise", "Wrapper",
        "add", "average", "chain", "differentiate", "need_posterior", "objective",
    ),
    "evaluation": ("evaluate", "mean_weights", "predict", "samples_of"),
    "layers": ("Convolution", "Layer", "NoisyModule", "Sampler", "layer_of"),
    "likelihood_ratio": ("LikelihoodRatio",),
    "likelihoods": ("Bernoulli", "Categorical", "Expected", "GaussianNoise", "Likelihood"),
    "posteriors": (
        "PARAMETERIZATIONS", "BinaryDropout", "Gaussian", "LearnedBinary", "MeanLogVariance",
        "Parameterization", "Point", "Posterior", "ThetaLogAlpha", "from_spec",
    ),
    "problem": ("Batch", "Group", "Parameters", "Problem", "Use", "noisy"),
    "registry": (
        "canonical", "default", "discover", "find", "get", "identity", "label", "load_plugin",
        "names", "options", "register",
    ),
}  # fmt: skip


@pytest.mark.parametrize("old", MOVED)
def test_what_it_had_is_still_found(old: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = importlib.import_module(f"vdbench.{old}")
    for name in NAMES[old]:
        assert getattr(module, name) is not None


def test_they_are_the_very_same_objects() -> None:
    from vdbench import layers, posteriors, registry
    from vdbench.posteriors import Gaussian
    from vdbench.problem import noisy

    assert layers.Layer is vdbench.Layer
    assert posteriors.Gaussian is Gaussian is vdbench.Posterior
    assert noisy is vdbench.noisy
    assert registry.get is vdbench.get


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'vdbench\.layers' has no attribute 'nothing'"
    ):
        vdbench.layers.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vdbench.nothing")


def test_an_old_name_alone_imports_nothing() -> None:
    code = "import sys, vdbench; from vdbench import registry; import vdbench.layers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False"]
