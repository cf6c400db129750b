"""The certificate: whether an estimator does what it declares, tested on problems whose truth is known.

`check` makes every test of `TESTS` on the stages of the posterior that the estimator declares, and returns a
`Certificate` of `Finding`s. ``vdbench.check`` is the same function, and ``vdbench check`` the same from a shell.
"""

from __future__ import annotations

from vdbench.certificate.certificate import LEVELS, Certificate, Finding, Level
from vdbench.certificate.run import TESTS, check, tests_of

__all__ = ["LEVELS", "TESTS", "Certificate", "Finding", "Level", "check", "tests_of"]
