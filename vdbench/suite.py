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
    """An estimator: its name and options; an option given as a list stands for each of its values.

    What a wrapper wraps is written like that as well, as its option ``of``: a name, or a mapping with ``name`` and
    ``options``, in which lists stand for each of their values too.
    """

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
    """Gradient variance, until noise and total are known to ``precision`` or ``max_units`` are spent.

    Attributes:
        precision: Relative half-width aimed at.
        first_units: Units at the first look.
        max_units: Most units.
        few_examples: Labels of estimators whose noise part is measured on so many examples of each minibatch and
            scaled to M; only for noise that is independent from example to example.
        data_from: Label of the estimator whose data part those take over; the unbiased estimators of one
            objective share it.
    """

    precision: Share = 0.05
    first_units: Count = 64
    max_units: Count = 4096
    few_examples: dict[str, Count] = {}
    data_from: str | None = None


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


class CoverageSpec(_Model):
    """How often the intervals of the suite's other measures hold: each is repeated with fresh random numbers.

    Attributes:
        repetitions: Of variance, whole runs with their stops, and of bias.
        truth_units: Units of the separate run that tells the true variances.
        trainings: Repetitions of convergence, each of as many seeds as the suite's measure has.
        passes: Repetitions of throughput: passes in which an estimator is timed against itself.
    """

    repetitions: Annotated[int, Field(strict=True, ge=2)] = 2000
    truth_units: Annotated[int, Field(strict=True, ge=256)] = 131072
    trainings: Annotated[int, Field(strict=True, ge=2)] = 2000
    passes: Annotated[int, Field(strict=True, ge=2)] = 100


class FalseAlarmsSpec(_Model):
    """How often an estimator's variance is called different from its own under another seed."""

    comparisons: Count = 1000


class PowerSpec(_Model):
    """How often a planted difference of variances is called, and called rightly.

    Attributes:
        comparisons: Pairs of runs of each estimator.
        differences: Relative differences planted.
        precisions: Further precisions that runs of the baseline aim at, with more units in proportion.
    """

    comparisons: Count = 500
    differences: Annotated[list[Positive], Field(min_length=1)] = [0.05, 0.1, 0.2]
    precisions: list[Share] = []


class KillsSpec(_Model):
    """Campaigns in which a run is killed again and again, taken up each time, and compared with one undisturbed.

    Attributes:
        campaigns: How many.
        kills: Of each.
        report: Whether the runs write their report too, and are killed at that.
    """

    campaigns: Count = 20
    kills: Count = 10
    report: bool = True


class MeasuresSpec(_Model):
    """The measures of a suite; those left out are not taken."""

    variance: VarianceSpec | None = None
    bias: BiasSpec | None = None
    throughput: ThroughputSpec | None = None
    memory: MemorySpec | None = None
    convergence: ConvergenceSpec | None = None
    coverage: CoverageSpec | None = None
    false_alarms: FalseAlarmsSpec | None = None
    power: PowerSpec | None = None
    kills: KillsSpec | None = None


class PublishedSpec(_Model):
    """A figure that somebody else published, to be set beside ours; nothing is computed from it.

    Attributes:
        source: Where it was published, as a reader would look it up.
        metric: The metric of ours that it stands beside, such as ``variance.total``.
        estimator: Label of the estimator.
        value: The figure.
        verified: Whether it was read in the source; a figure recalled is shown as such.
        checkpoint: Where; empty for any.
        layer: Of the network, ``all`` for the whole.
        role: Of the parameters.
        batch_size: M; None for any.
        unit: Its unit.
        note: What else a reader should know.
    """

    source: Annotated[str, Field(min_length=1)]
    metric: str
    estimator: str
    value: Annotated[float, Field(allow_inf_nan=False)]
    verified: bool = True
    checkpoint: str = ""
    layer: str = "all"
    role: str = "all"
    batch_size: Count | None = None
    unit: str = ""
    note: str = ""


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
        published: Figures from the literature that the report sets beside ours.
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
    published: list[PublishedSpec] = []


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
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # << takes over another mapping's keys, which may be given again
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
    from vdbench.instrument.work import check as check_instrument

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
    _check_few_examples(where, suite)
    check_instrument(where, suite)
    if all(value is None for _, value in suite.measures):
        raise InputError(f"{where}: measures is empty.{nearest('', MeasuresSpec.model_fields)}")
    return suite


def _check_few_examples(where: str, suite: Suite) -> None:
    """See that the noise of each estimator measured on few examples is a sum over them, and its mean the source's."""
    from vdbench import registry

    spec = suite.measures.variance
    if spec is None or not (spec.few_examples or spec.data_from):
        return
    at = f"{where}: measures.variance"
    known = {registry.label(e): e for item in suite.estimators for e in expand(item)}
    for name in (*spec.few_examples, *([spec.data_from] if spec.data_from else [])):
        if name not in known:
            raise InputError(
                f"{at}: '{name}' is none of the suite's estimators.{nearest(name, known)}"
            )
    if not (spec.few_examples and spec.data_from):
        raise InputError(f"{at}: few_examples and data_from are given together or not at all.")
    if spec.data_from in spec.few_examples:
        raise InputError(f"{at}: data_from '{spec.data_from}' is itself in few_examples.")
    source = known[spec.data_from].declaration
    for name, count in spec.few_examples.items():
        mine = known[name].declaration
        if not mine.independent_examples:
            raise InputError(
                f"{at}: the noise of '{name}' is not independent from example to example, "
                "so that few of them do not tell the noise of a minibatch."
            )
        if not (mine.unbiased and source.unbiased and mine.objective == source.objective):
            raise InputError(
                f"{at}: '{name}' cannot take its data part from '{spec.data_from}': "
                "they are not both unbiased for one objective."
            )
        if count > min(suite.batch_sizes):
            raise InputError(
                f"{at}: few_examples of '{name}' is {count}, more than batch size {min(suite.batch_sizes)}."
            )


def _repeated(values: Sequence[Any]) -> Any:
    return next((v for i, v in enumerate(values) if v in values[:i]), None)


def expand(spec: EstimatorSpec) -> list[Any]:
    """The estimators that a specification stands for: one for each combination of listed option values.

    Raises:
        InputError: The name or an option is not one there is.
    """
    from vdbench import registry

    combinations = _combinations(spec.options)
    if not combinations:
        raise InputError(f"estimator '{spec.name}': an option's list of values is empty.")
    return [registry.get(spec.name, **options) for options in combinations]


def _combinations(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every mapping that one with lists in it stands for; a mapping within, as a wrapper's ``of``, is a grid too."""
    values = {key: value if isinstance(value, list) else [value] for key, value in grid.items()}
    each = [
        [
            one
            for item in items
            for one in (_combinations(item) if isinstance(item, Mapping) else [item])
        ]
        for items in values.values()
    ]
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*each)]


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
