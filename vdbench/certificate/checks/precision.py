"""Does float32 follow float64 on the same noise, at awkward points too?"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Asked, Check, each_stage
from vdbench.certificate.reference_problems import Stage, at_point, kind
from vdbench.certificate.same_noise import finding
from vdbench.certificate.sampling import Subject

NAME = "float32"


def ask(subject: Subject) -> Iterable[Asked]:
    """One finding for each point of the network with kinks, and one for each exact stage."""
    of = kind(subject.estimator)

    def network(at: Stage) -> list[Finding]:
        points = ("as it is", *of.points)
        return [_narrow(subject, at_point(at, p), f"{at.name}: {p}") for p in points]

    found = each_stage(NAME, subject.compared, subject, lambda at: [_narrow(subject, at, at.name)])
    return [*found, *each_stage(NAME, [of.network], subject, network)]


def _narrow(subject: Subject, at: Stage, where: str) -> Finding:
    """The same noise, rounded, in float32."""
    return finding(NAME, where, subject, at, at.to(subject.device, torch.float32), _CANCELS)


_CANCELS = (
    "digits cancel: form the log-density from the noise, not from the difference of a weight and its mean, and "
    "variances from squares, not from differences."
)


CHECK = Check(NAME, "float32 follows float64 on the same noise", ask)
