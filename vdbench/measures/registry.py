"""All measures, in the order in which they are taken at a place. Adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import create_model

from vdbench import suite
from vdbench.errors import InputError, sentence
from vdbench.measures.bias import Bias
from vdbench.measures.convergence import Convergence
from vdbench.measures.instrument.coverage import Coverage
from vdbench.measures.instrument.false_alarms import FalseAlarms
from vdbench.measures.instrument.kills import Kills
from vdbench.measures.instrument.power import Power
from vdbench.measures.memory import Memory
from vdbench.measures.noise_scale import NoiseScale
from vdbench.measures.protocol import Measure
from vdbench.measures.rounding import Rounding
from vdbench.measures.throughput import Throughput
from vdbench.measures.time_to_target import TimeToTarget
from vdbench.measures.training import Training
from vdbench.measures.variance import Variance
from vdbench.suite.schema import MeasuresSpec, Suite

MEASURES: tuple[Measure, ...] = (
    Throughput(),  # first: alone on the device
    Memory(),
    Variance(),
    Bias(),
    NoiseScale(),
    Rounding(),
    Coverage(),
    FalseAlarms(),
    Power(),
    Kills(),
    Convergence(),
    TimeToTarget(),
    Training(),
)

# Options of measures that `MeasuresSpec` does not have itself.
_more: dict[str, Any] = {
    m.name: (m.spec | None, None) for m in MEASURES if m.name not in MeasuresSpec.model_fields
}
_measures = create_model("MeasuresSpec", __base__=MeasuresSpec, **_more)

FullSuite: type[Suite] = create_model("Suite", __base__=Suite, measures=(_measures, ...))
"""A suite with the options of all measures."""


def asked(suite: Suite) -> list[Measure]:
    """The measures that a suite asks for."""
    return [measure for measure in MEASURES if measure.asked(suite) is not None]


def load(source: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Suite:
    """Load and validate a suite, and see that all it asks for can be measured; see `vdbench.suite.load`.

    Raises:
        InputError: The suite is not valid, or asks for what cannot be measured.
    """
    found = suite.load(source, settings, FullSuite)
    where = "suite" if isinstance(source, Mapping) else f"suite '{source}'"
    try:
        for measure in MEASURES:
            measure.check(where, found)
    except InputError as error:
        raise InputError(sentence(str(error))) from error
    return found
