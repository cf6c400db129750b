"""Which weights of a module are made noisy: all that layers hold, or those that are asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from vdbench.errors import InputError, nearest
from vdbench.problems.several_inputs import prefix

LayerChoice = str | Iterable[str] | Callable[[str, nn.Module], bool]
"""Names or patterns (``encoder.*``) of layers, or a function of name and module."""

OPENED: tuple[type[nn.Module], ...] = (nn.Linear, nn.modules.conv._ConvNd)
"""Kinds of layers whose pre-activations can be sampled, where a subclass has no forward of its own."""

HELD: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.Linear, ("weight",)),
    (nn.modules.conv._ConvNd, ("weight",)),
    (nn.Bilinear, ("weight",)),
    (nn.Embedding, ("weight",)),
    (nn.EmbeddingBag, ("weight",)),
    (nn.RNNBase, ("weight_*",)),
    (nn.modules.rnn.RNNCellBase, ("weight_*",)),
    (
        nn.MultiheadAttention,
        ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ),
)
"""The weights that each kind of layer holds."""


@dataclass(frozen=True)
class Weight:
    """A weight that is made noisy.

    Attributes:
        name: Of the noisy layer.
        path: Of the parameter in the module.
        owner: Path of the module that holds it.
        opened: Whether the layer's pre-activations may be sampled, as far as types tell.
        why: Why they may not.
        fixed_row: A row that stays as it is, an embedding's padding.
        ties: Other paths of the same parameter.
        aliases: Other paths of the module that holds it.
    """

    name: str
    path: str
    owner: str
    opened: bool
    why: str = ""
    fixed_row: int | None = None
    ties: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What is made noisy in a module, and what is not.

    Attributes:
        weights: In the order of the module's layers.
        without: Layers without noise by name, with the reason.
    """

    weights: tuple[Weight, ...]
    without: dict[str, str]


def select(body: nn.Module, layers: LayerChoice | None, name: str) -> Selection:
    """Choose the weights to make noisy.

    Args:
        body: The network.
        layers: Which of its layers; None for all that are not frozen.
        name: The problem's, for messages.

    Raises:
        InputError: None is left, a pattern matches no layer, or one that was chosen cannot be made noisy.
    """
    places: dict[int, list[str]] = {}
    for path, value in body.named_parameters(remove_duplicate=False):
        if is_lazy(value):
            raise InputError(
                f"problem '{name}': the weight '{path}' has no shape yet; run one forward pass first."
            )
        if value.is_complex() and value.requires_grad:
            raise InputError(
                f"problem '{name}': the parameter '{path}' is complex; expected real parameters, or a frozen one."
            )
        places.setdefault(id(value), []).append(path)
    found = list(_held(body))
    chosen = _chosen(body, found, layers, name)
    weights: list[Weight] = []
    without: dict[str, str] = {}
    seen: set[int] = set()
    for title, path, owner, module in found:
        value = body.get_parameter(path)
        if chosen is not None and title not in chosen:
            without[title] = "not chosen"
        elif not value.requires_grad and chosen is None:
            without[title] = "frozen (requires_grad is False)"
        elif not value.requires_grad:
            raise InputError(
                f"problem '{name}': layer '{title}' was chosen and its weight is frozen; call requires_grad_(True) on "
                "it first, or leave it out."
            )
        elif not value.numel():
            without[title] = "empty"
        elif id(value) not in seen:
            seen.add(id(value))
            others = [p for p in places[id(value)] if p != path]
            owners = {p: p.rpartition(".")[0] for p in others}
            aliases = tuple(o for o in owners.values() if body.get_submodule(o) is module)
            ties = tuple(p for p in others if owners[p] not in aliases)
            weights.append(_weight(body, title, path, owner, module, ties, aliases, name))
    refuse_altered(body, name, chosen)
    without |= {title: f"not chosen ({kind})" for title, kind in _altered(body)}
    for title, kind in _others(body, weights):
        without.setdefault(title, kind)
    if not weights:
        raise InputError(
            f"problem '{name}': the module has no layer to make noisy: " + _why_none(without, body)
        )
    return Selection(tuple(weights), without)


def refuse_altered(body: nn.Module, name: str, chosen: set[str] | None = None) -> None:
    """Refuse layers whose weight is no parameter.

    Args:
        body: The network.
        name: The problem's.
        chosen: Names of the layers that are asked for; None for all.

    Raises:
        InputError: One of them is computed from other parameters.
    """
    for title, kind in _altered(body):
        if chosen is None or title in chosen:
            raise InputError(
                f"problem '{name}': the weight of layer '{title}' is computed anew at each pass ({kind}), so it is no "
                "parameter that could have a posterior; remove that first (torch.nn.utils.parametrize."
                "remove_parametrizations, torch.nn.utils.remove_weight_norm or prune.remove), or choose other layers "
                "with layers=."
            )


