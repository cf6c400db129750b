"""Runs and estimators compared: better, worse, the same, or not known yet."""

from vdbench.comparison.rows import Comparison, Refusal, Row
from vdbench.comparison.two_runs import compare

__all__ = ["Comparison", "Refusal", "Row", "compare"]
