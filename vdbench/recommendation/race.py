"""The race: candidates are begun with, looked at again and again, and left when all is settled or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vdbench.errors import InputError
from vdbench.measures import throughput
from vdbench.measures.progress import Progress
from vdbench.measures.timing import Timer
from vdbench.recommendation.contest import BYTES, SECONDS, Contest, Plan, Question
from vdbench.recommendation.forecast import Step
from vdbench.recommendation.measuring import SAMPLE, Measuring

MOST = 65_536
"""Units at the last look, about."""

ROUNDS = 24
"""Rounds of timing at the first look: an interval of ranks at the level of one pair needs about as many."""

BLOCKS = {64: 64, 16: 32, 4: 16}
"""Units in a block, and at the first look: of cheap gradients, and of more expensive ones."""

COARSE = 4
"""Steps of counting that the baseline's peak of memory has at least; a smaller one is too little to be compared."""

GLANCE = 0.3
"""Share of the time for a first block of each candidate; those that do not fit in are not tried."""

SLOW = 0.1
"""Share of the time for the first block of one candidate."""

WEIGHING = 0.15
"""Share of the time for measuring memory."""

OPENING = 0.5
"""Share of the time for the first look; candidates that do not fit in are set aside, the worst at first sight."""


@dataclass
class Race:
    """A contest at work.

    Attributes:
        measuring: Of the candidates.
        seconds: That it may take, from ``began``.
        began: Reading of the performance counter.
        error: Probability that anything said is wrong, at most.
        zone: Relative difference that does not matter.
        progress: Told what is done.
        late: Numbers of the candidates for which there was no time.
        steps: What was seen, look by look.
        spent: Seconds that went to each candidate.
        speed: Seconds of a gradient at first sight.
        aside: Numbers of the candidates that were left after the first sight, for lack of time.
    """

    measuring: Measuring
    seconds: float
    began: float
    error: float
    zone: float
    progress: Progress
    clock: Callable[[], float] = time.perf_counter
    late: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    spent: dict[int, float] = field(default_factory=dict)
    speed: dict[int, float] = field(default_factory=dict)
    aside: list[int] = field(default_factory=list)
    _pace: float = 1.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    def run(self, questions: tuple[Question, ...]) -> Contest:
        """Measure until all is settled, or the time is up.

        Args:
            questions: What is asked.

        Returns:
            The contest as it stands then.
        """
        self.progress.start(len(self.measuring.candidates))
        plan = self._opening()
        contest = Contest(
            plan,
            self.measuring.taken,
            self._askable(questions),
            self.error,
            self.zone,
            len(self.measuring.candidates),
        )
        self._look(contest, 0)
        pace = self._pace
        for number in range(1, len(plan.looks)):
            active = contest.active
            foreseen = self._cost(plan, number, active)
            if not active or self.elapsed + pace * foreseen > self.seconds:
                break
            began = self.clock()
            self._measure(plan, number, active)
            pace = max(
                1.0, (self.clock() - began) / foreseen
            )  # other work on the machine costs time, too
            self._need_baseline()
            for failed in self.measuring.failed:
                contest.lost(failed)
            self._look(contest, number)
        return contest

    def _need_baseline(self) -> None:
        """See that the baseline has not failed: nothing can be said without it."""
        if 0 in self.measuring.failed:
            raise InputError(
                f"recommend: the baseline cannot be measured: {self.measuring.failed[0]}"
            )

    def _opening(self) -> Plan:
        """The first look, at those candidates of low estimates at first sight that half of the time allows."""
        measuring = self.measuring
        block = self._block()
        plan = Plan.of(block, BLOCKS[block], MOST, ROUNDS)
        begun: list[int] = []
        promised = 0.0
        for number in self._in_order(self._glance(plan)):
            if len(begun) > 1 and self.elapsed + promised > OPENING * self.seconds:
                self.aside.append(number)
                measuring.taken.pop(number)
                continue
            began = self.clock()
            good = measuring.units(number, block, plan.looks[0], block)
            self.spent[number] += self.clock() - began
            self._need_baseline()
            if good:
                begun.append(number)
                promised += plan.rounds[0] * self._sample(number)
        self._timed(begun, plan.rounds[0])
        self._need_baseline()
        self._weigh([i for i in begun if i in measuring.taken])
        return plan

    def _glance(self, plan: Plan) -> list[int]:
        """A first block of as many candidates as a share of the time allows, in their order."""
        measuring = self.measuring
        seen: list[int] = []
        for number in range(len(measuring.candidates)):
            over = self.elapsed > GLANCE * self.seconds
            if len(seen) > 1 and (over or self._slow(number, plan)):
                self.late.append(number)
                continue
            name, began = str(measuring.candidates[number]), self.clock()
            self.progress.cell(name)
            if number not in self.speed:
                self._gradient(number)
            good = measuring.units(number, 0, plan.block, plan.block)
            self.spent[number] = self.clock() - began
            said = f"{plan.block} units" if good else measuring.failed[number]
            self.progress.done(name, "ok" if good else "failed", said)
            self._need_baseline()
            if good:
                seen.append(number)
        return seen

    def _in_order(self, numbers: list[int]) -> list[int]:
        """The baseline, and then the others by variance × time at first sight, over the lowest of the role."""
        taken = self.measuring.taken
        values = {
            i: {role: float(rows.mean()) * self.speed[i] for role, rows in taken[i].rows.items()}
            for i in numbers
        }
        least = {role: min(v[role] for v in values.values()) for role in values[0]}

        def nearness(number: int) -> float:
            return min(values[number][role] / max(low, 1e-300) for role, low in least.items())

        return sorted(numbers, key=lambda i: (i != 0, nearness(i)))

    def _weigh(self, numbers: list[int]) -> None:
        """Measure memory, of the baseline and then of those of low variance first, in a share of the time."""
        taken, limit = self.measuring.taken, self.elapsed + WEIGHING * self.seconds
        least = {
            role: min(float(taken[i].rows[role].mean()) for i in numbers) for role in taken[0].rows
        }

        def nearness(number: int) -> float:
            rows = taken[number].rows
            return min(float(rows[role].mean()) / max(low, 1e-300) for role, low in least.items())

        order = sorted(numbers, key=lambda i: (i != 0, nearness(i)))
        for count, number in enumerate(order):
            if (count > 1 and self.elapsed > limit) or not self._heavy_enough:
                break
            self.measuring.memory(number)
        self.measuring.helper.close()

    @property
    def _heavy_enough(self) -> bool:
        """Whether the baseline's peak is large enough to be compared; true before it is known."""
        base = self.measuring.taken[0]
        return not base.peaks or min(base.peaks) > COARSE * base.step

    def _gradient(self, number: int) -> float:
        """Seconds of a gradient, from few calls; at least one second where it takes more; 0 if the candidate fails."""
        repeats = self.measuring.ask(number, throughput.calibrated, Timer(sample_seconds=1.0))
        self.speed[number] = 1 / repeats if repeats else 0.0
        return self.speed[number]

    def _slow(self, number: int, plan: Plan) -> bool:
        """Whether the first block of one candidate alone would take too much of the time."""
        return plan.block * 4 * self._gradient(number) > SLOW * self.seconds

    def _block(self) -> int:
        """Units in a block: as few as a first block of every candidate, of four gradients a unit, asks for."""
        sizes = self.measuring.sizes
        all_of_them = 4 * self._gradient(0) * sum(size / sizes[0] for size in sizes)
        few = (block for block in BLOCKS if block * all_of_them < GLANCE * self.seconds)
        return next(few, min(BLOCKS))

    def _sample(self, number: int) -> float:
        """Seconds of a sample of times, about: a gradient is a quarter of a unit, and one more is not timed."""
        one = self.measuring.unit_seconds[number] / 4
        return max(SAMPLE, one) + one

    def _timed(self, numbers: list[int], count: int) -> None:
        began = self.clock()
        self.measuring.rounds(numbers, count)
        whole = sum(self._sample(i) for i in numbers if i in self.measuring.unit_seconds) or 1.0
        took = self.clock() - began
        self._pace = max(1.0, took / (whole * count)) if count else self._pace
        for i in numbers:
            self.spent[i] = self.spent.get(i, 0.0) + took * self._sample(i) / whole

    def _cost(self, plan: Plan, number: int, active: list[int]) -> float:
        """Seconds that a look takes, from what the one before it took."""
        units = plan.looks[number] - plan.looks[number - 1]
        rounds = plan.rounds[number] - plan.rounds[number - 1]
        return sum(
            units * self.measuring.unit_seconds[i] + rounds * self._sample(i) for i in active
        )

    def _measure(self, plan: Plan, number: int, active: list[int]) -> None:
        stop = plan.looks[number]
        for i in active:
            began = self.clock()
            # one that is left again, because what beat it failed, has fewer units than the others
            self.measuring.units(i, self.measuring.taken[i].n, stop, plan.block)
            self.spent[i] += self.clock() - began
        alive = [i for i in active if i in self.measuring.taken]
        self._timed(alive, plan.rounds[number] - plan.rounds[number - 1])

    def _askable(self, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        """Those questions that the baseline has figures for, and for bytes another candidate, too."""
        taken = self.measuring.taken[0]
        weighed = sum(bool(t.peaks) for t in self.measuring.taken.values())
        has = {
            SECONDS: len(taken.seconds) > 0,
            BYTES: bool(taken.peaks) and weighed > 1 and self._heavy_enough,
        }
        return tuple(q for q in questions if has[q.cost] and float(taken.rows[q.role].mean()) > 0)

    def _look(self, contest: Contest, number: int) -> None:
        contest.look()
        minutes = self.elapsed / 60
        for question in contest.questions:
            self.steps.append(Step(question, minutes, len(contest.left[question]), True))
        left = max((len(contest.left[q]) for q in contest.questions), default=0)
        self.progress.detail(f"look {number + 1}: {left} candidates left, {minutes:.1f} min")
