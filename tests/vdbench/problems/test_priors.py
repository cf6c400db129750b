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

from vdbench.errors import InputError
from vdbench.problems import classification
from vdbench.problems.dawson import dawson, dawson_integral
from vdbench.problems.gaussian import ThetaLogAlpha
from vdbench.problems.identity import fingerprint
from vdbench.problems.priors import GaussianPrior, LogUniformPrior, Prior, from_spec
from vdbench.problems.problem import Problem

FORMS = [LogUniformPrior(), LogUniformPrior("kingma"), LogUniformPrior("molchanov")]
EXACT, KINGMA, MOLCHANOV = FORMS
PRIORS: list[Prior] = [GaussianPrior(0.7), *FORMS]
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


SMALL_ALPHA = 0.5 * (float(np.euler_gamma) + math.log(2))
"""Constant of the exact KL beside −½ ln α as α → 0, where x = 1/√(2α) → ∞."""


def float64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_exact_kl_agrees_with_quadrature() -> None:
    exact = np.array([integral(1 / math.sqrt(2 * alpha)) for alpha in ALPHAS])
    ours = EXACT.kl_alpha(float64(ALPHAS).log()).numpy()
    np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=0)
    np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 0.1, 0.5, 1.0, 5.0, 1e2, 1e4])
def test_exact_kl_is_the_divergence_it_is_named_for(alpha: float) -> None:
    # KL = E ln q(w) − E ln p(w) with p(w) ∝ 1/|w| and w = 1 + √α ε: −½ ln α + E ln|1 + √α ε| and a
    # constant; at α = ∞ the rest is E ln|ε| = −½(γ + ln 2). The integrand is singular at w = 0.
    def integrand(noise: float) -> float:
        weight = abs(1 + math.sqrt(alpha) * noise)
        # the limit, as an edge of the pieces is met by rounding alone
        return math.exp(-0.5 * noise**2) * math.log(weight) if weight else 0.0

    zero = -1 / math.sqrt(alpha)
    edges = sorted({-12.0, -4.0, 0.0, 4.0, 12.0} | ({zero} if zero > -12 else set()))
    pieces = [
        scipy.integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-13, limit=500)[0]
        for a, b in itertools.pairwise(edges)
    ]
    expected = math.fsum(pieces) / math.sqrt(2 * math.pi) - 0.5 * math.log(alpha) + SMALL_ALPHA
    ours = EXACT.kl_alpha(float64(alpha).log()).item()
    assert abs(ours - expected) < 1e-9, f"alpha {alpha}: {ours!r}, by quadrature {expected!r}"


def dawson_by_quadrature(x: float) -> float:
    """D(x) = ∫₀ˣ e^(s² − 2xs) ds, its definition with t = x − s; split where the integrand falls."""
    edges = [0.0, *[e / x for e in (1.0, 4.0, 16.0) if e / x < x], x]
    pieces = [
        scipy.integrate.quad(lambda s: math.exp(s * (s - 2 * x)), a, b, epsabs=1e-16, epsrel=1e-12)
        for a, b in itertools.pairwise(edges)
    ]
    return math.fsum(piece[0] for piece in pieces)


def test_exact_gradient_agrees_with_quadrature() -> None:
    log_alpha = float64(ALPHAS).log().requires_grad_()
    (ours,) = torch.autograd.grad(EXACT.kl_alpha(log_alpha).sum(), log_alpha)
    x = 1 / np.sqrt(2 * ALPHAS)
    np.testing.assert_allclose(ours.numpy(), -x * scipy.special.dawsn(x), rtol=1e-9, atol=0)
    slopes = np.array([-at * dawson_by_quadrature(at) for at in x])
    np.testing.assert_allclose(ours.numpy(), slopes, rtol=1e-9, atol=0)


def test_the_seams_do_not_show() -> None:
    exact = np.array([integral(x) for x in SEAMS])
    np.testing.assert_allclose(dawson_integral(float64(SEAMS)).numpy(), exact, rtol=1e-10)
    exact = scipy.special.dawsn(np.array(SEAMS))
    np.testing.assert_allclose(dawson(float64(SEAMS)).numpy(), exact, rtol=1e-10)


@pytest.mark.parametrize(
    ("alpha", "value"), [(0.1, 1.7241378), (0.5, 0.7394416), (1, 0.4266856), (5, 0.0967537)]
)
def test_log_uniform_values_of_record(alpha: float, value: float) -> None:
    assert EXACT.kl_alpha(float64(alpha).log()).item() == pytest.approx(value, abs=5e-8)
    kl = LogUniformPrior().kl(float64([2.0]), float64([4 * alpha]))
    assert kl.item() == pytest.approx(value, abs=5e-8)


@pytest.mark.parametrize(("alpha", "slope"), [(1.0, -0.3623892), (0.1, -0.5785254)])
def test_log_uniform_slopes_of_record(alpha: float, slope: float) -> None:
    at = float64(math.log(alpha))
    assert torch.func.grad(EXACT.kl_alpha)(at).item() == pytest.approx(slope, abs=5e-8)


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


