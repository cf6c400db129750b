"""All entries of the zoo."""

from __future__ import annotations

import zoo_anchors
import zoo_fitted
import zoo_gradients
import zoo_masks
import zoo_mixtures
import zoo_moments
import zoo_noise
import zoo_paths
import zoo_perturbed
import zoo_right
import zoo_scores
from zoo_making import ENTRIES, Entry

FILES = (
    zoo_noise,
    zoo_paths,
    zoo_gradients,
    zoo_scores,
    zoo_perturbed,
    zoo_masks,
    zoo_mixtures,
    zoo_moments,
    zoo_anchors,
    zoo_fitted,
    zoo_right,
)
"""Where they are."""

DEFECTS: dict[str, Entry] = {n: e for n, e in ENTRIES.items() if e.kind == "defect"}
RIGHT: dict[str, Entry] = {n: e for n, e in ENTRIES.items() if e.kind == "right"}
