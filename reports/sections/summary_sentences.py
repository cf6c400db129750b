"""The headline in sentences: what to use, then the evidence, as far as it was measured."""

from __future__ import annotations

from dataclasses import dataclass

from reports.results.groups import Group
from reports.results.published import matches_of
from reports.results.ranking import EFFICIENCY, VARIANCE, Contest, bounded, contest, ratio
from reports.sections.published import summary as beside
from reports.words.glossary import ROLES, in_role
from reports.words.numbers import percent, show, show_seconds
from reports.words.training import training_words
from reports.words.verdicts import basis, both, brief, clause, efficiency_basis, sizes, whom

NAMES = {VARIANCE: "variance", EFFICIENCY: "variance × seconds"}


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
        then one each on variance, on variance × seconds where that has no clear winner, on
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
        lines.append(Line("Training differs" if differs else "Training", said))
    lines += cost(group, list(dict.fromkeys(leaders)) or None)
    matches = matches_of(group)
    return lines + ([Line("Beside the paper", beside(matches))] if matches else [])


def bias(group: Group) -> list[Line]:
    """Say which estimators declare themselves unbiased but are not, a line each."""
    lines = []
    level = percent(group.run.level)
    for label in group.labels:
        found = group.biases(label)
        said = both(f"{show(e, 0)} {in_role(role)}" for role, e in found.items())
        if said:
            text = f"{label} declares itself unbiased, but its relative bias against "
            text += f"{group.reference or 'the reference'} is {said}: it is not ranked"
            lines.append(Line("Bias", f"{text} ({level} over all estimators and roles together)."))
    return lines


def local_noise(group: Group) -> list[Line]:
    """Say which estimators serve another objective here than on dense layers, a line an objective."""
    served: dict[str, list[str]] = {}
    for label, objective in group.local_noise().items():
        served.setdefault(objective, []).append(label)
    shared = [str(layer) for layer in group.described.get("shared") or []]
    where = f"layer{'s' if len(shared) > 1 else ''} {both(shared)}"
    return [
        Line(
            "Another objective",
            f"the weights of the {where} serve several places of an example, and {both(labels)} "
            f"{'gives' if len(labels) == 1 else 'give'} each place noise of its own: the gradient is "
            f"that of {objective}, not of {group.declared(labels[0]).get('objective')}. A mean that "
            "differs from other estimators' is no bias, and the variance is ranked only among those "
            "of that objective.",
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
            "this run has no variance of the noisy weights over all layers to rank by.",
        )
    if all(one.alone for one in found):
        names = both(dict.fromkeys(one.leader for one in found))
        return Line("Nothing to compare", f"{names} alone is ranked.")
    best = winner(found)
    if not best:
        said = ", and ".join(brief(one) for one in found)
        return Line("No clear winner", f"by {NAMES[metric]}, {said}.")
    lead = f"Use {best}" if metric == EFFICIENCY else f"By variance alone, use {best}"
    where = in_what([one.role for one in found])
    against = whom(found[0]) if len({len(one.beaten) for one in found}) == 1 else "all others"
    how = efficiency_basis(group) if metric == EFFICIENCY else "; seconds were not measured"
    return Line(
        lead,
        f"it has the lowest {NAMES[metric]} {where} ({sizes(group, found, metric)}), "
        f"significantly lower than {against}{how}.",
    )


def in_what(roles: list[str]) -> str:
    """Say in which roles a winner is lowest."""
    if len(roles) == 1:
        return f"in {ROLES.get(roles[0], roles[0])}"
    return f"in {'both' if len(roles) == 2 else f'all {len(roles)}'} roles of the noisy weights"


def evidence(group: Group, found: list[Contest], metric: str) -> Line:
    """Say the outcome of every role in full, and what that rests on."""
    said = [clause(group, one, metric) for one in found]
    text = f"of the gradient {said[0]}" + "".join(
        f". {part[0].upper()}{part[1:]}" for part in said[1:]
    )
    if metric == EFFICIENCY:
        return Line("Variance × seconds", f"{text}{efficiency_basis(group)}.")
    short = bounded(group, (one.role for one in found))
    if short:
        ends = "its bound" if len(short) == 1 else "their bounds"
        text += f". {both(short)} reached {ends} of draws before the requested precision"
    return Line("Variance", f"{text}. {basis(group)}")


def cost(group: Group, labels: list[str] | None = None) -> list[Line]:
    """Say what a gradient of each of some estimators costs; of every ranked one by default."""
    chosen = labels if labels is not None else [x for x in group.labels if group.ranked(x)]
    said = [words for label in chosen if (words := cost_of(group, label))]
    return [Line("Cost of a gradient", f"{'; '.join(said)}.")] if said else []


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
