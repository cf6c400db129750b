"""What a suite may say: its keys, their types and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Some = Annotated[int, Field(strict=True, ge=2, le=10**9)]
Even = Annotated[int, Field(strict=True, ge=2, le=10**9, multiple_of=2)]
Epochs = Annotated[int, Field(strict=True, ge=0, le=10**6)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemSpec(_Model):
    """A problem: its label, its factory and the factory's options.

    Attributes:
        name: Its label.
        factory: What builds it.
        options: Of the factory.
        estimators: Labels of the suite's estimators that run on it, for every measure; None for all.
        batch_sizes: Minibatch sizes on it; None for the suite's.
        training: Keys of `TrainingSpec` that are others for this problem.
        group: What problems have in common that differ in one option alone; reports draw each group as a line.
        axis: What that option is called in reports.
        x: Its value, as a number.

    A ``sweep`` (`SweepSpec`) writes out a problem for each value of one key, with ``group``, ``axis`` and ``x``.
    """

    name: Annotated[str, Field(min_length=1)]
    factory: str = "classification"
    options: dict[str, Any] = {}
    estimators: Annotated[list[str], Field(min_length=1)] | None = None
    batch_sizes: Annotated[list[Count], Field(min_length=1)] | None = None
    training: dict[str, Any] = {}
    group: str = ""
    axis: str = ""
    x: Finite | None = None


class SweepSpec(_Model):
    """One key of a problem, and the values that it takes in problems of their own.

    Attributes:
        key: Which, with dots: ``options.widths``, ``options.parameterization.alpha``, ``training.kl_weight``.
        axis: What reports call it; the key's last word by default.
        values: Numbers, or numbers with the value that each stands for.
    """

    key: Annotated[str, Field(pattern=r"^(options|training)\.[^.].*$")]
    axis: str = ""
    values: (
        Annotated[list[Finite], Field(min_length=1)]
        | Annotated[dict[Finite, Any], Field(min_length=1)]
    )

    @property
    def points(self) -> list[tuple[float, Any]]:
        """Every x with its value."""
        if isinstance(self.values, dict):
            return list(self.values.items())
        return [(x, x) for x in self.values]


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
    epochs: Epochs = 0
    estimator: EstimatorSpec = EstimatorSpec(name="local")
    batch_size: Count = 128
    learning_rate: Positive = 1e-3


class TargetSpec(_Model):
    """Intervals that are to be narrow before a cell stops.

    Attributes:
        interval: Of the ``figure`` itself; of its ``ratio`` to the baseline's; or that which a ``verdict`` on this
            ratio rests on, at a level adjusted for all pairs of the place. The baseline waits for figures alone.
        quantity: ``noise`` or ``total``; None for both.
        layer: Name of a layer, or ``all`` for the average over layers; None for every layer by itself.
        role: ``mean``, ``scale``, …; None for every role.
        precision: Relative half-width; None for that of the measure.
    """

    interval: Literal["figure", "ratio", "verdict"] = "figure"
    quantity: Literal["noise", "total"] | None = None
    layer: str | None = None
    role: str | None = None
    precision: Share | None = None


class VarianceSpec(_Model):
    """Gradient variance, until noise and total are known to ``precision`` or ``max_units`` are spent.

    Attributes:
        precision: Relative half-width aimed at.
        targets: The intervals that it is aimed at for; default those of noise and total in every layer and role. All
            others are measured with the units that these take, however wide they are.
        first_units: Units at the first look.
        max_units: Most units.
        anytime: Whether intervals hold at all looks together, so that a run may be stopped by hand because of what its
            figures say; they are wider then. Without it a run stops on the width of its intervals alone.
        few_examples: Labels of estimators whose noise part is measured on so many examples of each minibatch and
            scaled to M; only for noise that is independent from example to example.
        rao_blackwell: Labels of estimators with separate weight samples whose noise part is that of ``data_from``
            (local reparameterization) plus the variance given its pre-activations; only for chains of dense layers.
        data_from: Label of the estimator whose data part those of both kinds take over; the unbiased estimators of one
            objective share it.
    """

    precision: Share = 0.05
    targets: list[TargetSpec] = []
    first_units: Count = 64
    max_units: Count = 4096
    anytime: bool = False
    few_examples: dict[str, Count] = {}
    rao_blackwell: list[str] = []
    data_from: str | None = None


class BiasSpec(_Model):
    """Relative bias given the minibatch, against the reference, from averages of ``draws`` draws."""

    units: Some = 64
    draws: Count = 8


class RoundingSpec(_Model):
    """Bias and variance of gradients whose products are rounded, against the same draws in float64.

    Attributes:
        precisions: Which are compared with float64.
        units: Minibatches, with two draws each.
    """

    precisions: Annotated[list[Literal["float32", "tf32", "bf16"]], Field(min_length=1)] = [
        "float32",
        "tf32",
        "bf16",
    ]
    units: Annotated[int, Field(strict=True, ge=16, le=10**9)] = 256


class ThroughputSpec(_Model):
    """Seconds per gradient, in interleaved rounds.

    Attributes:
        rounds: At most.
        budget_seconds: No further round is begun after so many seconds.
        precision: Relative half-width of the intervals of all medians at which a pass ends; None for all rounds.
        clock: ``wall``, on a machine that does nothing else; or ``processor``, of a CPU, which leaves out the time in
            which a process waits for a core.
    """

    rounds: Annotated[int, Field(strict=True, ge=8, le=10**9)] = 30
    budget_seconds: Positive = 60.0
    precision: Share | None = None
    clock: Literal["wall", "processor"] = "wall"


class MemorySpec(_Model):
    """Peak memory of one gradient, each repetition in a process of its own."""

    repetitions: Some = 6


class ConvergenceSpec(_Model):
    """ELBO by steps and seconds of training, over several seeds."""

    steps: Count = 300
    evaluations: Count = 12
    seeds: Some = 3
    learning_rate: Positive = 1e-2
    batch_size: Count | None = None
    samples: Even = 8
    examples: Count | None = None
    target: Finite | None = None


class TrainingSpec(_Model):
    """Whole trainings over several seeds, and what they give on the test set.

    Attributes:
        epochs: In all.
        seeds: Trainings; the initial weights and minibatches of a seed are those of all problems and estimators.
        batch_size: M.
        learning_rate: Adam's, at its highest.
        schedule: ``constant``, ``linear``, ``cosine``, or ``step`` with its options beside it, as in
            ``{kind: step, every: 10, by: 0.1}``.
        noise_rate: What the learning rate is multiplied by for the coordinates of the noise, log σ² or log α.
        kl_weight: What the KL is multiplied by; 1 for the ELBO, 0 for maximum likelihood.
        warm_up: Epochs over which that weight rises linearly from 0.
        log_alpha_bounds: Lowest and highest log α, null for none.
        validation: Share of the training set that is held out; the parameters of its best epoch are reported.
        patience: Epochs without a better one after which training stops; null to train on to the end.
        samples: S, weight samples of a prediction, in antithetic pairs where those make the ELBO less noisy.
        evaluations: How often, beside the start, test set and ELBO are evaluated.
        examples: Training examples that the ELBO is estimated from; null for all.
        prune: log α from which on a weight is pruned; null not to prune.
    """

    epochs: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 10
    seeds: Some = 3
    batch_size: Count = 128
    learning_rate: Positive = 1e-3
    schedule: str | dict[str, Any] = "constant"
    noise_rate: Positive = 1.0
    kl_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    warm_up: Epochs = 0
    log_alpha_bounds: tuple[Finite | None, Finite | None] | None = None
    validation: Share | None = None
    patience: Count | None = None
    samples: Even = 16
    evaluations: Count = 10
    examples: Count | None = 2000
    prune: Finite | None = None


class CoverageSpec(_Model):
    """How often the intervals of the suite's other measures hold: each is repeated with fresh random numbers.

    Attributes:
        repetitions: Of variance, whole runs with their stops, and of bias.
        truth_units: Units of the separate run that tells the true variances.
        trainings: Repetitions of convergence, each of as many seeds as the suite's measure has.
        passes: Repetitions of throughput: passes in which an estimator is timed against itself.
    """

    repetitions: Some = 2000
    truth_units: Annotated[int, Field(strict=True, ge=256, le=10**9)] = 131072
    trainings: Some = 2000
    passes: Some = 100


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
    """The measures of a suite; those left out are not taken.

    A measure that is not among these fields brings its own (`vdbench.measures.registry.FullSuite`).
    """

    variance: VarianceSpec | None = None
    bias: BiasSpec | None = None
    rounding: RoundingSpec | None = None
    throughput: ThroughputSpec | None = None
    memory: MemorySpec | None = None
    convergence: ConvergenceSpec | None = None
    training: TrainingSpec | None = None
    coverage: CoverageSpec | None = None
    false_alarms: FalseAlarmsSpec | None = None
    power: PowerSpec | None = None
    kills: KillsSpec | None = None

    @model_serializer(mode="wrap")
    def _asked(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Those asked for alone: read from a suite, ``null`` asks for a measure with its defaults."""
        return {name: value for name, value in plain(self).items() if value is not None}

    def of(self, name: str) -> Any:
        """The options of a measure; None where it is not asked for."""
        return getattr(self, name, None)


