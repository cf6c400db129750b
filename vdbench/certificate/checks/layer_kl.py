"""Of a third-party layer: is its own KL the closed form's, and its gradient?"""

from __future__ import annotations

from vdbench.certificate import third_party_kl
from vdbench.certificate.certificate import Finding
from vdbench.certificate.protocol import Check
from vdbench.certificate.sampling import Subject
from vdbench.certificate.third_party_layers import each_layer, is_third_party
from vdbench.errors import CellError
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer

NAME = "layer KL"


def _kl(spec: Spec, layer: Layer, seed: int) -> Finding:
    """The layer's own KL and its gradient are the closed form's."""
    if spec.kl is None:
        return Finding(NAME, layer.name, None, note="registered without kl=")
    try:
        found = third_party_kl.compare(spec, layer, seed)
    except (CellError, RuntimeError, TypeError, AttributeError, IndexError, ValueError) as error:
        note = f"its KL fails with {type(error).__name__}: {str(error).splitlines()[0]}"
        return Finding(NAME, layer.name, False, note=note)
    gap = max(found.value, found.gradient)
    good = gap <= third_party_kl.ROOM
    note = (
        f"relative error of KL(q ‖ N(0, {spec.prior_variance:g})): value {found.value:.3g}, gradient in mean and scale "
        f"{found.gradient:.3g}"
    )
    suggests = f"this value is {found.like}." if found.like else ""
    return Finding(
        NAME, layer.name, good, gap, limit=third_party_kl.ROOM, note=note, suggests="" if good else suggests,
    )  # fmt: skip


def ask(subject: Subject) -> list[Finding]:
    """One finding for each kind of layer."""
    return each_layer(NAME, subject, _kl)


CHECK = Check(NAME, "the layer's KL and its gradient", ask, is_third_party)
