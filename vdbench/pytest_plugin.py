"""Pytest plugin: everything that ``vdbench check`` tests, as tests of an author's own suite, one for each.

    @pytest.mark.vdbench("my-estimator", file="my_estimator.py")
    def test_conforms(vdbench_finding): ...

is one test for each test of a certificate. The certificate is made once, when the first of them runs; each fails by
itself, whatever the function's body does or leaves out, and one more fails should the certificate hold a finding
that no test stands for. The marker takes an estimator's name or the estimator itself, ``file`` to load first (relative
to the test's folder), ``level`` (``small`` or ``full``), ``seed`` and ``options`` of the estimator.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vdbench.certificate import Certificate, Finding
    from vdbench.estimation.base import Estimator

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
    """

    estimator: Estimator
    level: Any
    seed: int


@dataclass(frozen=True)
class Found:
    """What the fixture gives: the findings of one test.

    Attributes:
        test: Name of the test.
        findings: Its findings.
        certificate: All findings.
    """

    test: str
    findings: tuple[Finding, ...]
    certificate: Certificate = field(repr=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "vdbench(name, file=None, level='small', seed=0, options={}): the tests of this estimator's certificate, by "
        f"vdbench; the function takes the fixture {FIXTURE}",
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
    from vdbench.certificate import checks_of

    names = [*(test.name for test in checks_of(asked.estimator)), COMPLETE]
    metafunc.parametrize(FIXTURE, [(asked, name) for name in names], indirect=True, ids=names)


def _asked(where: str, marker: pytest.Mark, test: Path) -> Asked:
    """Read a marker; what is wrong with it is a usage error, said in one sentence."""
    from vdbench.errors import InputError, nearest
    from vdbench.estimation import registry
    from vdbench.estimation.options import get

    known = ("file", "level", "seed", "options")
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
    return Asked(estimator, level, marker.kwargs.get("seed", 0))


CERTIFICATES = pytest.StashKey[dict[Asked, "Certificate"]]()


@pytest.fixture
def vdbench_finding(request: pytest.FixtureRequest) -> Found:
    """The findings of one test of a certificate; the test fails if one of them does, whatever its body does."""
    asked, name = request.param
    made = request.config.stash.setdefault(CERTIFICATES, {})
    if asked not in made:
        from vdbench.certificate import check

        made[asked] = check(asked.estimator, level=asked.level, seed=asked.seed)
    certificate = made[asked]
    from vdbench.certificate import checks_of

    if name == COMPLETE:
        known = {test.name for test in checks_of(asked.estimator)}
        left = tuple(f for f in certificate.findings if f.test not in known)
        return Found(name, left, certificate)
    return Found(name, tuple(f for f in certificate.findings if f.test == name), certificate)


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
        if not found.certificate.compared:
            pytest.fail(
                f"{subject}: no exact reference gradient exists for its objective, so bias was not tested; "
                "see 'unbiased'.",
                pytrace=False,
            )
        return
    if not found.findings:
        pytest.fail(f"{subject}: the certificate has no finding of {found.test}.", pytrace=False)
    failed = [f for f in found.findings if f.passed is False]
    if failed:
        pytest.fail("\n".join(_said(subject, f) for f in failed), pytrace=False)
    if all(f.passed is None for f in found.findings):
        pytest.skip("; ".join(dict.fromkeys(f.note for f in found.findings)))


def _said(subject: str, f: Finding) -> str:
    """All the figures of a failure."""
    figures = {"figure": f.figure, "low": f.low, "high": f.high, "limit": f.limit, "power": f.power}
    numbers = ", ".join(
        f"{name} {value:.4g}" for name, value in figures.items() if value is not None
    )
    parts = [f"{subject}: {f.test}, {f.where}: {f.note}", numbers, f.suggests]
    return "\n  ".join(part for part in parts if part)
