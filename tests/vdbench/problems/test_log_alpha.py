"""log α by pixel, and its bounds."""

from __future__ import annotations

import math

import pytest
import torch
from families import problem
from small_training import KEY, classifier
from torch import nn

from vdbench.datasets import Dataset, Split
from vdbench.errors import CellError
from vdbench.problems.families.low_rank import LowRankPlusDiagonal
from vdbench.problems.families.low_rank_scale import LowRankScale
from vdbench.problems.families.matrix_normal import MatrixNormal
from vdbench.problems.from_module import noisy
from vdbench.problems.gaussian import MeanLogVariance, ThetaLogAlpha
from vdbench.problems.log_alpha import clamp, image_map
from vdbench.problems.parameterization import Parameterization

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("per", ["input", "output", "layer", "weight"])
def test_maps_are_log_alpha_by_pixel(per: str) -> None:
    """Three images of two channels, 2 × 2: the mean over outputs and channels of each pixel's log α."""
    inputs = torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    split = Split(inputs, torch.tensor([0, 1, 0]))
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    problem = noisy(
        module, Dataset("images", split, split, 2), parameterization=ThetaLogAlpha(0.5, per=per)
    )
    parameters = problem.initial(KEY)
    logs = parameters["1.log_alpha"]
    logs += torch.arange(logs.numel()).reshape(logs.shape) / 4
    found = image_map(problem, parameters)
    assert found is not None
    whole = logs.expand(5, 8)
    for pixel in range(4):
        feeding = [float(whole[j, i]) for j in range(5) for i in (pixel, 4 + pixel)]
        assert float(found[pixel // 2, pixel % 2]) == pytest.approx(sum(feeding) / 10, abs=1e-5)


def test_no_map_where_the_first_layer_sees_no_image() -> None:
    problem = classifier(ThetaLogAlpha(0.5))
    assert image_map(problem, problem.initial(KEY)) is None


def test_an_upper_bound_leaves_the_variance_where_a_mean_goes_through_zero() -> None:
    """Lowered with the mean, log σ² would stay down when the mean has passed, and the weight have lost its noise."""
    problem = classifier(MeanLogVariance(0.5))
    parameters = problem.initial(KEY)
    before = {n: v.clone() for n, v in parameters.items()}
    means = parameters["0.mean"].view(-1)
    means[:3] = torch.tensor([0.0, -1e-9, 1e-4])
    clamp(problem, parameters, problem.free(parameters), (-8, 8))
    assert bool((parameters["0.log_variance"] == before["0.log_variance"]).all())
    least = 0.5 * math.exp(-4)
    assert means[:3].tolist() == pytest.approx([least, -least, least])
    assert bool((means[3:] == before["0.mean"].view(-1)[3:]).all())


@pytest.mark.parametrize("form", [MatrixNormal(), LowRankPlusDiagonal(), LowRankScale()])
def test_bounds_need_a_variance_of_each_weight(form: Parameterization) -> None:
    """Log d² beside factors is that of a part of the weight alone."""
    made, parameters, _ = problem(form, [(2, 2)], 2)
    with pytest.raises(CellError, match="log_variance of the weights alone; layer '0' has neither"):
        clamp(made, parameters, made.free(parameters), (-8, 8))
