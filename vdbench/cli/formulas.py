r"""Formulas for a terminal: the LaTeX of docstrings as plain text.

>>> plain(r"$b = x\mu + \sqrt{x^2\sigma^2}\,\zeta$, $\zeta \sim N(0, 1)$")
'b = xμ + √(x²σ²) ζ, ζ ~ N(0, 1)'
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["plain"]

TIGHT = "\0"
"""Marks a symbol that is written without a blank after it."""

GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
SIGNS = {
    "sim": "~", "circ": "∘", "cdot": "·", "times": "×", "pm": "±", "mp": "∓", "le": "≤", "leq": "≤", "ge": "≥",
    "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "propto": "∝", "in": "∈", "to": "→", "infty": "∞", "mid": "|",
    "nabla": "∇\0", "partial": "∂\0", "sum": "Σ", "prod": "∏", "int": "∫", "ell": "ℓ", "dots": "…", "ldots": "…",
    "leftarrow": "←", "rightarrow": "→", "lVert": "‖\0", "rVert": "‖", "Vert": "‖", "lvert": "|", "rvert": "|",
    "langle": "⟨", "rangle": "⟩", "odot": "∘", "oplus": "⊕", "star": "*", "ast": "*", "top": "ᵀ",
    "Delta": "Δ\0", "varepsilon": "ε", "varphi": "φ", "vartheta": "ϑ",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
    "big": "", "Big": "", "bigl": "", "bigr": "", "left": "", "right": "", "limits": "", "displaystyle": "",
    "log": " log ", "ln": " ln ", "exp": " exp ", "max": " max ", "min": " min ", "tanh": " tanh ", "cos": " cos ",
    "sin": " sin ", "arcsin": " arcsin ", "notin": "∉", "quad": "  ",
    "operatorname": "", "mathrm": "", "text": "", "mathbf": "", "mathcal": "",
    "mathbb": "", "mathsf": "",
}  # fmt: skip
"""What a command is in a terminal; with nothing, its braces are all that goes."""

ACCENTS = {"tilde": "\u0303", "bar": "\u0304", "hat": "\u0302", "dot": "\u0307"}
BELOW = dict(
    zip("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True)
)
ABOVE = dict(zip("0123456789+-=()nijklmstT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱʲᵏˡᵐˢᵗᵀ", strict=True))

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_]|\s+|.", re.DOTALL)


def plain(text: str) -> str:
    r"""Text with its formulas, ``$…$``, written in letters that a terminal shows; a command unknown stays as it is."""
    return re.sub(r"\$([^$]+)\$", lambda hit: formula(hit[1]), text)


def formula(latex: str) -> str:
    """One formula without its dollar signs."""
    signs = {**{name: _greek(name) for name in GREEK.split()}, **SIGNS}
    written, _ = _read(_TOKEN.findall(latex), 0, signs)
    tight = re.sub(r"\s+", " ", re.sub(rf"{TIGHT}\s*", "", written))
    tight = re.sub(r"(?<=[(\[{⟨√]) | (?=[)\]},;:⟩])|(?<=log|exp|max|min|cos|sin) (?=\()", "", tight)
    return unicodedata.normalize("NFC", tight.strip())


def _greek(name: str) -> str:
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    spelled = name.upper().replace("LAMBDA", "LAMDA")
    return unicodedata.lookup(f"GREEK {size} LETTER {spelled}")


def _read(tokens: list[str], at: int, signs: dict[str, str]) -> tuple[str, int]:
    """All up to the brace that closes, and where that is."""
    out = ""
    while at < len(tokens) and tokens[at] != "}":
        part, at = _item(tokens, at, signs)
        out += part
    return out, at


def _item(tokens: list[str], at: int, signs: dict[str, str]) -> tuple[str, int]:
    """One symbol, group, fraction, root, accent or index."""
    if at >= len(tokens):
        return "", at
    token, at = tokens[at], at + 1
    if token.isspace() and at < len(tokens):
        return " ", at
    if token == "{":
        inner, at = _read(tokens, at, signs)
        return inner, at + 1
    if token in "^_":
        inner, at = _argument(tokens, at, signs)
        return _index(token, inner), at
    name = token[1:]
    if token in (r"\frac", r"\tfrac", r"\dfrac"):
        over, at = _argument(tokens, at, signs)
        under, at = _argument(tokens, at, signs)
        return _fraction(over, under), at
    if token == r"\sqrt":
        inner, at = _argument(tokens, at, signs)
        return f"√{_bracketed(inner)}", at
    if name in ACCENTS and token[0] == "\\":
        inner, at = _argument(tokens, at, signs)
        return inner[:1] + ACCENTS[name] + inner[1:], at
    if token[0] == "\\":
        return signs.get(name, {",": " ", ";": " ", "!": "", " ": " "}.get(name, _other(token))), at
    return "−" if token == "-" else token, at


def _other(token: str) -> str:
    return token[1:] if not token[1:].isalpha() else token


def _argument(tokens: list[str], at: int, signs: dict[str, str]) -> tuple[str, int]:
    """What a command or an index takes: a group, or the next symbol without the blanks before it."""
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    return _item(tokens, at, signs)


def _fraction(over: str, under: str) -> str:
    known = {("1", "2"): "½", ("1", "4"): "¼", ("1", "3"): "⅓", ("2", "3"): "⅔"}
    return known.get((over, under)) or f"{_bracketed(over)}/{_bracketed(under)} "


def _bracketed(text: str) -> str:
    """In brackets if it is more than one symbol with its indices."""
    text = text.strip()
    single = len(text) == 1 or re.fullmatch(r"[\d.]+|\w[₀-₉ᵢⱼₖₘₙₛ]*|[A-Z]?\w?", text)
    closed = re.fullmatch(r"\w*\([^()]*\)|‖[^‖]*‖|\|[^|]*\|", text)
    return text if single or closed else f"({text})"


def _index(kind: str, inner: str) -> str:
    letters = (BELOW if kind == "_" else ABOVE) | {" ": ""}
    plain_minus = inner.replace("−", "-").strip()
    if all(c in letters for c in plain_minus):
        return "".join(letters[c] for c in plain_minus)
    return f"{kind}{inner}" if len(inner) == 1 else f"{kind}({inner.strip()})"
