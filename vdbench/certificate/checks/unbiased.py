"""Is the mean of the gradient the gradient of the objective? Compared with exact sums, in every layer and role.

The minibatch is the same in all draws. An estimator whose mean is right on average over minibatches alone is given a
random part of it in every draw, and the gradient is that of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from vdbench.certificate.diagnoses import suggest
from vdbench.certificate.exact_gradients import OBJECTIVES
from vdbench.certificate.finding import LEFT_OUT, MARGIN, Finding
from vdbench.certificate.planning import directions, enough, needed, weighted
from vdbench.certificate.protocol import Asked, Check, Pending, at_once, each_stage
from vdbench.certificate.reference_problems import Stage, served
from vdbench.certificate.sampling import Draws, Subject
from vdbench.certificate.stages import sampled
from vdbench.certificate.two_looks import Answer, Question, Rows, Sample, doubtless
from vdbench.noise import Key

NAME = "unbiased"

PILOT = 512
"""Draws that decide how many are needed, and which coordinates have the most information; used for nothing else."""

COSTLY = ("rectified", "classes", "deep")
"""Problems that take the most draws, and test what the others do: they are left out where draws are looped."""


def ask(subject: Subject) -> Iterable[Asked]:
    """A question for each stage of the estimator's kind of posterior, until one leaves no doubt that it fails."""
    return on_each(NAME, subject, lambda at: _ask(subject, at))


def on_each(test: str, subject: Subject, ask: Callable[[Stage], Iterable[Asked]]) -> list[Asked]:
    """What is asked on each stage where the mean is compared, until a finding leaves no doubt."""
    found: list[Asked] = []
    for name in subject.compared:
        if subject.closed:
            found.append(Finding(test, name, None, note=LEFT_OUT))
            continue
        for item in each_stage(test, [name], subject, ask):
            found += at_once(subject, name, item)
    return found


def _left_out(subject: Subject, drawn: Draws) -> str:
    """Why an estimator whose draws are looped is not tried on a stage: its draws do more elsewhere."""
    if not drawn.alone or subject.thorough or drawn.stage.name not in COSTLY:
        return ""
    return "left out at level small, since draws are looped and it takes many; level full has it"


def _ask(subject: Subject, at: Stage) -> list[Asked]:
    if not subject.estimator.declaration.unbiased_given_minibatch:
        at = at.of_data()
    return compared(NAME, subject, at)


def compared(test: str, subject: Subject, at: Stage) -> list[Asked]:
    """The question whether the mean on a stage is right, asked in the name of a test."""
    drawn = subject.on(at)
    why = _left_out(subject, drawn)
    if why:
        return [Finding(test, at.name, None, note=why)]
    objective = served(subject.estimator, at)
    key = subject.key / test / at.name
    some = _against(drawn, objective, key)
    if some is None:
        why = f"no exact gradient of the objective '{objective}'; known: {', '.join(OBJECTIVES)}"
        return [Finding(test, at.name, None, note=why)]
    return [_pending(test, subject, drawn, objective, some)]


Draw = Callable[[str, int], list[Sample]]


def _against(drawn: Draws, objective: str, key: Key) -> Draw | None:
    """Draws beside the exact gradient, or beside draws of a textbook sampler; None where there is neither."""
    at = drawn.stage
    truth = at.truth(objective)
    if truth is not None:
        exact = {name: value.flatten().cpu().numpy() for name, value in truth.items()}
        return lambda look, count: samples(at, drawn.many(key / look, count), exact)
    if at.exact is not None or not sampled.known(objective):
        return None
    reference = sampled.textbook(at, objective, key / "about", sampled.PART)
    about = {name: rows.mean(0) for name, rows in reference.items()}

    def differences(look: str, count: int) -> list[Sample]:
        # a two-sample test: each draw less one of the reference, about the reference's mean
        ours = drawn.many(key / look, count)
        theirs = sampled.textbook(at, objective, key / look / "reference", count)
        rows = {
            n: (ours[n] if len(ours[n]) == len(theirs[n]) else ours[n][:1]) - theirs[n] + about[n]
            for n in about
        }
        return samples(at, rows, about)

    return differences


def _pending(test: str, subject: Subject, drawn: Draws, objective: str, draw: Draw) -> Pending:
    raw = draw("pilot", PILOT)
    weights = directions(raw)
    pilot = weighted(raw, weights)

    def some(look: str, count: int) -> list[Sample]:
        return weighted(draw(look, count), weights)

    # without the weights, which are fitted to these very draws
    if not subject.complete and doubtless(raw):
        first = some("first", subject.looks(drawn))
    else:
        wanted = MARGIN * needed(pilot)
        count = subject.looks(drawn, wanted)
        first = enough(some, count, lambda want: subject.bound(drawn, want), subject.unit(drawn))
    question = Question(
        test,
        lambda look, times: some(look, times * len(first[0].rows)),
        first,
        declared=not drawn.estimator.declaration.unbiased,
    )
    return Pending(question, lambda found: [_finding(test, drawn, objective, a) for a in found])


def samples(at: Stage, rows: dict[str, Rows], truth: dict[str, Rows]) -> list[Sample]:
    """Gradients of each layer and role, with the true ones."""
    size = max(float(np.abs(t).max()) for t in truth.values())
    found = []
    for group in dict.fromkeys(at.problem.groups[name] for name in truth):
        names = [n for n in truth if at.problem.groups[n] == group]
        found.append(
            Sample(
                f"{at.name}: layer {group.layer}, {group.role}",
                np.concatenate([rows[n] for n in names], 1),
                np.concatenate([truth[n] for n in names]),
                [f"{n}[{i}]" for n in names for i in range(len(truth[n]))],
                size,
            )
        )
    return found


def _finding(test: str, drawn: Draws, objective: str, answer: Answer) -> Finding:
    sample, declared = answer.sample, drawn.estimator.declaration
    biased = not declared.unbiased
    relative = sample.relative(answer.rate)
    figure, low, high = relative or (_largest(sample), None, None)
    limit = None if relative is None else (relative[2] - relative[1]) / 2
    note = f"relative bias along the gradient of '{objective}'; " + _worst(sample)
    if relative is None:
        note = f"largest mean where the gradient of '{objective}' is 0; " + _worst(sample)
    if biased:
        measured = answer.differs or answer.few
        seen = "measured" if measured else "not seen at this number of draws"
        return Finding(
            test, sample.where, True, figure, low, high, None, answer.power,
            f"declared biased, {seen}: {note}", against=objective, draws=answer.draws, carried=answer.carried,
        )  # fmt: skip
    suggests = suggest(drawn, objective, sample, answer.rate) if answer.differs else ""
    return Finding(
        test, sample.where, not answer.differs, figure, low, high, limit, answer.power, note, suggests,
        objective, answer.draws, answer.carried,
    )  # fmt: skip


def _largest(sample: Sample) -> float:
    return float(np.abs(sample.mean).max())


def _worst(sample: Sample) -> str:
    """The coordinate that is furthest from its truth, in standard errors."""
    gap = np.abs(sample.mean - sample.truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(gap > 1e-9 * sample.scale, gap / sample.error, 0.0)
    i = int(np.argmax(np.where(np.isnan(z), np.inf, z)))
    return (
        f"furthest {sample.names[i]}: mean {sample.mean[i]:.4g} ± {sample.error[i]:.2g}, "
        f"exact {sample.truth[i]:.4g}"
    )


CHECK = Check(NAME, "the mean of the gradient in every layer and role", ask)
