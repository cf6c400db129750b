"""The headline in sentences: what to use, then the evidence, as far as it was measured."""

from __future__ import annotations

from dataclasses import dataclass

from reports.results.groups import Group
from reports.results.published import matches_of
from reports.results.ranking import EFFICIENCY, VARIANCE, Contest, bounded, contest, ratio
from reports.sections.published import summary as compared
from reports.words.glossary import ROLES, with_respect
from reports.words.numbers import percent, show, show_seconds
from reports.words.training import training_words
from reports.words.verdicts import (
    ADJUSTED,
    basis,
    both,
    brief,
    clause,
    efficiency_basis,
    sizes,
    whom,
)
from vdbench.statistics.verdicts import Verdict

NAMES = {VARIANCE: "variance", EFFICIENCY: "variance × time"}


UNTIMED = " Time was not measured."
DIFFERS = " This differs from the recommendation."


@dataclass(frozen=True)
class Line:
    """One sentence of the headline: what it is about, and what it says."""

    lead: str
    body: str

    @property
    def text(self) -> str:
        """The whole sentence, as plain text."""
        return f"{self.lead}: {self.body}"


def sentences(group: Group) -> list[Line]:
    """Write the headline of a group.

    Args:
        group: The group.

    Returns:
        The answer, then a line on each estimator found biased and on each objective of local noise,
        then one each on variance, on variance × time where that has no clear winner, on
        training, on cost and on published figures; as far as measured.
    """
    lines, leaders = [answer(group), *bias(group), *local_noise(group)], []
    for metric in NAMES:
        found = contests(group, metric)
        leaders += [one.leader for one in found if one.leader]
        if found and (metric == VARIANCE or not winner(found)):
            lines.append(evidence(group, found, metric))
    said, best = training_words(group)
    if said:
        chosen = winner(deciding(group)[1])
        differs = bool(chosen) and any(chosen not in names for names in best)
        lines.append(Line("Training", f"{said}{DIFFERS if differs else ''}"))
    lines += cost(group, list(dict.fromkeys(leaders)) or None)
    matches = matches_of(group)
    return lines + ([Line("Published results", compared(matches))] if matches else [])


def bias(group: Group) -> list[Line]:
    """Say which estimators declare themselves unbiased but are not, a line each."""
    lines = []
    level = percent(group.run.level)
    for label in group.labels:
        found = group.biases(label)
        said = both(f"{show(e, 0)} {with_respect(role)}" for role, e in found.items())
        if said:
            text = f"{label} is declared unbiased, but its relative bias against "
            text += f"{group.reference or 'the reference'} is {said}. It is therefore not ranked"
            lines.append(Line("Bias", f"{text} ({level}, {ADJUSTED})."))
    return lines


def local_noise(group: Group) -> list[Line]:
    """Say which estimators estimate another objective here than on dense layers, a line an objective."""
    served: dict[str, list[str]] = {}
    for label, objective in group.local_noise().items():
        served.setdefault(objective, []).append(label)
    shared = [str(layer) for layer in group.described.get("shared") or []]
    where = f"layer{'s' if len(shared) > 1 else ''} {both(shared)}"
    return [
        Line(
            "Different objective",
            f"the weights of {where} are used at several positions of each example, as in a convolution, and "
            f"{both(labels)} {'draws' if len(labels) == 1 else 'draw'} separate noise for each position. "
            f"The gradient is therefore that of another objective ({objective} instead of "
            f"{group.declared(labels[0]).get('objective')}). A difference from the mean of other estimators is not a "
            "bias, and the variance is ranked only among estimators of that objective.",
        )
        for objective, labels in served.items()
    ]


def contests(group: Group, metric: str) -> list[Contest]:
    """Return the outcome in each role; none where the metric was not measured in any."""
    found = [contest(group, metric, role) for role in group.headline_roles()]
    return found if any(one.leader for one in found) else []


def deciding(group: Group) -> tuple[str, list[Contest]]:
    """Return the metric that decides, variance × seconds where it was measured, and outcomes."""
    found = contests(group, EFFICIENCY)
    return (EFFICIENCY, found) if found else (VARIANCE, contests(group, VARIANCE))


