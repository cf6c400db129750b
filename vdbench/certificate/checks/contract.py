"""What a call must return, ask for and leave alone: names, shapes and types, noise laws, its arguments."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vdbench.certificate.compare import refusal
from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.sampling import Subject
from vdbench.errors import CellError
from vdbench.estimation.draws import trace

NAME = "contract"


def ask(subject: Subject) -> Iterable[Asked]:
    """One finding for each stage."""
    return each_stage(
        NAME,
        (*subject.compared, kind(subject.estimator).network),
        subject,
        lambda at: [_finding(subject, at)],
    )


def _finding(subject: Subject, at: Stage) -> Finding:
    why = refusal(subject, at)
    if why:
        return Finding(NAME, at.name, None, note=why)
    before = [t.clone() for t in _tensors(at)]
    problem, state = at.problem, subject.state(at)
    try:
        trace(subject.estimator, problem, at.parameters, at.batch, state)
    except CellError as error:
        return Finding(
            NAME, at.name, False, note=str(error), suggests="correct what is declared or returned."
        )
    gradient = subject.on(at).one(subject.key / NAME)
    wrong = [n for n, g in gradient.gradients.items() if g.dtype != at.parameters[n].dtype]
    attached = [n for n, g in gradient.gradients.items() if g.requires_grad]
    if any(not torch.equal(a, b) for a, b in zip(before, _tensors(at), strict=True)):
        note, suggests = "it writes into parameters or data", "work on a copy."
    elif wrong:
        note, suggests = f"another type than the parameter's: {', '.join(wrong)}", "keep the dtype."
    elif attached:
        note, suggests = f"gradients are not detached: {', '.join(attached)}", "detach them."
    else:
        return Finding(NAME, at.name, True, note="names, shapes, types, noise laws, arguments kept")
    return Finding(NAME, at.name, False, note=note, suggests=suggests)


def _tensors(at: Stage) -> list[Tensor]:
    return [*at.parameters.values(), *at.batch]


CHECK = Check(NAME, "names, shapes, types, laws; arguments are kept", ask)