def _why_none(without: dict[str, str], body: nn.Module) -> str:
    made = any(map(_compiled, body.modules()))
    hint = "; expected the module before it was scripted, exported or quantized" if made else ""
    if not without:
        return f"it holds no weights{hint or '; expected a layer such as nn.Linear or nn.Conv2d'}."
    if not hint and any(value.dim() > 1 for value in body.parameters() if value.requires_grad):
        hint = "; name a bare parameter in layers= to give it noise"
    title, why = next(iter(without.items()))
    many = f", and so are {len(without) - 1} others" if len(without) > 1 else ""
    return f"'{title}' is {why}{many}{hint}."


def _compiled(module: nn.Module) -> bool:
    """Whether a module was made from another one by scripting, tracing, exporting or quantizing."""
    home = type(module).__module__
    return isinstance(module, torch.jit.ScriptModule) or home.startswith(
        ("torch.ao", "torch.fx", "torch.export")
    )


def _held(body: nn.Module) -> Iterator[tuple[str, str, str, nn.Module]]:
    """Name of the layer, path of the weight, path of its module and the module, for all weights that layers hold."""
    for owner, module in body.named_modules():
        patterns = next((names for kind, names in HELD if isinstance(module, kind)), ())
        for leaf, value in module._parameters.items():
            if value is not None and any(fnmatchcase(leaf, p) for p in patterns):
                path = f"{owner}.{leaf}" if owner else leaf
                title = owner if leaf == "weight" and owner else path
                yield title, path, owner, module


def _chosen(
    body: nn.Module,
    found: list[tuple[str, str, str, nn.Module]],
    layers: LayerChoice | None,
    name: str,
) -> set[str] | None:
    """Names of the layers that are asked for; parameters that no layer holds are added to ``found``."""
    if layers is None:
        return None
    if isinstance(layers, nn.Module) or not (callable(layers) or isinstance(layers, Iterable)):
        raise InputError(
            f"problem '{name}': layers must be names or patterns of layers, or a function of name and module, not "
            f"{type(layers).__name__}."
        )
    if callable(layers):
        try:
            return {title for title, _, _, module in found if layers(title, module)}
        except Exception as error:
            raise InputError(
                f"problem '{name}': the function layers failed: {type(error).__name__}: {error}"
            ) from error
    patterns = [layers] if isinstance(layers, str) else list(layers)
    start = prefix(body)
    held = {path for _, path, _, _ in found}
    loose = [
        (path, path, path.rpartition(".")[0], body.get_submodule(path.rpartition(".")[0]))
        for path, value in body.named_parameters()
        if path not in held and value.dim() >= 2 and ".parametrizations." not in f".{path}"
    ]
    titles = [t for t, _, _, _ in (*found, *loose)] + [t for t, _ in _altered(body)]
    chosen: set[str] = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise InputError(
                f"problem '{name}': layers must be names or patterns of layers, or a function of name and module, "
                f"not {pattern!r}."
            )
        hits = {t for t in titles if _named(t, pattern, start)}
        # a pattern that names layers does not mean the loose parameters beside them
        names = hits & {t for t, _, _, _ in found} or hits
        if not hits:
            raise InputError(
                f"problem '{name}': layers: no layer matches '{pattern}'.{nearest(pattern, titles)}"
            )
        chosen |= names
    found += [entry for entry in loose if entry[0] in chosen]
    return chosen


def _named(title: str, pattern: str, start: str) -> bool:
    """Whether a pattern names a layer, by its name in the user's module too, or a module around it."""
    names = {title, title.removeprefix(start)}
    return any(
        n == pattern or fnmatchcase(n, pattern) or n.startswith(f"{pattern}.") for n in names
    )


