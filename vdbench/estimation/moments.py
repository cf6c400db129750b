"""Means and variances, and what a non-linearity makes of those of a normal number."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FARTHEST = 40.0
"""Standard deviations beyond which a normal tail and its density are 0 to the last digit, in float64 too."""


class Moments(NamedTuple):
    """Mean and variance of each of some numbers, of one shape."""

    mean: Tensor
    variance: Tensor


def relu(b: Moments) -> Moments:
    """Moments of max(0, b), b ~ N(m, v), exactly; those of max(0, m) where v is 0.

    With s = √v, t = m/s, Φ and φ the normal distribution and density:

    - mean: s(tΦ + φ);
    - variance: v(Φ + t²Φ(1 − Φ) + tφ(1 − 2Φ) − φ²), which has no difference of large numbers, as E[h²] − E[h]² has
      where t is large.

    Frey & Hinton 1999.

    Example:
        >>> h = relu(Moments(torch.zeros(1), torch.ones(1)))
        >>> [round(float(x), 4) for x in h]
        [0.3989, 0.3408]
    """
    random = b.variance > 0
    s = torch.where(random, b.variance, 1.0).sqrt()
    t = (b.mean / s).clamp(-FARTHEST, FARTHEST)
    # erfc keeps the digits of a far tail, which 1 + erf would lose
    below, above = (0.5 * torch.special.erfc(x / math.sqrt(2)) for x in (-t, t))
    density = torch.exp(-0.5 * t.square()) / math.sqrt(2 * math.pi)
    mean = b.mean * below + s * density
    share = below + t.square() * below * above + t * density * (above - below) - density.square()
    return Moments(
        torch.where(random, mean, b.mean.relu()),
        torch.where(random, b.variance * share.clamp(min=0), 0.0),
    )
