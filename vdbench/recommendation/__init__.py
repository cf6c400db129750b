"""Which estimator to use for a model: candidates measured in turn, and eliminated as soon as that is sure."""

from vdbench.recommendation.one_model import recommend
from vdbench.recommendation.result import Recommendation

__all__ = ["Recommendation", "recommend"]
