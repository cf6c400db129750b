"""Training with an estimator, and judging what was trained."""

from vdbench.training.evaluation import Prediction, mean_weights, predict
from vdbench.training.trainer import Trainer

__all__ = ["Prediction", "Trainer", "mean_weights", "predict"]
