"""The checks of a certificate, one file each: a new one is a file here, and a line in `CHECKS`."""

from __future__ import annotations

from vdbench.certificate.checks import (
    contract,
    devices,
    finite,
    fitted_elsewhere,
    layer_draws,
    layer_kl,
    layer_mapping,
    layer_spread,
    minibatch_law,
    preactivations,
    precision,
    repeatable,
    several_draws,
    unbiased,
)
from vdbench.certificate.protocol import Check

CHECKS: tuple[Check, ...] = (
    contract.CHECK,
    unbiased.CHECK,
    fitted_elsewhere.CHECK,
    preactivations.CHECK,
    minibatch_law.CHECK,
    finite.CHECK,
    several_draws.CHECK,
    repeatable.CHECK,
    precision.CHECK,
    devices.CHECK,
    layer_mapping.CHECK,
    layer_spread.CHECK,
    layer_draws.CHECK,
    layer_kl.CHECK,
)
"""Every check, in the order of a certificate; all that apply are made, and nothing chooses among them."""