def winner(found: list[Contest]) -> str:
    """Return the estimator that is significantly lowest in every role, or nothing."""
    leaders = {one.leader for one in found}
    clear = bool(found) and len(leaders) == 1 and all(one.significant for one in found)
    return leaders.pop() if clear else ""


def answer(group: Group) -> Line:
    """Say what to use, or that there is no clear winner."""
    metric, found = deciding(group)
    if not found:
        return Line(
            "Not ranked",
            "this run has no variance over all layers to rank estimators by.",
        )
    if all(one.alone for one in found):
        names = both(dict.fromkeys(one.leader for one in found))
        return Line("Nothing to compare", f"{names} is the only ranked estimator.")
    best = winner(found)
    if not best:
        said = "; ".join(brief(one) for one in found)
        split = all(one.significant for one in found)  # and not by one estimator
        lead = "No one estimator is the lowest for all parameters" if split else "No clear winner"
        return Line(f"{lead} by {NAMES[metric]}", f"{said}.{dearer(group, found, metric)}")
    timed = metric == EFFICIENCY
    against = whom(found[0]) if len({len(one.beaten) for one in found}) == 1 else "all others"
    how = efficiency_basis(group) if timed else ADJUSTED
    said = (
        f"it has the lowest {NAMES[metric]} for {both(ROLES.get(one.role, one.role) for one in found)}"
        f"{sizes(group, found, metric)}. "
        f"Its {NAMES[metric]} is {Verdict.LOWER.words()} than that of {against} ({how})."
    )
    if timed:
        return Line(f"Use {best}", said)
    return Line(f"By variance of one gradient, {best} is lowest", f"{said}{untimed(group, best)}")


def dearer(group: Group, found: list[Contest], metric: str) -> str:
    """Say which of those with the lowest variance take more passes than the others, where time was not measured."""
    fewest = min((group.draws.get(x, 1) for x in group.labels if group.ranked(x)), default=1)
    leaders = dict.fromkeys(one.leader for one in found if one.leader)
    said = [f"{x} takes {n}" for x in leaders if (n := group.draws.get(x, 1)) > fewest]
    if metric != VARIANCE or not said:
        return ""
    return f" Of draws and passes a gradient of {both(said)}, that of others {fewest} at least."


def untimed(group: Group, best: str) -> str:
    """Say that time was not measured, and what a gradient takes where it differs."""
    mine = group.draws.get(best, 1)
    others = {x: group.draws.get(x, 1) for x in group.labels if group.ranked(x) and x != best}
    fewest = min(others, key=lambda x: others[x])
    if mine <= others[fewest]:
        return UNTIMED
    passes = f"{mine} draws and passes, that of {fewest} {others[fewest]}"
    return f"{UNTIMED} A gradient of {best} takes {passes}, so that this is no advice on cost."


def evidence(group: Group, found: list[Contest], metric: str) -> Line:
    """Say the outcome for every kind of parameter in full, and what that rests on."""
    text = " ".join(clause(group, one, metric) for one in found)
    if metric == EFFICIENCY:
        return Line("Variance × time", f"{text} Verdicts: {efficiency_basis(group)}.")
    short = bounded(group, (one.role for one in found))
    if short:
        text += f" {both(short)} stopped at max_units before the requested precision."
    return Line("Variance", f"{text} {basis(group)}")


def cost(group: Group, labels: list[str] | None = None) -> list[Line]:
    """Say what a gradient of each of some estimators costs; of every ranked one by default."""
    chosen = labels if labels is not None else [x for x in group.labels if group.ranked(x)]
    said = [words for label in chosen if (words := cost_of(group, label))]
    return [Line("Time per gradient", f"{'; '.join(said)}.")] if said else []


def cost_of(group: Group, label: str) -> str:
    """Say what a gradient of an estimator costs, and what multiple of the baseline's that is."""
    seconds = group.get(label, "time.seconds_per_gradient")
    if seconds is None or not seconds.measured:
        return ""
    known = ratio(group, "time.seconds_per_gradient", label)
    times = "the baseline" if label == group.baseline else ""
    if known and not times:
        times = f"{show(known, 1)} × {group.baseline}"
    return f"{label} {show_seconds(seconds)}{f' ({times})' if times else ''}"
