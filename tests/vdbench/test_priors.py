"""The priors' KL against quadrature, torch.distributions and finite differences."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vdbench.dawson import dawson, dawson_integral
from vdbench.errors import InputError
from vdbench.priors import GaussianPrior, LogUniformPrior, Prior, from_spec, log_uniform_kl

PRIORS: list[Prior] = [GaussianPrior(0.7), LogUniformPrior()]
ALPHAS = np.geomspace(1e-4, 1e4, 81)
# Where the three formulas meet, from both sides.
SEAMS = [s * (1 + d) for s in (0.5, 5.0) for d in (-1e-3, -1e-12, 0.0, 1e-12, 1e-3)]


def integral(x: float) -> float:
    """2∫₀ˣ D by adaptive quadrature, split so that no part is lost in another's error."""
    edges = [0.0, *[e for e in (0.5, 2.0, 8.0, 30.0) if e < x], x]
    pieces = [
        scipy.integrate.quad(scipy.special.dawsn, a, b, epsabs=0, epsrel=1e-12, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return 2 * math.fsum(pieces)


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_log_uniform_kl_agrees_with_quadrature() -> None:
    exact = np.array([integral(1 / math.sqrt(2 * alpha)) for alpha in ALPHAS])
    ours = log_uniform_kl(float64(ALPHAS).log()).numpy()
    np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=0)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-9)


def test_log_uniform_gradient_is_minus_x_times_dawson() -> None:
    log_alpha = float64(ALPHAS).log().requires_grad_()
    (ours,) = torch.autograd.grad(log_uniform_kl(log_alpha).sum(), log_alpha)
    x = 1 / np.sqrt(2 * ALPHAS)
    np.testing.assert_allclose(ours.numpy(), -x * scipy.special.dawsn(x), rtol=1e-9, atol=0)


def test_the_seams_do_not_show() -> None:
    exact = np.array([integral(x) for x in SEAMS])
    np.testing.assert_allclose(dawson_integral(float64(SEAMS)).numpy(), exact, rtol=1e-10)
    exact = scipy.special.dawsn(np.array(SEAMS))
    np.testing.assert_allclose(dawson(float64(SEAMS)).numpy(), exact, rtol=1e-10)


@pytest.mark.parametrize(
    ("alpha", "value"), [(0.1, 1.7241378), (0.5, 0.7394416), (1, 0.4266856), (5, 0.0967537)]
)
def test_log_uniform_values_of_record(alpha: float, value: float) -> None:
    assert log_uniform_kl(float64(alpha).log()).item() == pytest.approx(value, abs=5e-8)
    kl = LogUniformPrior().kl(float64([2.0]), float64([4 * alpha]))
    assert kl.item() == pytest.approx(value, abs=5e-8)


@pytest.mark.parametrize(("alpha", "slope"), [(1.0, -0.3623892), (0.1, -0.5785254)])
def test_log_uniform_slopes_of_record(alpha: float, slope: float) -> None:
    at = float64(math.log(alpha))
    assert torch.func.grad(log_uniform_kl)(at).item() == pytest.approx(slope, abs=5e-8)


def test_gaussian_kl_is_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    scale = torch.rand(5, 4, generator=generator, dtype=torch.float64) + 0.01
    prior = torch.distributions.Normal(torch.zeros_like(mean), math.sqrt(0.7))
    q = torch.distributions.Normal(mean, scale)
    exact = torch.distributions.kl_divergence(q, prior).sum()
    torch.testing.assert_close(GaussianPrior(0.7).kl(mean, scale.square()), exact)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_kl_is_summed_over_weights(prior: Prior) -> None:
    mean, variance = float64([[0.5, -2.0, 0.1]]), float64([[0.3, 0.01, 4.0]])
    parts = [prior.kl(m, v) for m, v in zip(mean.ravel(), variance.ravel(), strict=True)]
    kl = prior.kl(mean, variance)
    assert kl.shape == ()
    torch.testing.assert_close(kl, torch.stack(parts).sum())
    torch.testing.assert_close(prior.kl(mean.repeat(3, 1), variance.repeat(3, 1)), 3 * kl)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_gradients_are_those_of_finite_differences(prior: Prior) -> None:
    mean = float64([0.0, 0.5, -2.0, 0.1, 3.0]).requires_grad_()
    variance = float64([0.5, 0.3, 0.01, 4.0, 0.2]).requires_grad_()
    assert torch.autograd.gradcheck(prior.kl, (mean, variance))
    assert torch.autograd.gradgradcheck(prior.kl, (mean, variance))


def test_gradient_in_log_alpha_is_that_of_finite_differences() -> None:
    log_alpha = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_uniform_kl, log_alpha)
    assert torch.autograd.gradgradcheck(log_uniform_kl, log_alpha)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_works_under_torch_func(prior: Prior) -> None:
    mean = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(4, 3)
    variance = torch.linspace(0.05, 3, 12, dtype=torch.float64).reshape(4, 3)
    both: Callable[..., tuple[Tensor, Tensor]] = torch.func.grad(prior.kl, argnums=(0, 1))
    batched = torch.func.vmap(both)(mean, variance)
    rows = [both(m, v) for m, v in zip(mean, variance, strict=True)]
    for ours, exact in zip(batched, zip(*rows, strict=True), strict=True):
        torch.testing.assert_close(ours, torch.stack(list(exact)))


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_float32_agrees_with_float64(prior: Prior) -> None:
    for alpha in ALPHAS:
        mean, variance = float64([1.3]), float64([1.3**2 * alpha])
        narrow = prior.kl(mean.float(), variance.float())
        assert narrow.dtype == torch.float32
        assert narrow.item() == pytest.approx(prior.kl(mean, variance).item(), rel=1e-4)