@pytest.mark.parametrize("prior", FORMS, ids=str)
def test_gradient_in_log_alpha_is_that_of_finite_differences(prior: LogUniformPrior) -> None:
    at = torch.linspace(-6, 6, 24, dtype=torch.float64, requires_grad=True)  # 0 is the cubic's kink
    assert torch.autograd.gradcheck(prior.kl_alpha, at)
    assert torch.autograd.gradgradcheck(prior.kl_alpha, at)


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


@pytest.mark.parametrize("prior", FORMS, ids=str)
def test_float32_of_log_alpha_agrees_with_float64(prior: LogUniformPrior) -> None:
    at = float64(ALPHAS).log().float().reshape(3, 27)
    slope = torch.func.grad(lambda log_alpha: prior.kl_alpha(log_alpha).sum())
    for function in (prior.kl_alpha, slope):
        ours = function(at)
        assert (ours.shape, ours.dtype) == (at.shape, torch.float32)
        torch.testing.assert_close(ours.double(), function(at.double()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("prior", FORMS, ids=str)
def test_log_alpha_goes_through_vmap(prior: LogUniformPrior) -> None:
    at = torch.linspace(-9, 9, 8, dtype=torch.float64).reshape(4, 2)
    slope = torch.func.grad(lambda log_alpha: prior.kl_alpha(log_alpha).sum())
    torch.testing.assert_close(torch.func.vmap(slope)(at), slope(at))
    torch.testing.assert_close(torch.func.vmap(prior.kl_alpha)(at), prior.kl_alpha(at))


@pytest.mark.parametrize("prior", FORMS, ids=str)
def test_both_coordinates_give_one_kl(prior: LogUniformPrior) -> None:
    log_alpha, theta = float64(ALPHAS).log(), torch.linspace(-3, 3, 81, dtype=torch.float64) + 0.01
    pairs = prior.kl(theta, log_alpha.exp() * theta.square())
    torch.testing.assert_close(pairs, prior.kl_alpha(log_alpha).sum(), rtol=1e-11, atol=0)


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


@pytest.mark.parametrize("prior", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_of_log_alpha(prior: LogUniformPrior, dtype: torch.dtype) -> None:
    ends = torch.tensor(
        [-math.inf, -1e30, -2000, -1000, -999, 999, 1000, 1e30, math.inf], dtype=dtype
    )
    ends.requires_grad_()
    kl = prior.kl_alpha(ends)
    (slope,) = torch.autograd.grad(kl.sum(), ends)
    assert slope.tolist() == pytest.approx([-0.5] * 5 + [0.0] * 4)
    # −½ ln α and a constant, as α → 0: that of the exact KL, c, and what the fits have for it
    c = {EXACT: SMALL_ALPHA, KINGMA: 0.6723948753645297, MOLCHANOV: 0.63576}[prior]
    assert kl[2:5].tolist() == pytest.approx([1000 + c, 500 + c, 499.5 + c])
    assert kl[0] == math.inf
    end = EXACT.kl_alpha(float64(0.0)).item() if prior == KINGMA else 0.0
    assert kl[5:].tolist() == pytest.approx([end] * 4)


@pytest.mark.parametrize("prior", [EXACT, MOLCHANOV], ids=str)
def test_log_uniform_at_mean_zero_is_its_minimum(prior: LogUniformPrior) -> None:
    kl = prior.kl
    zero, variance = float64([0.0]), float64([0.3])
    assert kl(zero, variance).item() == 0
    assert torch.func.grad(kl, argnums=(0, 1))(zero, variance) == (0, 0)
    # KL = x² + o(x²) = μ²/(2σ²), so its curvature in μ is 1/σ².
    curvature = torch.func.grad(lambda mean: torch.func.grad(kl)(mean, variance).sum())(zero)
    assert curvature.item() == pytest.approx(1 / 0.3)


def test_molchanov_is_the_published_fit() -> None:
    alpha = np.geomspace(1e-6, 1e6, 2001)
    k1, k2, k3 = 0.63576, 1.8732, 1.48695
    minus = k1 * scipy.special.expit(k2 + k3 * np.log(alpha)) - 0.5 * np.log1p(1 / alpha) - k1
    ours = MOLCHANOV.kl_alpha(float64(alpha).log()).numpy()
    np.testing.assert_allclose(ours, -minus, rtol=1e-9, atol=1e-14)
    error = np.abs(ours - EXACT.kl_alpha(float64(alpha).log()).numpy())
    assert 0.0093 < error.max() < 0.0094
    assert 0.028 < alpha[error.argmax()] < 0.032


def test_kingma_is_the_published_cubic_aligned_at_its_end() -> None:
    alpha = np.geomspace(1e-6, 1, 2001)
    c1, c2, c3 = 1.161451241083230, -1.502041176441722, 0.586299206427007
    published = -(0.5 * np.log(alpha) + c1 * alpha + c2 * alpha**2 + c3 * alpha**3)
    ours = KINGMA.kl_alpha(float64(alpha).log()).numpy()
    exact = EXACT.kl_alpha(float64(alpha).log()).numpy()
    # by the power series of 2∫D at x² = ½
    at_one = 0.5 * math.fsum(
        (-1) ** k / ((k + 1) * math.prod(range(1, 2 * k + 2, 2))) for k in range(20)
    )
    np.testing.assert_allclose(ours, published + at_one + c1 + c2 + c3, rtol=0, atol=1e-12)
    assert ours[-1] == pytest.approx(exact[-1], abs=1e-12)
    error = np.abs(ours - exact)
    assert 0.0054 < error[alpha >= 0.1].max() < 0.0055
    assert error.max() == pytest.approx(at_one + c1 + c2 + c3 - SMALL_ALPHA, abs=2e-6)


def test_kingma_stands_still_beyond_its_domain() -> None:
    log_alpha = float64([-1e-9, 0.0, 1e-9, 0.7, 40.0]).requires_grad_()
    kl = KINGMA.kl_alpha(log_alpha)
    (slope,) = torch.autograd.grad(kl.sum(), log_alpha)
    inside = -(0.5 + 1.161451241083230 - 2 * 1.502041176441722 + 3 * 0.586299206427007)
    # at 1 itself it is that of the cubic: an α held there still feels the prior
    assert slope.tolist() == pytest.approx([inside, inside, 0.0, 0.0, 0.0], rel=1e-6)
    assert kl[1:].tolist() == [kl[1].item()] * 4


def test_outside_finds_the_alphas_beyond_the_domain() -> None:
    assert [prior.largest_alpha for prior in FORMS] == [math.inf, 1.0, math.inf]
    mean = torch.tensor([0.0, 0.1, -0.1, 2.0])
    variance = torch.tensor([0.01, 0.0101, 0.0099, 4.0])
    assert KINGMA.outside(mean, variance).tolist() == [True, True, False, False]
    log_alpha = torch.tensor([0.1, 0.0, -3.0])
    assert KINGMA.outside(mean, variance, log_alpha).tolist() == [True, False, False]
    theta = torch.randn(200, generator=torch.Generator().manual_seed(2))
    assert not KINGMA.outside(theta, theta.square()).any()  # α = 1 for each, whatever the rounding
    for prior in (EXACT, MOLCHANOV):
        assert prior.outside(mean, variance).tolist() == [False] * 4
        assert prior.outside(mean, variance, log_alpha.add(1000)).tolist() == [False] * 3


def dropout(form: str, alpha: float = 0.3) -> Problem:
    """Logistic regression on digits in (θ, log α)."""
    prior = {"kind": "log-uniform", "form": form}
    coordinates = {"kind": "theta-log_alpha", "alpha": alpha}
    return classification(widths=[], parameterization=coordinates, prior=prior)


@pytest.mark.parametrize("prior", FORMS, ids=str)
def test_a_problem_takes_the_form_of_its_prior(prior: LogUniformPrior) -> None:
    problem = dropout(prior.form)
    assert problem.prior == prior
    assert isinstance(problem.parameterization, ThetaLogAlpha)
    start = dict(problem.start)
    theta, log_alpha = (name for name in start if not name.endswith("bias"))
    expected = start[theta].numel() * prior.kl_alpha(start[log_alpha].double())
    torch.testing.assert_close(problem.kl(start).double(), expected.sum(), rtol=1e-6, atol=0)
    start[theta] = torch.zeros_like(start[theta])  # α is what its coordinate says
    assert problem.kl(start) == problem.kl(problem.start)


def test_the_default_form_keeps_its_name_and_others_have_their_own() -> None:
    assert repr(LogUniformPrior()) == repr(LogUniformPrior("exact")) == "LogUniformPrior()"
    assert repr(KINGMA) == "LogUniformPrior(form='kingma')"
    assert [str(p) for p in FORMS] == [
        "log-uniform",
        "log-uniform(form=kingma)",
        "log-uniform(form=molchanov)",
    ]
    assert len({fingerprint(dropout(prior.form)) for prior in FORMS}) == len(FORMS)
    plain = classification(widths=[], parameterization="theta-log_alpha", prior="log-uniform")
    assert fingerprint(dropout("exact", alpha=0.5)) == fingerprint(plain)


@pytest.mark.parametrize(
    "function",
    [
        *(lambda x, prior=prior: prior.kl(x, x) for prior in PRIORS),
        *(prior.kl_alpha for prior in FORMS),
        lambda x: dawson(x.double()).float(),  # all that is in the backward pass
    ],
    ids=[*map(str, PRIORS), *(f"{prior} of log α" for prior in FORMS), "dawson"],
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
    assert [from_spec({"kind": "log-uniform", "form": prior.form}) for prior in FORMS] == FORMS
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
            "prior 'log-uniform' has no option 'variance'. Expected one of: form.",
        ),
        (
            {"kind": "log-uniform", "form": "molchonov"},
            "option 'form' is 'molchonov'. Did you mean 'molchanov'?",
        ),
        (
            {"kind": "log-uniform", "form": ["kingma"]},
            "option 'form' is ['kingma']. Expected one of: exact, kingma, molchanov.",
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
