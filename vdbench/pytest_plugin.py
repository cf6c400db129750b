"""Pytest plugin: everything that ``vdbench check`` tests, as tests of an author's own suite, one for each.

    @pytest.mark.vdbench("my-estimator", file="my_estimator.py")
    def test_conforms(vdbench_finding): ...

is one test for each test of a certificate. The certificate is made once, when the first of them runs; each fails by
itself, whatever the function's body does or leaves out, and one more fails should the certificate hold a finding
that no test stands for. Where the certificate is INCONCLUSIVE, the tests that had too little power are skipped with
the reason, and so is that last one; with ``strict`` they fail. The marker takes an estimator's name or the estimator
itself, ``file`` to load first (relative to the test's folder), ``level`` (``small`` or ``full``), ``draws``,
``strict``, ``seed`` and ``options`` of the estimator; ``pytest --vdbench-strict`` is ``strict`` for all.

The fixture ``gradient_variance`` measures variances, and compares them with runs that were kept;
``benchmark_estimator`` also times the estimator with pytest-benchmark (`vdbench.pytest_variance`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vdbench.pytest_variance import add_options, benchmark_estimator, gradient_variance

if TYPE_CHECKING:
    from vdbench.certificate import Certificate, Finding
    from vdbench.estimation.base import Estimator

__all__ = [
    "benchmark_estimator",
    "gradient_variance",
    "vdbench_finding",
]  # fixtures; the other one is in a file of its own

FIXTURE, MARKER = "vdbench_finding", "vdbench"
COMPLETE = "nothing left out"
"""The last test: that every finding of the certificate belongs to one of the others."""


@dataclass(frozen=True)
class Asked:
    """What a marker asks for.

    Attributes:
        estimator: To be checked.
        level: How thoroughly.
        seed: Of the check.
        draws: Most draws on one problem; None for the level's.
    """

    estimator: Estimator
    level: Any
    seed: int
    draws: int | None


@dataclass(frozen=True)
class Found:
    """What the fixture gives: the findings of one test.

    Attributes:
        test: Name of the test.
        findings: Its findings.
        certificate: All findings.
        strict: Whether too little power is a failure.
    """

    test: str
    findings: tuple[Finding, ...]
    certificate: Certificate = field(repr=False)
    strict: bool = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for all marked tests, and for those that measure variance."""
    parser.addoption(
        "--vdbench-strict",
        action="store_true",
        help="fail, and do not skip or pass, where vdbench is INCONCLUSIVE",
    )
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "vdbench(name, file=None, level='small', draws=None, strict=False, seed=0, options={}): the tests of this "
        f"estimator's certificate, by vdbench; the function takes the fixture {FIXTURE}",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each test of a certificate."""
    marker = metafunc.definition.get_closest_marker(MARKER)
    where = metafunc.definition.nodeid
    if marker is None:
        if FIXTURE in metafunc.fixturenames:
            raise pytest.UsageError(f'{where}: add @pytest.mark.{MARKER}("my-estimator").')
        return
    if FIXTURE not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{where}: is marked {MARKER} and must take the argument {FIXTURE}."
        )
    asked = _asked(where, marker, metafunc.definition.path)
    strict = marker.kwargs.get("strict", False) or metafunc.config.getoption("--vdbench-strict")
    from vdbench.certificate import checks_of

    names = [*(test.name for test in checks_of(asked.estimator)), COMPLETE]
    metafunc.parametrize(
        FIXTURE, [(asked, strict, name) for name in names], indirect=True, ids=names
    )


def _asked(where: str, marker: pytest.Mark, test: Path) -> Asked:
    """Read a marker; what is wrong with it is a usage error, said in one sentence."""
    from vdbench.errors import InputError, nearest
    from vdbench.estimation import registry
    from vdbench.estimation.options import get

    known = ("file", "level", "draws", "strict", "seed", "options")
    for key in marker.kwargs:
        if key not in known:
            raise pytest.UsageError(
                f"{where}: mark {MARKER} has no argument '{key}'.{nearest(key, known)}"
            )
    if len(marker.args) != 1:
        raise pytest.UsageError(
            f"{where}: mark {MARKER} takes one estimator, not {len(marker.args)}."
        )
    level = marker.kwargs.get("level", "small")
    if level not in ("small", "full"):
        raise pytest.UsageError(f"{where}: level is {level!r}, expected 'small' or 'full'.")
    (given,), file = marker.args, marker.kwargs.get("file")
    try:
        if file is not None:
            registry.load_plugin(test.parent / file)
        options = marker.kwargs.get("options", {})
        estimator = get(given, **options) if isinstance(given, str) else given
    except InputError as error:
        raise pytest.UsageError(f"{where}: {error}") from error
    return Asked(estimator, level, marker.kwargs.get("seed", 0), marker.kwargs.get("draws"))


CERTIFICATES = pytest.StashKey[dict[Asked, "Certificate"]]()


@pytest.fixture
def vdbench_finding(request: pytest.FixtureRequest) -> Found:
    """The findings of one test of a certificate; the test fails if one of them does, whatever its body does."""
    asked, strict, name = request.param
    made = request.config.stash.setdefault(CERTIFICATES, {})
    if asked not in made:
        from vdbench.certificate import check

        given = {"level": asked.level, "draws": asked.draws, "seed": asked.seed}
        made[asked] = check(asked.estimator, **given)
    certificate = made[asked]
    from vdbench.certificate import checks_of

    if name == COMPLETE:
        known = {test.name for test in checks_of(asked.estimator)}
        left = tuple(f for f in certificate.findings if f.test not in known)
        return Found(name, left, certificate, strict)
    mine = tuple(f for f in certificate.findings if f.test == name)
    return Found(name, mine, certificate, strict)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Judge before the function's body runs, so that no body is needed, and none hides a failure."""
    found = pyfuncitem.funcargs.get(FIXTURE)
    if isinstance(found, Found):
        _judge(found)
    return (yield)


def _judge(found: Found) -> None:
    subject = found.certificate.subject
    if found.test == COMPLETE:
        if found.findings:
            names = ", ".join(dict.fromkeys(f.test for f in found.findings))
            pytest.fail(f"{subject}: findings that no test stands for: {names}.", pytrace=False)
        if found.certificate.verdict == "INCONCLUSIVE":
            _undecided(found)
        return
    if not found.findings:
        pytest.fail(f"{subject}: the certificate has no finding of {found.test}.", pytrace=False)
    failed = [f for f in found.findings if f.passed is False]
    if failed:
        pytest.fail("\n".join(_said(subject, f) for f in failed), pytrace=False)
    if any(f.blind for f in found.findings):
        _undecided(found)
    if all(f.passed is None for f in found.findings):
        pytest.skip("; ".join(dict.fromkeys(f.note for f in found.findings)))


def _undecided(found: Found) -> None:
    """Too little power: skipped with the reason, and failed where that is asked for."""
    reason = found.certificate.summary()
    if found.strict:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _said(subject: str, f: Finding) -> str:
    """All the figures of a failure."""
    figures = {"figure": f.figure, "low": f.low, "high": f.high, "limit": f.limit, "power": f.power}
    numbers = ", ".join(
        f"{name} {value:.4g}" for name, value in figures.items() if value is not None
    )
    parts = [f"{subject}: {f.test}, {f.where}: {f.note}", numbers, f.suggests]
    return "\n  ".join(part for part in parts if part)
