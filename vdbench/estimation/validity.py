"""Which posteriors an estimator is valid for: the others are refused before a gradient is taken."""

from __future__ import annotations

from vdbench.errors import CellError
from vdbench.estimation import registry
from vdbench.estimation.base import LEARNED_BINARY, Declaration, Estimator, Wrapper
from vdbench.noise import POSTERIOR
from vdbench.problems.problem import Problem


def need_posterior(estimator: Estimator, problem: Problem) -> None:
    """Refuse a problem whose posterior an estimator is not derived for; `Pathwise` calls it before each draw.

    Args:
        estimator: With its declaration of the posteriors that it is valid for.
        problem: With its posterior.

    Raises:
        CellError: It is derived for independent normal weights, and those of the posterior are not; or it needs noise
            that the outputs share, and the posterior has another; or it passes gradients through draws of masks whose
            law is learned; or it is made for such masks, and there are none.

    Example:
        >>> import vdbench
        >>> from vdbench import problems
        >>> vdbench.need_posterior(vdbench.get("local"), problems.build("mine", "classification", {}))
    """
    declared = estimator.declaration if hasattr(estimator, "declaration") else None
    form = problem.parameterization
    if form.learned_law or (declared is not None and declared.posteriors == LEARNED_BINARY):
        _need_masks(estimator, problem, declared)
        return
    if declared is not None and declared.posteriors == "any":
        return
    if declared is not None and declared.posteriors == "row-shared":
        _need_shared(declared.name, problem)
        return
    if form.law == "none":
        why = "has no noise at all"
    elif form.law != "normal":
        why = f"has {form.law} noise"
    elif form.sharing != "weights":
        why = "has one random number an input feature, which makes the weights of its outputs correlated"
    else:
        return
    name = declared.name if declared else type(estimator).__name__
    raise CellError(
        f"estimator '{name}' is derived for independent normal weights, and the posterior '{form.name}' of problem "
        f"'{problem.name}' {why}; expected an estimator that is valid for every posterior: {', '.join(_general())}."
    )


def _need_shared(name: str, problem: Problem) -> None:
    form = problem.parameterization
    if form.sharing == "inputs" and form.law != "none":
        return
    own = form.law == "normal"
    valid = _general("any", "independent-normal") if own else _general()
    has = "no noise at all" if form.law == "none" else "a random number of its own for every weight"
    raise CellError(
        f"estimator '{name}' masks the inputs of a layer, which samples its weights only where all outputs share the "
        f"noise of an input feature, and the posterior '{form.name}' of problem '{problem.name}' has {has}; expected "
        f"sharing 'inputs' of the posterior, or an estimator that is valid for this one: {', '.join(valid)}."
    )


def _need_masks(estimator: Estimator, problem: Problem, declared: Declaration | None) -> None:
    """The same where the posterior has learned masks, or the estimator is made for them."""
    form = problem.parameterization
    kind = declared.posteriors if declared else "independent-normal"
    if form.learned_law and kind == LEARNED_BINARY:
        return
    if form.learned_law and declared and kind == "any" and POSTERIOR not in declared.laws:
        return  # it takes the moments of q, which are smooth in the logits
    name = declared.name if declared else type(estimator).__name__
    where = f"the posterior '{form.name}' of problem '{problem.name}'"
    if not form.learned_law:
        raise CellError(
            f"estimator '{name}' is made for learned binary masks, and {where} has none; expected the posterior "
            f"'{LEARNED_BINARY}', or an estimator that is valid for every posterior: {', '.join(_general())}."
        )
    why = (
        "passes gradients through draws of the noise, whose law is learned here: in the logits they would be wrong"
        if kind == "any"
        else "is derived for independent normal weights"
    )
    raise CellError(
        f"estimator '{name}' {why}, and {where} has learned binary masks; expected an estimator made for them: "
        f"{', '.join(_general(LEARNED_BINARY))}."
    )


def _general(*posteriors: str) -> list[str]:
    """The registered unbiased estimators of the ELBO that are valid for every posterior, or declare one of these."""
    every = [registry.find(name) for name in registry.names()]
    own = [cls.declared for cls in every if not issubclass(cls, Wrapper)]
    serving = [d for d in own if d.objective == "elbo" and d.unbiased]
    return [d.name for d in serving if d.posteriors in (posteriors or ("any",))]
