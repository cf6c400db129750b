"""Every family of noise against its law: moments of draws, and the KL against draws of log q − log p.

The tests that hold of a family must fail of the families that are wrong (`noise_families.WRONG`).
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from noise_families import REFERENCES, WRONG, Reference, Rows, moved, wrong
from scipy.special import ndtri

from vdbench.errors import InputError
from vdbench.noise import Key, antithetic, stream
from vdbench.problems import kl, priors
from vdbench.problems.gaussian import PARAMETERIZATIONS, from_spec
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.structure import Correlated

SHAPE = (2, 3)
DRAWS = 40_000
FALSE_ALARM = 1e-5
"""Family-wise, of each test."""

every = pytest.mark.parametrize("family", REFERENCES)


def law(reference: Reference, seed: int = 1) -> tuple[Posterior, dict[str, torch.Tensor]]:
    at = moved(reference.form, SHAPE, seed)
    return reference.form.gaussian(at), at


def drawn(q: Posterior, what: str) -> Rows:
    z = q.draw(stream(Key(("laws", what)), dtype=torch.float64), "layer", examples=DRAWS)
    return np.asarray(q.weights(z).flatten(1))


def compare(what: str, rows: Rows, truth: Rows) -> None:
    """Means of columns within so many standard errors that all of them pass but for `FALSE_ALARM`."""
    error = rows.std(0) / math.sqrt(len(rows))
    z = (rows.mean(0) - truth) / np.maximum(error, 1e-12)
    limit = -float(ndtri(FALSE_ALARM / (2 * len(z))))
    worst = int(np.abs(z).argmax())
    assert abs(z[worst]) < limit, (
        f"{what}[{worst}]: mean {rows.mean(0)[worst]:.5g} ± {error[worst]:.2g}, expected {truth[worst]:.5g}: "
        f"{z[worst]:.1f} standard errors, allowed {limit:.1f}"
    )


def moments(reference: Reference) -> None:
    """Mean, and all covariances, of weights that are drawn; and what q says of each weight's variance."""
    q, at = law(reference)
    rows = drawn(q, "moments") - at["mean"].flatten().numpy()
    covariance = reference.covariance(at).numpy()
    compare("mean", rows, np.zeros(rows.shape[1]))
    pairs = np.triu_indices(rows.shape[1])
    compare("covariance", rows[:, pairs[0]] * rows[:, pairs[1]], covariance[pairs])
    np.testing.assert_allclose(q.variance.flatten(), covariance.diagonal(), rtol=1e-12)
    np.testing.assert_allclose(q.scale.square().flatten(), covariance.diagonal(), rtol=1e-12)


def fourth(reference: Reference) -> None:
    """E[z_i² z_j²] of the noise with its covariance taken off."""
    q, at = law(reference)
    root = np.linalg.cholesky(reference.covariance(at).numpy())
    z = np.linalg.solve(root, (drawn(q, "fourth") - at["mean"].flatten().numpy()).T).T
    pairs = np.triu_indices(z.shape[1])
    compare("fourth", (z[:, pairs[0]] * z[:, pairs[1]]) ** 2, reference.fourth(z.shape[1])[pairs])


def divergence(reference: Reference) -> None:
    """The KL from N(0, s²) against the mean of log q − log p over draws of q."""
    q, at = law(reference)
    prior = priors.GaussianPrior(0.7)
    rows = drawn(q, "kl")
    log_p = -0.5 * (rows**2 / 0.7 + math.log(2 * math.pi * 0.7)).sum(1)
    ratio = reference.log_density(at, rows) - log_p
    compare("KL", ratio[:, None], np.array([float(kl.term(prior, q))]))


TESTS = {"moments": moments, "fourth": fourth, "kl": divergence}


@every
@pytest.mark.parametrize("test", TESTS)
def test_a_family_has_its_law(family: str, test: str) -> None:
    TESTS[test](REFERENCES[family])


@pytest.mark.parametrize("name", WRONG)
def test_a_family_that_is_wrong_is_seen(name: str) -> None:
    reference, test = wrong(name)
    with pytest.raises(AssertionError):
        TESTS[test](reference)


def test_two_wrong_ones_of_each_family() -> None:
    assert all(sum(f == family for f, _, _ in WRONG.values()) >= 2 for family in REFERENCES)
    new = {n for n, cls in PARAMETERIZATIONS.items() if cls.__module__.split(".")[-2] == "families"}
    assert new == set(REFERENCES)


@every
def test_the_kl_s_gradient(family: str) -> None:
    """By finite differences in every coordinate: nothing of it is detached."""
    reference = REFERENCES[family]
    at = moved(reference.form, SHAPE, 2)

    def value(*values: torch.Tensor) -> torch.Tensor:
        q = reference.form.gaussian(dict(zip(at, values, strict=True)))
        return kl.term(priors.GaussianPrior(0.7), q)

    assert torch.autograd.gradcheck(value, [v.clone().requires_grad_() for v in at.values()])


@every
def test_the_weights_of_the_negative_noise_are_reflected_at_the_mean(family: str) -> None:
    """What antithetic pairs need: z is odd in the normal numbers that it takes."""
    q, at = law(REFERENCES[family])
    one, other = antithetic(stream(Key(("odd",)), dtype=torch.float64))
    pair = [q.weights(q.draw(noise, "layer")) for noise in (one, other)]
    torch.testing.assert_close((pair[0] + pair[1]) / 2, at["mean"], rtol=1e-12, atol=1e-12)
    assert not torch.isclose(pair[0], pair[1]).any()


