"""Of a third-party layer: may two of its forward passes be in one backward pass?"""

from __future__ import annotations

import torch
from torch import Tensor

from vdbench.certificate.finding import Finding
from vdbench.certificate.protocol import Check
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import each_layer, is_third_party, point, room, seeded
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior

NAME = "layer draws"


def _draws(spec: Spec, layer: Layer, seed: int) -> Finding:
    """Two forward passes in one backward pass have the gradient that they have one by one."""
    x, q, bias = point(layer, seed, 0.5)
    mean, scale = q.mean.requires_grad_(), q.scale.requires_grad_()
    at = Posterior(mean, scale, scale.square())

    def loss(k: int) -> Tensor:
        return seeded(spec, layer, x, at, bias, seed + k).square().sum()

    def gradient(value: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(value, (mean, scale), materialize_grads=True, allow_unused=True)

    alone = [gradient(loss(k)) for k in range(2)]
    note = "relative difference of the gradient of two draws in one backward pass from the sum of their own"
    try:
        together = gradient(loss(0) + loss(1))
    except RuntimeError as error:
        # loud, and no wrong gradient: single draws are compared by the other checks
        reason = str(error).splitlines()[0]
        return Finding(
            NAME,
            layer.name,
            None,
            note="two forward passes before one backward pass raise an error, so that several draws cannot be added up "
            f"in one loss: {reason}",
        )
    gap = max(
        float((one - a - b).abs().max() / (a + b).abs().max())
        for one, a, b in zip(together, *alone, strict=True)
    )
    limit = room(spec, layer)
    return Finding(
        NAME, layer.name, gap <= limit, gap, limit=limit, note=note,
        suggests="" if gap <= limit else _BUFFER,
    )  # fmt: skip


_BUFFER = (
    "a noise buffer of the layer is overwritten in place by its next forward pass, and autograd then multiplies the "
    "earlier draw's gradient by the later draw's noise: make a new tensor for every draw."
)


def ask(subject: Subject) -> list[Finding]:
    """One finding for each kind of layer."""
    return each_layer(NAME, subject, _draws)


CHECK = Check(NAME, "two forward passes in one backward pass", ask, is_third_party)
