from __future__ import annotations

import base64
import json

import pytest

from reports.output import drawings
from reports.output.drawings import data_uri, embedded, shaded, shortened
from reports.output.html import script_data

SVG = (
    '<?xml version="1.0"?>\n<svg xmlns="a">\n <path d="M 1.23456 2.5\nL 3.999 4" style="stroke: #2b2b2b"/>\n'
    " <text>0.0452</text>\n</svg>"
)


def test_a_drawing_is_shorter_and_says_the_same() -> None:
    found = shortened(SVG)
    assert 'd="M 1.23 2.5 L 3.99 4"' in found
    assert "<text>0.0452</text>" in found  # no figure loses a digit
    assert len(found) < len(SVG)


def test_a_drawing_follows_the_colours_of_the_page() -> None:
    found = shaded(SVG)
    assert "stroke: var(--ink)" in found
    assert "@media screen and (prefers-color-scheme:dark)" in found
    assert found.index("<svg") < found.index("<style>") < found.index("<path")


def test_a_page_holds_only_so_many_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "MOST", 2 * len(data_uri(SVG)))
    found = embedded({"a": SVG, "b": SVG, "c": SVG})
    assert list(found) == ["a", "b"]
    assert base64.b64decode(found["a"].partition(",")[2]).decode().startswith("<?xml")


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "]]>", "a\u2028b", "&lt;", "<script>", "'\"\\"]
)
def test_no_text_ends_the_data_s_element(text: str) -> None:
    written = str(script_data({text: [text]}))
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {text: [text]}
