"""The certificate: whether an estimator does what it declares, tested on problems whose truth is known."""

from __future__ import annotations

from vdbench.certificate.result import LEVELS, Certificate, Finding, Level

__all__ = ["LEVELS", "Certificate", "Finding", "Level"]
