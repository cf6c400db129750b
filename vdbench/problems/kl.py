"""The term that a prior adds to the objective, for every family of noise, in nats.

| posterior | Gaussian prior | log-uniform prior | none | Bernoulli prior |
|---|---|---|---|---|
| independent normal weights | KL(q ‖ prior) | KL(q ‖ prior), up to a constant | 0 | refused |
| normal noise of input features | refused | KL of q(ξ_i) = N(1, α_i), one for each feature | 0 | refused |
| binary noise, or none | −log N(E[W]; 0, s²): weight decay | 0, a constant | 0 | refused |
| learned binary masks | refused | refused | 0 | KL of the masks, one for each feature |
| uniform, truncated, radial, correlated | KL(q ‖ prior) | refused | 0 | refused |

Noise that outputs share leaves the weights of an input feature on a line through 0: against a density over weights such
a q has an infinite KL, so a Gaussian prior is refused. The log-uniform prior is then one over the scale of that
line (Kingma, Salimans & Welling 2015, section 3.2). A binary q, or one without noise, has no density either;
with a Gaussian prior it gets weight decay, as such networks are trained: minus the log-density of the mean weights, its
constant included. That is a term of the log-posterior, and no KL. Learned masks have a KL from a prior over masks;
θ has no prior then. The families in `vdbench.problems.families` that are not independent normal have their KL by
entropy and two moments (`vdbench.problems.structure`).
"""

from __future__ import annotations

import math

from torch import Tensor

from vdbench.errors import InputError
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.posterior import Posterior
from vdbench.problems.priors import BernoulliPrior, GaussianPrior, LogUniformPrior, NoPrior, Prior


def term(prior: Prior, q: Posterior) -> Tensor:
    """What the prior takes from the lower bound for one layer, a scalar; see the head of this module."""
    if isinstance(prior, NoPrior):
        return q.mean.new_zeros(())
    if q.log_alpha is not None and isinstance(prior, BernoulliPrior):
        share = (
            math.prod(q.noise_shape) / q.log_alpha.numel()
        )  # numbers of a mask that share a logit
        return share * prior.kl_logit(-q.log_alpha).sum()
    if q.structure is not None and isinstance(prior, GaussianPrior):
        return prior.cross_entropy(q.mean, q.variance) - q.structure.entropy(q.scale)
    if q.law != "normal":
        if isinstance(prior, GaussianPrior):
            return prior.decay(q.mean)
        return q.mean.new_zeros(())
    if q.log_alpha is not None and isinstance(prior, LogUniformPrior):
        # depends on α alone: exact also where θ is 0, and one evaluation serves all that share α
        share = math.prod(q.noise_shape) / q.log_alpha.numel()
        return share * prior.kl_alpha(q.log_alpha).sum()
    return prior.kl(q.mean, q.variance)


def refuse(prior: Prior, form: Parameterization, name: str) -> None:
    """Refuse a prior from which the posterior has no finite divergence.

    Args:
        prior: The prior.
        form: The posterior's coordinates.
        name: The problem's.

    Raises:
        InputError: It has none, with the reason.
    """
    known = "log-uniform or none" + (
        "" if form.law == "normal" else ", or gaussian for weight decay"
    )
    if isinstance(prior, NoPrior):
        return
    if isinstance(prior, BernoulliPrior) != form.learned_law:
        learned = form.learned_law
        raise InputError(
            f"problem '{name}': the prior '{prior}' is one of {'weights' if learned else 'learned masks'}, and the "
            f"posterior '{form.name}' is one of {'masks' if learned else 'weights'}; expected the prior "
            f"{'bernoulli or none' if learned else 'gaussian, log-uniform or none'}."
        )
    if form.law == "structured" and not isinstance(prior, GaussianPrior):
        raise InputError(
            f"problem '{name}': the posterior '{form.name}' has a KL in closed form from a gaussian prior alone, not "
            f"from '{prior}'; expected the prior gaussian or none."
        )
    if form.law == "structured" or isinstance(prior, LogUniformPrior | BernoulliPrior):
        return
    if form.law != "normal":
        if isinstance(prior, GaussianPrior):
            return
        why = "has no density over the weights"
    elif form.sharing == "inputs":
        why = "has one random number an input feature, so its weights lie on a line"
    else:
        return
    raise InputError(
        f"problem '{name}': the KL from prior '{prior}' is infinite, since the posterior '{form.name}' {why}; "
        f"expected the prior {known}."
    )