def test_log_uniform_kl_keeps_shape_and_dtype() -> None:
    at = torch.linspace(-9, 9, 6).reshape(2, 3)
    ours = log_uniform_kl(at)
    assert (ours.shape, ours.dtype) == (at.shape, torch.float32)
    torch.testing.assert_close(ours.double(), log_uniform_kl(at.double()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [0.0, -0.0, 1e-30, -1.0, 1e15])
@pytest.mark.parametrize("log_variance", [-1000.0, -100.0, -80.0, 0.0, 80.0])
def test_extremes_are_finite(
    prior: Prior, dtype: torch.dtype, mean: float, log_variance: float
) -> None:
    at = torch.tensor(mean, dtype=dtype, requires_grad=True)
    scale = torch.tensor(log_variance, dtype=dtype, requires_grad=True)
    kl = prior.kl(at, scale.exp())
    slopes = torch.autograd.grad(kl, (at, scale))
    assert all(tensor.isfinite() for tensor in (kl, *slopes)), (kl, slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_uniform_kl_at_the_ends_of_log_alpha(dtype: torch.dtype) -> None:
    ends = torch.tensor([-math.inf, -1e30, -2000, -999, 999, 1e30, math.inf], dtype=dtype)
    ends.requires_grad_()
    kl = log_uniform_kl(ends)
    (slope,) = torch.autograd.grad(kl.sum(), ends)
    assert slope.tolist() == pytest.approx([-0.5] * 4 + [0.0] * 3)
    # −½ ln α + ½ γ + ½ ln 2, as x = 1/√(2α) → ∞.
    constant = 0.5 * (float(np.euler_gamma) + math.log(2))
    assert kl[2:4].tolist() == pytest.approx([1000 + constant, 499.5 + constant])
    assert kl[0] == math.inf
    assert kl[4:].tolist() == [0.0] * 3


def test_log_uniform_at_mean_zero_is_its_minimum() -> None:
    kl = LogUniformPrior().kl
    zero, variance = float64([0.0]), float64([0.3])
    assert kl(zero, variance).item() == 0
    assert torch.func.grad(kl, argnums=(0, 1))(zero, variance) == (0, 0)
    # KL = x² + O(x⁴) = μ²/(2σ²), so its curvature in μ is 1/σ².
    curvature = torch.func.grad(lambda mean: torch.func.grad(kl)(mean, variance).sum())(zero)
    assert curvature.item() == pytest.approx(1 / 0.3)


@pytest.mark.parametrize(
    "function",
    [
        *(lambda x, prior=prior: prior.kl(x, x) for prior in PRIORS),
        log_uniform_kl,
        lambda x: dawson(x.double()).float(),  # all that is in the backward pass
    ],
    ids=["gaussian", "log-uniform", "log_uniform_kl", "dawson"],
)
def test_stays_on_the_device_it_is_given(function: Callable[[Tensor], Tensor]) -> None:
    # Forward only: autograd on a fake CUDA tensor aborts the process where torch has no CUDA.
    with FakeTensorMode(), torch.no_grad():
        ours = function(torch.empty(3, 2, device="cuda"))
    assert (ours.device.type, ours.dtype) == ("cuda", torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_gpu_agrees_with_cpu(prior: Prior) -> None:
    mean = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    variance = torch.logspace(-4, 4, 1001, dtype=torch.float64)
    ours = prior.kl(mean.cuda(), variance.cuda())
    torch.testing.assert_close(ours.cpu(), prior.kl(mean, variance), rtol=1e-12, atol=0)


def test_from_spec_builds_the_priors() -> None:
    assert from_spec("log-uniform") == LogUniformPrior()
    assert from_spec({"kind": "log-uniform"}) == LogUniformPrior()
    assert from_spec({"kind": "gaussian", "variance": 2}) == GaussianPrior(2)
    assert from_spec("gaussian") == GaussianPrior(1.0)
    assert all(isinstance(copy.copy(prior), Prior) for prior in PRIORS)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gausian", "prior 'gausian' is unknown. Did you mean 'gaussian'?"),
        ({"kind": "loguniform"}, "Did you mean 'log-uniform'?"),
        ({"kind": "gaussian", "varience": 1.0}, "'varience'. Did you mean 'variance'?"),
        (
            {"kind": "log-uniform", "variance": 1.0},
            "prior 'log-uniform' has no option 'variance'. It has none.",
        ),
        ({"kind": "gaussian", "variance": 0}, "'variance' is 0, expected a positive number"),
        ({"kind": "gaussian", "variance": math.nan}, "expected a positive number"),
        ({"kind": "gaussian", "variance": math.inf}, "expected a positive number"),
        ({"kind": "gaussian", "variance": True}, "expected a positive number"),
        ({"kind": "gaussian", "variance": "1"}, "'variance' is '1', expected a positive number"),
        ({"variance": 1.0}, "under 'kind'"),
        (["gaussian"], "expected a name or a mapping"),
        (None, "expected a name or a mapping"),
    ],
)
def test_from_spec_refuses_in_one_sentence(spec: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        from_spec(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
