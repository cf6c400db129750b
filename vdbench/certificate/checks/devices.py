"""Does a GPU follow the CPU on the same noise?"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.same_noise import finding
from vdbench.certificate.sampling import Subject

NAME = "CPU and GPU"


def ask(subject: Subject) -> Iterable[Asked]:
    """One finding for each stage, where there is a GPU."""
    if not torch.cuda.is_available():
        return [Finding(NAME, "all", None, note="no GPU here")]
    names = (*subject.compared, kind(subject.estimator).network)
    return each_stage(NAME, names, subject, lambda at: [_device(subject, at)])


def _device(subject: Subject, at: Stage) -> Finding:
    return finding(
        NAME,
        at.name,
        subject,
        at.to("cpu", torch.float32),
        at.to("cuda", torch.float32),
        "the two devices compute different things: look for a tensor made on the CPU, or noise drawn there.",
    )


CHECK = Check(NAME, "a GPU follows the CPU on the same noise", ask)
