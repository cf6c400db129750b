"""Coordinates of the posterior: the Gaussian they stand for, its derivatives, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
import torch

from vdbench import problems
from vdbench.errors import InputError
from vdbench.noise import Key, stream
from vdbench.problems.gaussian import (
    PARAMETERIZATIONS,
    SCALE_ROLES,
    MeanLogVariance,
    MeanScale,
    ThetaLogAlpha,
    from_spec,
)
from vdbench.problems.parameterization import Parameterization

WEIGHT = stream(Key(("tests", "posteriors")), dtype=torch.float64)("weight", (4, 3))
ALL = [MeanLogVariance(0.3), ThetaLogAlpha(0.7), ThetaLogAlpha(0.7, learned=False)]


def test_mean_log_variance_starts_at_its_sigma() -> None:
    q = MeanLogVariance(0.3).gaussian(MeanLogVariance(0.3).initial(WEIGHT))
    assert torch.equal(q.mean, WEIGHT)
    torch.testing.assert_close(q.scale, torch.full_like(WEIGHT, 0.3))
    torch.testing.assert_close(q.variance, torch.full_like(WEIGHT, 0.09))


def test_theta_log_alpha_starts_at_its_alpha() -> None:
    coordinates = ThetaLogAlpha(0.7).initial(WEIGHT)
    assert coordinates["log_alpha"].shape == (1,)
    q = ThetaLogAlpha(0.7).gaussian(coordinates)
    assert torch.equal(q.mean, WEIGHT)
    torch.testing.assert_close(q.scale, math.sqrt(0.7) * WEIGHT)
    torch.testing.assert_close(q.variance, 0.7 * WEIGHT.square())


@pytest.mark.parametrize("form", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_parameterization(form: Parameterization, dtype: torch.dtype) -> None:
    weight = WEIGHT.to(dtype)
    coordinates = form.initial(weight)
    assert set(coordinates) == set(form.roles)
    assert set(form.fixed) <= set(form.roles)
    assert all(value.dtype == dtype for value in coordinates.values())
    assert all(value.data_ptr() != weight.data_ptr() for value in coordinates.values())
    q = form.gaussian(coordinates)
    torch.testing.assert_close(q.scale.square(), q.variance)
    assert {q.mean.shape, q.scale.shape, q.variance.shape} == {weight.shape}
    assert set(form.roles.values()) & set(SCALE_ROLES)


@pytest.mark.parametrize("form", ALL, ids=repr)
def test_derivatives_agree_with_finite_differences(form: Parameterization) -> None:
    coordinates = form.initial(WEIGHT)
    names = list(coordinates)

    def moments(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q = form.gaussian(dict(zip(names, values, strict=True)))
        return q.mean * 1, q.scale, q.variance  # gradcheck wants no input among the outputs

    values = [coordinates[n].requires_grad_() for n in names]
    assert torch.autograd.gradcheck(moments, values)


def test_the_variance_is_smooth_where_theta_is_zero() -> None:
    """σ² = αθ² has derivative 0 at θ = 0; by way of a root it would be NaN."""
    coordinates = {"theta": torch.zeros(2, requires_grad=True), "log_alpha": torch.zeros(1)}
    q = ThetaLogAlpha().gaussian(coordinates)
    (slope,) = torch.autograd.grad(q.variance.sum(), coordinates["theta"])
    assert torch.equal(slope, torch.zeros(2))


def test_alpha_is_held_fixed_unless_learned() -> None:
    assert ThetaLogAlpha(learned=False).fixed == ("log_alpha",)
    assert ThetaLogAlpha(learned=True).fixed == ()
    assert MeanLogVariance().fixed == ()


def test_specs() -> None:
    assert from_spec("mean-log_variance") == MeanLogVariance()
    assert from_spec({"kind": "mean-log_variance", "sigma": 1}) == MeanLogVariance(1)
    spec = {"kind": "theta-log_alpha", "alpha": 0.25, "learned": False}
    assert from_spec(spec) == ThetaLogAlpha(0.25, False)
    assert {name: from_spec(name).name for name in PARAMETERIZATIONS} == {
        n: n for n in PARAMETERIZATIONS
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mean-log_varianc", "parameterization 'mean-log_varianc' is unknown. Did you mean 'mean-log_variance'?"),
        ("nonsense", "'nonsense' is unknown. Expected one of: binary-dropout, learned-binary, low-rank"),
        (3, "parameterization: got 3, expected a name or a mapping with a name under 'kind'."),
        ({"sigma": 1.0}, "expected a name or a mapping with a name under 'kind'."),
        ({"kind": 3}, "expected a name or a mapping with a name under 'kind'."),
        ({"kind": "theta-log_alpha", "alhpa": 1}, "'theta-log_alpha' has no option 'alhpa'. Did you mean 'alpha'?"),
        ({"kind": "theta-log_alpha", "alpha": 0}, "alpha of the posterior must be a finite number above 0, not 0."),
        ({"kind": "theta-log_alpha", "alpha": "1"}, "must be a finite number above 0, not '1'."),
        ({"kind": "theta-log_alpha", "alpha": []}, "alpha of the posterior is an empty list."),
        ({"kind": "theta-log_alpha", "alpha": [1, -1]}, "must be a finite number above 0, not -1."),
        ({"kind": "theta-log_alpha", "learned": 1}, "learned of the posterior must be true or false, not 1."),
        ({"kind": "mean-log_variance", "sigma": True}, "sigma of the posterior must be"),
        ({"kind": "mean-log_variance", "sigma": -0.1}, "must be a finite number above 0, not -0.1."),
        ({"kind": "mean-log_variance", "sigma": float("nan")}, "must be a finite number above 0, not nan."),
        ({"kind": "mean-log_variance", "sigma": float("inf")}, "must be a finite number above 0, not inf."),
    ],
)  # fmt: skip
def test_what_is_refused(spec: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value)


def test_a_list_gives_every_layer_its_alpha() -> None:
    options = {"widths": [4, 3], "dataset": "digits"}
    form = {"kind": "theta-log_alpha", "alpha": [0.25, 1.0, 2.0]}
    problem = problems.build("own", "classification", {**options, "parameterization": form})
    assert problem.parameterization == ThetaLogAlpha((0.25, 1.0, 2.0))
    for parameters in (problem.start, problem.initial(Key(("alpha",)))):
        found = [parameters[f"fc{n}.log_alpha"].exp().item() for n in (1, 2, 3)]
        assert found == pytest.approx([0.25, 1.0, 2.0])
    form["alpha"] = [0.25, 1.0]
    with pytest.raises(InputError, match="a value for each of 2 noisy layers, the module has 3"):
        problems.build("own", "classification", {**options, "parameterization": form})


@pytest.mark.parametrize("coordinate", ["sigma", "log-sigma", "softplus"])
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 2.0])
def test_a_scale_in_other_coordinates_starts_at_its_sigma(coordinate: str, sigma: float) -> None:
    """And dσ/dρ is 1, σ and 1 − exp(−σ)."""
    form = MeanScale(sigma, coordinate)  # type: ignore[arg-type]
    start = form.initial(torch.ones(2, 3, dtype=torch.float64))
    rho = start["rho"].requires_grad_()
    law = form.gaussian({"mean": start["mean"], "rho": rho})
    assert torch.allclose(law.scale, torch.tensor(sigma, dtype=torch.float64), rtol=1e-12)
    assert torch.allclose(law.variance, law.scale.square())
    (slope,) = torch.autograd.grad(law.scale.sum(), rho)
    want = {"sigma": 1.0, "log-sigma": sigma, "softplus": -math.expm1(-sigma)}[coordinate]
    assert torch.allclose(slope, torch.tensor(want, dtype=torch.float64), rtol=1e-12)


def test_an_unknown_coordinate_of_a_scale_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"is unknown: 'softplu'\. Did you mean 'softplus'",
    ):
        MeanScale(0.1, "softplu")  # type: ignore[arg-type]
