"""Which posteriors an estimator is valid for: the others are refused before a gradient is taken."""

from __future__ import annotations

from vdbench.errors import CellError
from vdbench.estimation import registry
from vdbench.estimation.base import LEARNED_BINARY, Declaration, Estimator, Wrapper
from vdbench.noise import POSTERIOR
from vdbench.problems.layers import Layer
from vdbench.problems.parameterization import Parameterization
from vdbench.problems.problem import Problem


def need_posterior(estimator: Estimator, problem: Problem) -> None:
    """Refuse a problem whose posterior an estimator is not derived for; `Pathwise` calls it before each draw.

    Args:
        estimator: With its declaration of the posteriors that it is valid for.
        problem: With its posterior.

    Raises:
        CellError: It is derived for independent normal weights, and those of the posterior are not; or for a noise that
            keeps its law when signs change, or for normal pre-activations, and the posterior has neither; or it needs
            noise that the outputs share, and the posterior has another; or it passes gradients through draws of masks
            whose law is learned; or it is made for such masks, and there are none; or it refuses the problem by
            itself.

    Example:
        >>> import vdbench
        >>> from vdbench import problems
        >>> vdbench.need_posterior(vdbench.get("local"), problems.build("mine", "classification", {}))
    """
    estimator.need_problem(problem)
    declared = estimator.declaration if hasattr(estimator, "declaration") else None
    form = problem.parameterization
    if form.learned_law or (declared is not None and declared.posteriors == LEARNED_BINARY):
        _need_masks(estimator, problem, declared)
        return
    if declared is not None and form.correlated:
        _need_dense(declared, problem)
    if declared is not None and declared.posteriors == "any":
        return
    if declared is not None and declared.posteriors == "row-shared":
        _need_shared(declared.name, problem)
        return
    kind = declared.posteriors if declared else "independent-normal"
    if _holds(kind, form):
        return
    name = declared.name if declared else type(estimator).__name__
    every = _general(*valid_for(form))
    raise CellError(
        f"estimator '{name}' is derived for {DERIVED[kind]}, and the posterior '{form.name}' of problem "
        f"'{problem.name}' {_has(form)}; expected an estimator that is valid for "
        f"{'it' if form.law == 'structured' else 'every posterior'}: {', '.join(every)}."
    )


DERIVED = {
    "independent-normal": "independent normal weights",
    "sign-symmetric": "noise that keeps its law when inputs and outputs change sign",
    "normal-preactivations": "weights whose pre-activations are normal",
}
"""By what an estimator declares as ``posteriors``, what it is derived for."""


def valid_for(form: Parameterization) -> tuple[str, ...]:
    """What estimators declare as ``posteriors`` that are valid for one whose noise has a fixed law."""
    return ("any", *(kind for kind in DERIVED if _holds(kind, form)))


def _holds(kind: str, form: Parameterization) -> bool:
    return bool(
        {
            "sign-symmetric": form.sign_symmetric,
            "normal-preactivations": form.normal_preactivations,
        }.get(kind, form.independent_normal)
    )


def _has(form: Parameterization) -> str:
    """What a posterior has in place of independent normal weights."""
    if form.law == "none":
        return "has no noise at all"
    if form.correlated:
        return "has correlated weights"
    if form.law == "structured":
        return f"has {form.name} noise"
    if form.law != "normal":
        return f"has {form.law} noise"
    return (
        "has one random number an input feature, which makes the weights of its outputs correlated"
    )


def _need_dense(declared: Declaration, problem: Problem) -> None:
    """Refuse pre-activations of correlated weights but those of dense layers; and of local's, that are used twice."""
    local = declared.posteriors == "normal-preactivations"
    if not local and (
        declared.posteriors != "any"
        or POSTERIOR in declared.laws
        or declared.objective == "mean-weights"
    ):
        return  # refused anyway, or it needs weights or their means alone
    others = [a.name for a in problem.layers if type(a) is not Layer]
    others += [a for a in problem.shared if local and a not in others]
    if not others and not (local and problem.reused):
        return
    where = f"layer '{others[0]}' is not one" if others else "a layer is called several times"
    once = " that an example meets once" if local else ""
    raise CellError(
        f"estimator '{declared.name}' knows the pre-activations of correlated weights of dense layers{once}, "
        f"and {where} in problem '{problem.name}' with the posterior '{problem.parameterization.name}'; "
        f"expected an estimator that samples weights: {', '.join(_general())}."
    )


def _need_shared(name: str, problem: Problem) -> None:
    form = problem.parameterization
    if form.sharing == "inputs" and form.law != "none":
        return
    valid = _general(*valid_for(form))
    has = "has a random number of its own for every weight"
    has = has if form.law in ("normal", "binary") else _has(form)
    raise CellError(
        f"estimator '{name}' masks the inputs of a layer, which samples its weights only where all outputs share the "
        f"noise of an input feature, and the posterior '{form.name}' of problem '{problem.name}' {has}; expected "
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
    own = [c.declared for c in every if not issubclass(c, Wrapper) and not c.open_options]
    serving = [d for d in own if d.objective == "elbo" and d.unbiased]
    return [d.name for d in serving if d.posteriors in (posteriors or ("any",))]
