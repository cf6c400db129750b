"""The certificate: whether an estimator does what it declares, tested on problems whose truth is known.

`check` makes every check of `CHECKS` that applies, on reference problems with the posterior that the estimator
declares, and returns a `Certificate` of `Finding`s. ``vdbench.check`` is the same function, and ``vdbench check`` the
same from a shell.
"""

from __future__ import annotations

from vdbench.certificate.certificate import LEVELS, Certificate, Level, Verdict
from vdbench.certificate.checks import CHECKS
from vdbench.certificate.finding import Finding
from vdbench.certificate.run import check, checks_of

__all__ = ["CHECKS", "LEVELS", "Certificate", "Finding", "Level", "Verdict", "check", "checks_of"]
