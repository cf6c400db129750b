"""Training: whole trainings, and the convergence of short ones."""

from __future__ import annotations

from reports.document import Block
from reports.sections.convergence import convergence_blocks
from reports.sections.section import Findings
from reports.sections.whole_trainings import training_blocks


class Training:
    """Whole trainings first, then the ELBO of short ones."""

    anchor = "training"
    title = "Training"

    def blocks(self, found: Findings) -> list[Block]:
        """Compose the section."""
        blocks = [*training_blocks(found.trainings), *convergence_blocks(found.groups)]
        return blocks
