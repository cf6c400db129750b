"""``vdbench new estimator NAME``: a file with a working estimator and a test of it, both to be changed."""

from __future__ import annotations

from pathlib import Path
from string import Template

from vdbench.errors import InputError

ESTIMATOR = Template('''"""${title}: say here in one line what it does."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import vdbench


@vdbench.register(
    "${name}",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class ${cls}(vdbench.Pathwise):
    r"""${title}: say here in one line what it does.

    Formula: $$b = xW$$, $$W = \\mu + \\sigma\\varepsilon$$, $$\\varepsilon \\sim N(0, 1)$$.

    Say here why its mean is the gradient of the objective. This one: $$\\varepsilon$$ does not depend on
    $$(\\mu, \\sigma)$$, so the gradient of the expectation is the expectation of the gradient along the sample.

    Claim: unbiased for the ELBO of any layer kind.
    Cost: 1 product forward, 2 backward a layer; K·L noise.
    Source: Kingma & Welling 2014.

    Example:
        >>> import vdbench
        >>> vdbench.get("${name}")
        ${cls}()
    """

    def preactivation(self, layer: vdbench.Layer, x: Tensor, q: vdbench.Posterior, noise: vdbench.Noise) -> Tensor:
        """B = x(μ + σε), one ε for all examples."""
        return layer.linear(x, q.mean + q.scale * noise(layer.name, q.mean.shape))
''')

TEST = Template('''"""Tests of ${name}: everything that `vdbench check` tests, and what it alone promises."""

import pytest
import torch

import vdbench
from vdbench.noise import stream


@pytest.mark.vdbench("${name}", file="${file}")
def test_conforms(vdbench_finding):
    """One test for each test of the certificate; it fails by itself."""


def test_examples_share_a_sample_of_the_weights():
    scale = torch.full((4, 3), 0.5)
    q = vdbench.Posterior(torch.zeros(4, 3), scale, scale.square())
    b = vdbench.get("${name}").preactivation(
        vdbench.Layer("layer", (4, 3)), torch.ones(2, 3), q, stream(vdbench.Key() / "test")
    )
    assert torch.equal(b[0], b[1])
''')


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """Write an estimator's file and its test.

    Args:
        name: Of the estimator: lower case, words joined by ``-``.
        folder: Where; it is made if it is not there.

    Returns:
        The two files.

    Raises:
        InputError: The name is malformed or taken, the folder cannot be written to, or a file is there already.
    """
    _check_name(name)
    stem = name.replace("-", "_")
    values = {
        "name": name,
        "cls": "".join(word[:1].upper() + word[1:] for word in name.split("-")),
        "title": name.replace("-", " ").capitalize(),
        "file": f"{stem}.py",
    }
    made = {folder / f"{stem}.py": ESTIMATOR, folder / f"test_{stem}.py": TEST}
    for path in made:
        if path.exists():
            raise InputError(
                f"new estimator {name}: '{path}' is there already; nothing was written."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in made.items():
            path.write_text(template.substitute(values), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"new estimator {name}: cannot write to '{folder}': {error.strerror}."
        ) from error
    estimator, test = made
    return estimator, test


def _check_name(name: str) -> None:
    """Refuse what `vdbench.register` would refuse, and what gives no name of a class or a module."""
    from vdbench.estimation import registry

    words = name.split("-")
    if not all(word.isascii() and word.isalnum() and word == word.lower() for word in words):
        raise InputError(
            f"new estimator {name}: a name is lower-case letters, digits and '-' between them, such as 'my-estimator'."
        )
    if not name[0].isalpha():
        raise InputError(f"new estimator {name}: a name begins with a letter.")
    if name in registry.names():
        raise InputError(f"new estimator {name}: there is an estimator of that name already.")
