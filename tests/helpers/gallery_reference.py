"""The gallery's models once more, in plain torch: nothing here is imported from vdbench.

W = μ + σε is put into the user's own module with `torch.func.functional_call`, and autograd does the rest. ε comes from
a generator of its own, in pairs ±ε. The likelihoods are written out again, and so is which weights have noise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.append(str(Path(__file__).parents[2] / "docs"))

Gradients = dict[str, Tensor]
VALUE = "value"
"""The name of the log-likelihood itself among the gradients."""

SIGMA = 0.03
"""Of every weight: a tenth of its usual size."""


def categorical(out: Tensor, y: Tensor) -> Tensor:
    return out.log_softmax(1).gather(1, y[:, None])[:, 0]


def pixels(out: Tensor, y: Tensor) -> Tensor:
    return out.log_softmax(1).gather(1, y[:, None]).flatten(1).sum(1)


def tags(out: Tensor, y: Tensor) -> Tensor:
    there = y >= 0
    return (out.log_softmax(-1).gather(2, y.clamp(min=0)[..., None])[..., 0] * there).sum(1)


def normal(out: Tensor, y: Tensor) -> Tensor:
    return torch.distributions.Normal(out, math.sqrt(0.1)).log_prob(y).sum(1)


def spread(out: Tensor, y: Tensor) -> Tensor:
    return torch.distributions.Normal(out[:, 0], (out[:, 1] / 2).exp()).log_prob(y[:, 0])


Density = Callable[[Tensor, Tensor], Tensor]
Which = Callable[[str, Tensor], bool]


def matrices(path: str, value: Tensor) -> bool:
    return value.dim() > 1 and path != "position"


@dataclass(frozen=True)
class Model:
    """One of the ten.

    Attributes:
        file: In docs/gallery.
        density: log p(y | outputs), (M,).
        noisy: Which parameters have noise.
        examples: M, of the minibatch that gradients are taken on.
        options: Of the file's functions.
    """

    file: str
    density: Density = categorical
    noisy: Which = matrices
    examples: int = 6
    options: dict[str, bool] = field(default_factory=dict)


MODELS = {
    "mlp": Model("mlp", normal),
    "lenet": Model("lenet"),
    "resnet": Model("resnet"),
    "unet": Model("unet", pixels),
    "text": Model("text", examples=16),
    "tagger": Model("tagger", tags),
    "transformer": Model("transformer"),
    "transformer-sequence-first": Model("transformer", options={"batch_first": False}),
    "last-layer": Model("last_layer", noisy=lambda path, _: path == "head.weight"),
    "lora": Model("lora", noisy=lambda path, _: "lora_" in path, examples=16),
    "heteroscedastic": Model("heteroscedastic", spread),
}


def coordinate(path: str, which: str) -> str:
    """The name that vdbench gives to a coordinate of the weight at a path."""
    return f"{path.removesuffix('.weight')}.{which}"


@dataclass(frozen=True)
class Reference:
    """The gradient of N/M · log p(y | x, μ + σε) in μ, log σ² and everything else.

    Attributes:
        module: The user's, in float64.
        model: Which.
        scale: N/M.
        inputs: (M, …).
        targets: (M, …).
    """

    module: nn.Module
    model: Model
    scale: float
    inputs: Tensor
    targets: Tensor

    @property
    def free(self) -> dict[str, Tensor]:
        """Parameters that are not frozen, by path."""
        return {n: p.detach() for n, p in self.module.named_parameters() if p.requires_grad}

    @property
    def noisy(self) -> dict[str, Tensor]:
        """Means of the weights with noise, by path."""
        return {n: p for n, p in self.free.items() if self.model.noisy(n, p)}

    def at(self, eps: dict[str, Tensor]) -> Gradients:
        """Gradients for K draws of the ε by path, (K, …), named as vdbench names them; examples share each draw."""
        return self._each(lambda e: [(dict.fromkeys(e, 1.0), e)], eps, self.inputs, self.targets)

    def at_own(self, eps: dict[str, Tensor]) -> Gradients:
        """The same of one draw, in which each example has an ε of its own, (M, …)."""
        found = self._each(
            lambda e: [(dict.fromkeys(e, 1.0), e)],
            eps,
            self.inputs[:, None],
            self.targets[:, None],
            own=True,
        )
        return {name: g.sum(0, keepdim=True) for name, g in found.items()}

    def pairs(
        self, count: int, generator: torch.Generator, local: tuple[str, ...] = (), chunk: int = 64
    ) -> Iterator[Gradients]:
        """Means over pairs ±ε, chunk by chunk, (K, …), ``count`` in all.

        Args:
            count: How many pairs.
            generator: Of the ε.
            local: Paths of modules whose pre-activations have independent noise instead of their weights.
            chunk: Pairs at a time.
        """
        for start in range(0, count, chunk):
            eps = {
                n: torch.randn(
                    (min(chunk, count - start), *p.shape), generator=generator, dtype=p.dtype
                )
                for n, p in self.noisy.items()
            }
            with torch.random.fork_rng(devices=[]):  # of the noise that has shapes of its own
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
                yield self._each(_both, eps, self.inputs, self.targets, local=local)

    def _each(
        self,
        signs: Callable[[Gradients], list[tuple[dict[str, float], Gradients]]],
        eps: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        own: bool = False,
        local: tuple[str, ...] = (),
    ) -> Gradients:
        noisy = self.noisy
        others = {n: p for n, p in self.free.items() if n not in noisy}
        start = torch.tensor(
            2 * math.log(SIGMA)
        ).double()  # rounded to float32, as the problem's own
        logs = {n: start.expand_as(p) for n, p in noisy.items()}

        def value(
            mu: Gradients, log: Gradients, rest: Gradients, e: Gradients, x: Tensor, y: Tensor
        ) -> Tensor:
            kept: dict[str, list[Tensor]] = {}
            total = []
            for sign, z in signs(e):
                weights = {}
                for n in mu:
                    still = n.removesuffix(".weight") in local
                    w = mu[n] if still else mu[n] + torch.exp(log[n] / 2) * sign[n] * z[n]
                    weights[n] = w * self.padding(n, w)
                variances = {n: torch.exp(log[f"{n}.weight"]) for n in local}
                with self._noise_of_outputs(variances, kept, first=not total):
                    out = functional_call(self.module, {**weights, **rest}, (x,))
                total.append(self.scale * self.model.density(out, y).sum())
            return torch.stack(total).mean()

        slope = grad_and_value(value, argnums=(0, 1, 2))
        dims = (None, None, None, 0, *((0, 0) if own else (None, None)))
        with plain_attention():
            (means, scales, rest), values = vmap(slope, in_dims=dims, randomness="different")(
                noisy, logs, others, eps, inputs, targets
            )
        return {
            **{coordinate(n, "mean"): g for n, g in means.items()},
            **{coordinate(n, "log_variance"): g for n, g in scales.items()},
            **rest,
            VALUE: values,
        }

    @contextmanager
    def _noise_of_outputs(
        self, variances: Gradients, kept: dict[str, list[Tensor]], first: bool
    ) -> Iterator[None]:
        """Add √(x²σ²)·ζ to outputs of modules; of a pair, the second half has the first half's ζ negated."""
        calls = dict.fromkeys(variances, 0)
        handles = []
        for path, variance in variances.items():

            def hook(
                part: nn.Module,
                given: tuple[Tensor],
                out: Tensor,
                path: str = path,
                v: Tensor = variance,
            ) -> Tensor:
                root = (_same_map(part, given[0] ** 2, v) + 1e-300).sqrt()
                if first:
                    kept.setdefault(path, []).append(torch.randn_like(out))
                zeta = kept[path][calls[path]]
                calls[path] += 1
                return out + root * (zeta if first else -zeta)

            handles.append(self.module.get_submodule(path).register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def padding(self, path: str, weight: Tensor) -> Tensor:
        """0 for the row of an embedding that stays 0."""
        owner = self.module.get_submodule(path.rpartition(".")[0])
        rows = torch.ones(len(weight), dtype=weight.dtype)
        if isinstance(owner, nn.Embedding) and owner.padding_idx is not None:
            rows[owner.padding_idx] = 0
        return rows.reshape(-1, *(1 for _ in weight.shape[1:]))


def _both(e: Gradients) -> list[tuple[dict[str, float], Gradients]]:
    return [(dict.fromkeys(e, sign), e) for sign in (1.0, -1.0)]


def _same_map(part: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The linear map of a module at another weight, without bias."""
    if isinstance(part, nn.Linear):
        return F.linear(x, weight)
    if isinstance(part, nn.ConvTranspose2d):
        return F.conv_transpose2d(x, weight, None, part.stride, part.padding)  # type: ignore[arg-type]
    assert isinstance(part, nn.Conv2d)
    return F.conv2d(x, weight, None, part.stride, part.padding)  # type: ignore[arg-type]


@contextmanager
def plain_attention() -> Iterator[None]:
    """Without the fused forms, which `vmap` does not take."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