def _weight(
    body: nn.Module,
    title: str,
    path: str,
    owner: str,
    module: nn.Module,
    ties: tuple[str, ...],
    aliases: tuple[str, ...],
    name: str,
) -> Weight:
    fixed_row = None
    if ties and _padded(body, (path, *ties)):
        raise InputError(
            f"problem '{name}': the weight '{path}' is tied to {' and '.join(ties)} and has a row (padding_idx) that "
            "gets a gradient in one of them and none in the other; set padding_idx to None, or untie them."
        )
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        fixed_row = _embedding(title, module, name)
    why = ""
    if not isinstance(module, OPENED) or not path.endswith("weight"):
        why = f"{type(module).__name__} uses it in a way of its own"
    elif {"forward", "__call__"} & (_own(type(module)) | set(vars(module))):
        why = f"{type(module).__name__} has a forward of its own"
    elif _shares_bias(body, module):
        why = "its bias is a parameter of another module too"
    elif _holds_more(module):
        why = "the layer holds parameters, buffers or modules besides weight and bias"
    if ties:
        why = f"it is one weight with {' and '.join(ties)}"
    return Weight(title, path, owner, not why, why, fixed_row, ties, aliases)


def _shares_bias(body: nn.Module, module: nn.Module) -> bool:
    """Whether another module has the same bias: with the weight given apart, each would have one of its own."""
    bias = module._parameters.get("bias")
    return bias is not None and any(
        value is bias
        for other in body.modules()
        if other is not module
        for value in other._parameters.values()
    )


def _holds_more(module: nn.Module) -> bool:
    own = {*module._parameters, *module._buffers} - {"weight", "bias"}
    return bool(own) or next(module.children(), None) is not None


def _own(kind: type) -> set[str]:
    """Names that a class or its parents outside torch define."""
    return {
        name
        for parent in kind.__mro__
        if not parent.__module__.startswith("torch.")
        for name in vars(parent)
    }


def _padded(body: nn.Module, paths: tuple[str, ...]) -> bool:
    owners = [body.get_submodule(path.rpartition(".")[0]) for path in paths]
    return any(getattr(owner, "padding_idx", None) is not None for owner in owners)


def _embedding(title: str, module: nn.Embedding | nn.EmbeddingBag, name: str) -> int | None:
    where = f"problem '{name}': layer '{title}' is a {type(module).__name__} with"
    if module.max_norm is not None:
        raise InputError(
            f"{where} max_norm, which rewrites its weight at each pass; set it to None."
        )
    if module.scale_grad_by_freq:
        raise InputError(
            f"{where} scale_grad_by_freq, whose gradient is not the derivative of the loss; set it to False."
        )
    return module.padding_idx


def _altered(body: nn.Module) -> Iterator[tuple[str, str]]:
    """Layers whose weight is no parameter but made from others, with what makes it."""
    for path, module in body.named_modules():
        patterns = next((names for kind, names in HELD if isinstance(module, kind)), ())
        for leaf in (*_parametrized(module), *vars(module)):
            if not any(fnmatchcase(leaf, p) for p in patterns):
                continue
            title = path if leaf == "weight" and path else f"{path}.{leaf}".lstrip(".")
            if leaf in _parametrized(module):
                made = list(module.get_submodule(f"parametrizations.{leaf}").children())
                names = [type(p).__name__.strip("_") for p in made]
                yield title, "parametrization " + ", ".join(names)
            elif isinstance(vars(module)[leaf], Tensor):
                yield title, "a hook before each pass"


def _parametrized(module: nn.Module) -> list[str]:
    """Names of a module's tensors that parametrizations make."""
    if not parametrize.is_parametrized(module):
        return []
    return [name for name, _ in module.get_submodule("parametrizations").named_children()]


def _others(body: nn.Module, weights: list[Weight]) -> Iterator[tuple[str, str]]:
    """Modules that hold parameters of another kind."""
    noisy = {w.owner for w in weights}
    known = {path for w in weights for path in (w.path, *w.ties)}
    for path, module in body.named_modules():
        own = [
            leaf
            for leaf, value in module._parameters.items()
            if value is not None and (f"{path}.{leaf}" if path else leaf) not in known
        ]
        if own and path not in noisy and ".parametrizations" not in f".{path}":
            frozen = not any(value.requires_grad for value in module.parameters(recurse=False))
            kind = f"{type(module).__name__}: {', '.join(own)}"
            yield path or "the module itself", f"{kind}, frozen" if frozen else kind
        yield from _unregistered(path, module)


def _unregistered(path: str, module: nn.Module) -> Iterator[tuple[str, str]]:
    """Modules in a plain list or dict, which torch does not know as parts of the network."""
    known = {id(part) for part in module.modules()}
    for name, value in vars(module).items():
        if name.startswith("_") or not isinstance(value, list | tuple | dict):
            continue
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            if (
                isinstance(part, nn.Module)
                and id(part) not in known
                and next(part.parameters(), None) is not None
            ):
                where = f"{path}.{name}" if path else name
                yield (
                    f"{where}[{key}]",
                    "no registered submodule: use nn.ModuleList or nn.ModuleDict",
                )
