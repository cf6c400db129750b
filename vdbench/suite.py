"""Suites: what is run, declared in YAML, and nothing about how.

A suite is validated before anything is measured: unknown keys are refused with the nearest valid one, every name is
looked up, every option checked. The resolved suite is written to ``run.json``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from vdbench.errors import InputError, nearest

Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemSpec(_Model):
    """A problem: its label, its factory and the factory's options."""

    name: Annotated[str, Field(min_length=1)]
    factory: str = "classification"
    options: dict[str, Any] = {}


class EstimatorSpec(_Model):
    """An estimator: its name and options; an option given as a list stands for each of its values."""

    name: str
    options: dict[str, Any] = {}


class CheckpointSpec(_Model):
    """Where gradients are measured: at initialisation (0 epochs), or after training with an estimator.

    Without a ``name`` it is called ``initial``, or by estimator and epochs: ``local-10-epochs``.
    """

    name: str = ""
    epochs: Annotated[int, Field(strict=True, ge=0)] = 0
    estimator: EstimatorSpec = EstimatorSpec(name="local")
    batch_size: Count = 128
    learning_rate: Positive = 1e-3


class VarianceSpec(_Model):
    """Gradient variance, until noise and total are known to ``precision`` or ``max_units`` are spent."""

    precision: Share = 0.05
    first_units: Count = 64
    max_units: Count = 4096


class BiasSpec(_Model):
    """Relative bias given the minibatch, against the reference, from averages of ``draws`` draws."""

    units: Annotated[int, Field(strict=True, ge=2)] = 64
    draws: Count = 8


class ThroughputSpec(_Model):
    """Seconds per gradient, in interleaved rounds."""

    rounds: Annotated[int, Field(strict=True, ge=8)] = 30
    budget_seconds: Positive = 60.0


class MemorySpec(_Model):
    """Peak memory of one gradient, each repetition in a process of its own."""

    repetitions: Annotated[int, Field(strict=True, ge=2)] = 6


class ConvergenceSpec(_Model):
    """ELBO by steps and seconds of training, over several seeds."""

    steps: Count = 300
    evaluations: Count = 12
    seeds: Annotated[int, Field(strict=True, ge=2)] = 3
    learning_rate: Positive = 1e-2
    batch_size: Count | None = None
    samples: Annotated[int, Field(strict=True, ge=2, multiple_of=2)] = 8
    examples: Count | None = None
    target: float | None = None


class MeasuresSpec(_Model):
    """The measures of a suite; those left out are not taken."""

    variance: VarianceSpec | None = None
    bias: BiasSpec | None = None
    throughput: ThroughputSpec | None = None
    memory: MemorySpec | None = None
    convergence: ConvergenceSpec | None = None


class Suite(_Model):
    """A benchmark: problems × checkpoints × batch sizes × estimators × measures.

    Attributes:
        name: Name of the suite.
        description: One sentence for `vdbench list suites`.
        seed: Every random number is addressed below it.
        level: Level of all intervals.
        objective: ``likelihood`` (the N/M-scaled log-likelihood) or ``elbo`` (−KL's gradient is added).
        precision: Floating-point type.
        threads: Threads that torch uses on a CPU; None for torch's own choice. A small network is quickest on one,
            which also makes figures independent of the machine's number of cores.
        problems: What is learned.
        checkpoints: Where gradients are measured: ``initial``, or a training.
        batch_sizes: Minibatch sizes M.
        estimators: What is compared.
        baseline: Label of the estimator that ratios are against.
        reference: The unbiased estimator that bias is measured against.
        measures: What is measured.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    objective: Literal["likelihood", "elbo"] = "likelihood"
    precision: Literal["float32", "float64"] = "float32"
    threads: Count | None = None
    problems: Annotated[list[ProblemSpec], Field(min_length=1)]
    checkpoints: Annotated[list[CheckpointSpec], Field(min_length=1)] = [CheckpointSpec()]
    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    estimators: Annotated[list[EstimatorSpec], Field(min_length=1)]
    baseline: str
    reference: EstimatorSpec = EstimatorSpec(name="naive")
    measures: MeasuresSpec


def names() -> list[str]:
    """Names of the bundled suites."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    from vdbench.registry import import_own

    return Path(import_own("suites").__file__).parent