class PublishedSpec(_Model):
    """A figure that somebody else published, to be set beside ours; nothing is computed from it.

    Attributes:
        source: Where it was published, as a reader would look it up.
        metric: The metric of ours that it stands beside, such as ``variance.total``.
        estimator: Label of the estimator.
        value: The figure.
        problem: Label of the problem; empty for any.
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
    problem: str = ""
    verified: bool = True
    checkpoint: str = ""
    layer: str = "all"
    role: str = "all"
    batch_size: Count | None = None
    unit: str = ""
    note: str = ""


class ClaimSpec(_Model):
    """A claim about our figures, and between which numbers it says that one lies; a report gives the verdict on it.

    Attributes:
        says: The claim, in one sentence.
        metric: The figure that it is about, as a row of the results has it: ``slope.variance.noise``, or
            ``ratio.variance.noise``, which is the ratio to the baseline.
        estimator: Label of the estimator.
        low: The claim holds from here on; None for no lower end.
        high: It holds up to here; None for no upper end.
        source: Where it was published; empty where it is a closed form or a question of ours.
        verified: Whether it was read in the source; a claim recalled is shown as such.
        problem: Label of the problem; empty where the suite has one.
        checkpoint: Where; empty where there is one.
        layer: Of the network, ``all`` for the whole.
        role: Of the parameters.
        batch_size: M; 0 for a slope or a floor over M; None where there is one.
        against: For ``pairwise.`` metrics, the estimator that the ratio is to.
        over: Other values of problem, checkpoint, batch_size, role or estimator at which the same metric is the
            denominator: the claim is about the quotient of two figures.
    """

    says: Annotated[str, Field(min_length=1)]
    metric: str
    estimator: str
    low: Finite | None = None
    high: Finite | None = None
    source: str = ""
    verified: bool = True
    problem: str = ""
    checkpoint: str = ""
    layer: str = "all"
    role: str = "all"
    batch_size: int | None = None
    against: str = ""
    over: dict[Literal["problem", "checkpoint", "batch_size", "role", "estimator"], Any] = {}

    @model_validator(mode="after")
    def _has_a_range(self) -> ClaimSpec:
        """Refuse a claim without numbers, which nothing could contradict, and one that nothing could fulfil."""
        if self.low is None and self.high is None:
            raise ValueError("expected low, high or both: the claim is about where the figure lies")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Suite(_Model):
    """A benchmark: problems × checkpoints × batch sizes × estimators × measures.

    Attributes:
        name: Name of the suite.
        description: The question that it answers, for `vdbench list suites` and the first screen of a report.
        seed: Every random number is addressed below it.
        level: Level of all intervals.
        objective: ``likelihood`` (the N/M-scaled log-likelihood) or ``elbo`` (−KL's gradient is added).
        precision: ``float32`` or ``float64``, the floating-point type; or ``tf32`` or ``bf16``, float32 with the inputs
            of matrix products rounded (`vdbench.arithmetic`). Checkpoints are trained in float32 for these.
        modes: How gradients are computed where they are timed: ``eager`` (called from Python, as by a plain loop),
            ``graph`` (a CUDA graph, replayed) and ``compile`` (`torch.compile`). Reports rank by the first.
        noise: How random numbers are made: by torch's generator, the quicker one on a CPU; or by counter, ``philox``,
            which gives the same ones on every device and in every precision. Minibatches and initial weights do not
            depend on it.
        threads: Threads that torch uses on a CPU, for every cell. None: one, and torch's own choice where seconds or
            bytes are measured. A small network is quickest on one, and figures are then independent of the machine's
            number of cores.
        timeout: Seconds after which a cell, or the training of a checkpoint, is ended; it has failed then, and a rerun
            goes on with it.
        timeout_run: Seconds after which a whole run is ended in this way: no cell is begun, and those at work are
            ended. Where all is measured in one process, the cell at work goes on to its end.
        memory: GiB that the process of a cell may take; None for nine tenths of the machine's.
        problems: What is learned.
        checkpoints: Where gradients are measured: ``initial``, or a training.
        batch_sizes: Minibatch sizes M.
        estimators: What is compared.
        baseline: Label of the estimator that ratios are against.
        reference: The unbiased estimator that bias is measured against.
        baseline_problem: The problem that the trainings of the others are compared with, seed by seed; or a group, of
            which each is compared with the problem at its own x.
        measures: What is measured.
        published: Figures from the literature that the report sets beside ours.
        claims: Statements that the report judges by our intervals.
        scale: Which of the ``scales`` this is, ``full`` for the suite as it is written.
        scales: By name, changes that make the suite smaller or larger: dotted keys with values, as ``--set`` takes
            them. Those of the scale that is run are made when the suite is read, and stand here no longer.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    objective: Literal["likelihood", "elbo"] = "likelihood"
    precision: Literal["float32", "float64", "tf32", "bf16"] = "float32"
    modes: Annotated[list[Literal["eager", "graph", "compile"]], Field(min_length=1)] = ["eager"]
    noise: Literal["torch", "philox"] = "torch"
    threads: Count | None = None
    timeout: Positive = 86400.0
    timeout_run: Positive = 2592000.0
    memory: Positive | None = None
    problems: Annotated[list[ProblemSpec], Field(min_length=1)]
    checkpoints: Annotated[list[CheckpointSpec], Field(min_length=1)] = [CheckpointSpec()]
    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    estimators: Annotated[list[EstimatorSpec], Field(min_length=1)]
    baseline: str
    reference: EstimatorSpec = EstimatorSpec(name="naive")
    baseline_problem: str | None = None
    measures: MeasuresSpec
    published: list[PublishedSpec] = []
    claims: list[ClaimSpec] = []
    scale: str = "full"
    scales: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        problems = ", ".join([p.name for p in self.problems[:3]] + ["…"] * (len(self.problems) > 3))
        measured = ", ".join(name for name, asked in self.measures if asked is not None)
        return (
            f"Suite({self.name!r}: {len(self.problems)} problems ({problems}), {len(self.checkpoints)} checkpoints, "
            f"batch sizes {list(self.batch_sizes)}, {len(self.estimators)} estimators, measures {measured})"
        )

    __str__ = __repr__
