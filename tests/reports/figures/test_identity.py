from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.figures.identity import FAMILIES, LUMINANCES, SHAPES, contrast, luminance, sign
from reports.output.drawings import SHADES
from vdbench.estimation import registry

PAPERS = SHADES["paper"]
GRAPHICS = 3.0
"""Least contrast of what is not text (WCAG 2.1, 1.4.11)."""
LISTED = [label for family in FAMILIES for label in family.labels]

FIXED = {
    "naive": ("#1067c9", "square"), "local": ("#0a7a2f", "triangle"), "score": ("#ce1d11", "square_pin"),
    "mine(a=1)": ("#0d9e7e", "hex"),
}  # fmt: skip


def test_every_registered_estimator_is_listed_and_no_two_are_alike() -> None:
    names = {label.partition("(")[0] for label in LISTED}
    assert set(registry.names()) <= names
    assert len({sign(label) for label in LISTED}) == len(LISTED) == len(set(LISTED)) >= 40


def test_signs_are_fixed_for_good() -> None:
    """A change of these would change what a colour means in reports that exist: lists grow at their ends only."""
    found = {
        label: (sign(label).colour, sign(label).shape)
        for label in ("naive", "local", "score", "mine(a=1)")
    }
    assert found == FIXED


def test_forty_unknown_names_differ_and_depend_on_nothing_else() -> None:
    labels = [f"est-{k}" for k in range(40)] + [f"score(samples={k})" for k in range(5, 45)]
    assert len({sign(label) for label in labels}) == len(labels)
    assert [sign(label) for label in reversed(labels)] == [sign(label) for label in labels][::-1]


@given(st.text(max_size=40))
def test_every_sign_can_be_seen_on_light_and_dark(label: str) -> None:
    found = sign(label)
    assert found.shape in SHAPES
    assert all(contrast(found.colour, paper) >= GRAPHICS for paper in PAPERS)


def test_colours_have_the_luminance_asked_for() -> None:
    for label in LISTED:
        assert min(abs(luminance(sign(label).colour) - level) for level in LUMINANCES) < 0.01


def test_text_stands_out() -> None:
    """Every colour that words have, on every ground that they stand on: 4.5 to 1 at least."""
    for scheme in (0, 1):
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "tint"):
                found = contrast(SHADES[text][scheme], SHADES[ground][scheme])
                assert found >= 4.5, (scheme, text, ground, found)
        assert (
            contrast(SHADES["paper"][scheme], SHADES["accent"][scheme]) >= 4.5
        )  # a pressed button


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == 21
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48