def load(source: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Suite:
    """Load and validate a suite.

    Args:
        source: Name of a bundled suite, path of a YAML file, or the suite as a mapping.
        settings: ``key=value`` changes, such as ``measures.variance.max_units=256`` or ``batch_sizes=[16,64]``;
            values are YAML.

    Raises:
        InputError: The suite cannot be found or read, or is not valid; one sentence says where and why.
    """
    where, content = _content(source)
    for setting in settings:
        _set(content, setting)
    try:
        suite = Suite.model_validate(_short_forms(where, content))
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from error
    return _check(where, suite)


def _content(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(source, Mapping):
        return "suite", copy.deepcopy(dict(source))
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        path = _folder() / f"{source}.yaml"
        if not path.is_file():
            raise InputError(
                f"suite '{source}' is neither a bundled suite nor a file.{nearest(str(source), names())}"
            )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"suite '{source}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "it is not UTF-8 text"
        raise InputError(f"suite '{source}' is not valid YAML:{line} {problem}.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"suite '{source}': expected keys and values, found {type(content).__name__}."
        )
    return f"suite '{source}'", content


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which YAML keeps the last and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _set(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise InputError(f"--set {setting}: expected key=value, such as seed=1.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {setting}: the value is not valid YAML.") from error
    *path, last = key.split(".")
    place: Any = content
    for part in path:
        place = _below(place, part, setting)
    if isinstance(place, list):
        _below(place, last, setting)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise InputError(f"--set {setting}: there is no '{last}' below '{'.'.join(path)}'.")


def _below(place: Any, part: str, setting: str) -> Any:
    """One step down a suite: a key, made if it is not there, or the number of a list's item."""
    if isinstance(place, dict):
        return place.setdefault(part, {})
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, list):
        numbers = f"0 to {len(place) - 1}"
        raise InputError(f"--set {setting}: '{part}' is no item of the list; expected {numbers}.")
    raise InputError(f"--set {setting}: there is no '{part}' below a plain value.")


def _short_forms(where: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write out what may be written short: estimators as a name, the checkpoint ``initial``, a measure as {}."""
    full = dict(content)
    for key in ("estimators", "checkpoints"):
        if isinstance(full.get(key), list):
            full[key] = [_long(where, key, item) for item in full[key]]
    if "reference" in full:
        full["reference"] = _long(where, "reference", full["reference"])
    measures = full.get("measures")
    if isinstance(measures, dict):
        asked = {k: v for k, v in measures.items() if v is not False}
        full["measures"] = {k: {} if v is None or v is True else v for k, v in asked.items()}
    return full


def _long(where: str, key: str, item: Any) -> Any:
    if key == "checkpoints":
        if item == "initial":
            return {}
        if isinstance(item, str):
            raise InputError(f"{where}: checkpoint '{item}' is unknown. Did you mean 'initial'?")
        if isinstance(item, dict) and isinstance(item.get("estimator"), str):
            return {**item, "estimator": {"name": item["estimator"]}}
        return item
    return {"name": item} if isinstance(item, str) else item


def explain(error: pydantic.ValidationError) -> str:
    """One sentence for the first thing that is wrong, with the nearest valid key where one is unknown."""
    # a mistyped key is also a missing one: name the mistype first
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    at = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = _keys(Suite, first["loc"][:-1])
        above = f" in {'.'.join(place[:-1])}" if place[:-1] else ""
        return f"unknown key '{place[-1]}'{above}.{nearest(place[-1], known)}"
    if first["type"] == "missing":
        return f"key '{at}' is missing."
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{at}: {message}, not {first['input']!r}."


def _keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The valid keys of the model at a path below another."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            found = _models(model.model_fields[part].annotation)
            if not found:
                return []
            model = found[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = getattr(annotation, "__args__", ())
    return list(itertools.chain.from_iterable(_models(a) for a in inner))


def _check(where: str, suite: Suite) -> Suite:
    """Look up every name and check every option, before anything is measured."""
    from vdbench import registry

    repeated = _repeated([p.name for p in suite.problems])
    if repeated:
        raise InputError(f"{where}: two problems are called '{repeated}'.")
    repeated = _repeated(suite.batch_sizes)
    if repeated:
        raise InputError(f"{where}: batch size {repeated} is given twice.")
    try:
        labels = [registry.label(e) for spec in suite.estimators for e in expand(spec)]
        single(suite.reference)
        for checkpoint in suite.checkpoints:
            single(checkpoint.estimator)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    repeated = _repeated(labels)
    if repeated:
        raise InputError(f"{where}: estimator '{repeated}' is given twice.")
    repeated = _repeated([checkpoint_name(c) for c in suite.checkpoints])
    if repeated:
        raise InputError(f"{where}: two checkpoints are called '{repeated}'; give one a name.")
    if suite.baseline not in labels:
        raise InputError(
            f"{where}: baseline '{suite.baseline}' is none of the suite's estimators."
            f"{nearest(suite.baseline, labels)}"
        )
    if all(value is None for _, value in suite.measures):
        raise InputError(f"{where}: measures is empty.{nearest('', MeasuresSpec.model_fields)}")
    return suite


def _repeated(values: Sequence[Any]) -> Any:
    return next((v for i, v in enumerate(values) if v in values[:i]), None)


def expand(spec: EstimatorSpec) -> list[Any]:
    """The estimators that a specification stands for: one for each combination of listed option values.

    Raises:
        InputError: The name or an option is not one there is.
    """
    from vdbench import registry

    grid = {k: v if isinstance(v, list) else [v] for k, v in spec.options.items()}
    combinations = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    if not combinations:
        raise InputError(f"estimator '{spec.name}': an option's list of values is empty.")
    return [registry.get(spec.name, **options) for options in combinations]


def single(spec: EstimatorSpec) -> Any:
    """The one estimator that a specification stands for.

    Raises:
        InputError: It stands for several, or is not valid.
    """
    found = expand(spec)
    if len(found) > 1:
        raise InputError(
            f"estimator '{spec.name}': one is needed here, the options give {len(found)}."
        )
    return found[0]


def checkpoint_name(spec: CheckpointSpec) -> str:
    """The name given, else ``initial`` or ``local-5-epochs``."""
    from vdbench import registry

    if spec.name:
        return spec.name
    if spec.epochs == 0:
        return "initial"
    return f"{registry.label(single(spec.estimator))}-{spec.epochs}-epochs"