@every
def test_draws_together_are_draws_apart(family: str) -> None:
    """Weights at noise with leading dimensions are those of each row."""
    q, _ = law(REFERENCES[family])
    z = q.draw(stream(Key(("lead",)), dtype=torch.float64), "layer", examples=4)
    apart = torch.stack([q.weights(row) for row in z])
    torch.testing.assert_close(q.weights(z), apart, rtol=1e-12, atol=1e-12)


@every
def test_the_spread_of_pre_activations(family: str) -> None:
    """Variance of each, from the weights' covariances; of correlated weights samples without weights have it too."""
    reference = REFERENCES[family]
    q, at = law(reference)
    x = stream(Key(("x",)), dtype=torch.float64)("x", (4, 3))
    x[1] = 0
    covariance = reference.covariance(at).reshape(*SHAPE, *SHAPE)
    joint = torch.einsum("mi,jikl,ml->mjk", x, covariance, x)
    layer = Layer("a", SHAPE)
    torch.testing.assert_close(q.spread(layer, x), joint.diagonal(dim1=1, dim2=2))
    if isinstance(q.structure, Correlated):
        many = x.expand(10_000, *x.shape)
        noise = stream(Key(("spread",)), dtype=torch.float64)
        b = np.asarray(q.structure.preactivations(layer, many, noise))
        compare("pre-activations", b.reshape(len(b), -1), np.zeros(8))
        products = np.einsum("nmj,nmk->nmjk", b, b).reshape(len(b), -1)
        compare("their covariance", products, joint.numpy().ravel())


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_starts_at_its_sigma(family: str, dtype: torch.dtype) -> None:
    """With finite noise, also at the edges of normal numbers in float32; and on kernels of convolutions."""
    form = from_spec({"kind": family, "sigma": 0.05})
    for shape in ((8, 5), (6, 2, 3, 3)):
        weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        q = form.gaussian(form.initial(weight))
        assert q.mean is not weight
        torch.testing.assert_close(q.mean, weight)
        mean_square = float(q.variance.double().mean()) ** 0.5
        assert mean_square == pytest.approx(0.05, rel=0.02), family
        assert torch.isfinite(q.weights(torch.zeros(q.noise_shape, dtype=dtype))).all()
        assert q.weights(q.draw(stream(Key(), dtype=dtype), "a")).shape == shape
        assert torch.isfinite(kl.term(priors.GaussianPrior(), q))


@pytest.mark.parametrize("bound", [0.0, 0.1001, 1.5, 4.4999])
def test_bounds_hold_in_float32(bound: float) -> None:
    from vdbench.problems.families.bounded import Interval

    z = Interval(bound).draw(lambda name, shape: torch.linspace(-9, 9, 10_001), "a", (10_001,), ())  # type: ignore[arg-type]
    limit = math.sqrt(3) if bound == 0 else bound / math.sqrt(Interval(bound).variance)
    assert torch.isfinite(z).all()
    # the inverse error function of float32 is good to four digits there
    assert float(z.abs().max()) <= limit * (1 + 2e-4)
    assert bool((z.diff() >= 0).all())


def test_narrow_bounds_are_uniform() -> None:
    """The laws meet: variance 1/3 of c², and the same entropy."""
    from vdbench.problems.families.bounded import Interval

    cut, flat = Interval(0.1001), Interval(0.0)
    assert cut.variance / 0.1001**2 == pytest.approx(1 / 3, rel=1e-2)
    one = torch.ones(1)
    assert float(cut.entropy(one)) == pytest.approx(float(flat.entropy(one)), abs=1e-3)


def test_factors_that_are_alike_have_a_kl_in_float32() -> None:
    at = {
        n: v.float()
        for n, v in REFERENCES["low-rank-plus-diagonal"].form.initial(torch.randn(8, 9)).items()
    }
    at["factors"][1] = at["factors"][0] * (1 + 1e-7)
    at["log_variance"] -= 16
    form = REFERENCES["low-rank-plus-diagonal"].form
    narrow, wide = (
        kl.term(priors.GaussianPrior(), form.gaussian({n: v.to(d) for n, v in at.items()}))
        for d in (torch.float32, torch.float64)
    )
    assert float(narrow) == pytest.approx(float(wide), rel=1e-5)


MESSAGES = {
    "sigma": (
        {"kind": "matrix-normal", "sigma": 0},
        "sigma of the posterior must be a finite number above 0, not 0.",
    ),
    "rank": (
        {"kind": "low-rank-scale", "rank": 0},
        "rank of the posterior must be a whole number of at least 1, not 0.",
    ),
    "bound": (
        {"kind": "truncated-normal", "bound": 9},
        "bound of the posterior must be a finite number above 0.1 and below 4.5, not 9.",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_options_are_refused(name: str) -> None:
    spec, message = MESSAGES[name]
    with pytest.raises(InputError, match=re.escape(message)):
        from_spec(spec)


@pytest.mark.parametrize("family", [f for f in REFERENCES if f != "low-rank-scale"])
def test_other_priors_are_refused(family: str) -> None:
    message = (
        f"problem 'p': the posterior '{family}' has a KL in closed form from a gaussian prior alone, not from "
        "'log-uniform'; expected the prior gaussian or none."
    )
    with pytest.raises(InputError, match=re.escape(message)):
        kl.refuse(priors.LogUniformPrior(), REFERENCES[family].form, "p")
    kl.refuse(priors.NoPrior(), REFERENCES[family].form, "p")
