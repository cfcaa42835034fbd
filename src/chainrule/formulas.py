r"""Writes the lessons' formulas for a terminal: LaTeX as Unicode text, `\frac{\partial C}{\partial w}` as ∂C/∂w.

This covers what lessons use, not all of LaTeX; a command that is not listed here is refused, and a test converts every
formula of every lesson. The author's spaces are kept, because they say which factors belong together.
"""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "Delta": "Δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η",
    "theta": "θ", "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "Sigma": "Σ", "tau": "τ", "phi": "φ",
    "partial": "∂", "nabla": "∇", "sum": "Σ", "prod": "Π", "infty": "∞", "cdot": "·", "times": "×", "odot": "⊙",
    "pm": "±", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "propto": "∝",
    "in": "∈", "to": "→", "rightarrow": "→", "leftarrow": "←", "dots": "…", "ldots": "…", "cdots": "⋯", "ell": "ℓ",
    "top": "T", "sim": "~", "ll": "≪", "gg": "≫",
}  # fmt: skip
_PREFIXES = ("partial", "nabla", "Delta")
"""Symbols that stand directly before what they belong to."""

_FUNCTIONS = ("ln", "log", "exp", "max", "min", "lim", "tanh", "sin", "cos", "arg", "operatorname")
_IGNORED = ("left", "right", "bigl", "bigr", "Bigl", "Bigr", "big", "Big", "displaystyle", "limits", "!")
_EM_SPACE = "\u2003"
_SPACES = {"qquad": 2 * _EM_SPACE, "quad": _EM_SPACE, ",": " ", ";": " ", ":": " ", " ": " "}
_CHARACTERS = {"{": "{", "}": "}", "%": "%", "_": "_", "|": "‖", "#": "#", "&": "&"}
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "overline": "\u0305", "tilde": "\u0303"}
_FRACTIONS = {("1", "2"): "½", ("1", "4"): "¼", ("3", "4"): "¾", ("1", "3"): "⅓"}
_SUPERSCRIPTS = dict(
    zip(
        "0123456789+-=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVW ",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂ ",
        strict=True,
    )
)
_SUBSCRIPTS = dict(zip("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
_BRACKETS = re.compile(r"\((?:[^()]|\([^()]*\))*\)|\[[^]]*\]")
_PIECE = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\s+|[^\\{}^_&\s]", re.DOTALL)


def to_unicode(latex: str) -> str:
    r"""Convert a formula; `\\` starts a new line.

    Args:
        latex: the formula, without dollar signs.

    Raises:
        ValueError: it uses a command that is not known here, or its braces do not match.

    Example:
        >>> print(to_unicode(r"w \\leftarrow w - \\eta \\frac{\\partial C}{\\partial w_1}"))
        w ← w - η ∂C/∂w₁
    """
    parser = _Parser(_PIECE.findall(latex.strip()))
    text = parser.row()
    if parser.pieces:
        raise ValueError(f"a closing brace too many in the formula {latex!r}")
    lines = [re.sub(r"(?<=[(\[]) | (?=[)\],])", "", re.sub(r" +", " ", line)).strip() for line in text.split("\n")]
    return "\n".join(re.sub(rf" ?({_EM_SPACE}+) ?", lambda gap: 2 * len(gap[1]) * " ", line) for line in lines)


class _Parser:
    """Consumes the tokens of a formula from left to right."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces[::-1]  # the next one is the last

    def row(self, end: str = "") -> str:
        """Everything up to a closing piece, which is consumed, or to the end of the formula."""
        parts: list[str] = []
        while self.pieces and self.pieces[-1] not in ("}", r"\end"):
            parts.append(self.item())
        if end and (not self.pieces or self.pieces.pop() != end):
            raise ValueError(f"the formula ends before {end}")
        return "".join(parts)

    def item(self) -> str:
        """One piece and what belongs to it."""
        piece = self.pieces.pop()
        if piece == "{":
            return self.row("}")
        if piece in "^_":
            return _raised(self.argument()) if piece == "^" else self.lowered()
        if piece == "'":
            return "′"
        if piece.startswith("\\"):
            return self.command(piece[1:])
        return " " if piece.isspace() else "" if piece == "&" else piece

    def argument(self) -> str:
        """The next group or single piece."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        if not self.pieces:
            raise ValueError("the formula ends where something must follow")
        return self.item()

    def takes_subscript(self) -> bool:
        """Whether a subscript comes next, whose sign is then consumed."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        return bool(self.pieces) and self.pieces[-1] == "_" and bool(self.pieces.pop())

    def lowered(self) -> str:
        """A subscript: small digits and letters where there are, else after a line or in brackets."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        is_word = self.pieces[-2:-1] == [r"\text"] or self.pieces[-1:] == [r"\text"]
        text = self.argument().strip()
        if not is_word and all(character in _SUBSCRIPTS for character in text):
            return "".join(_SUBSCRIPTS[character] for character in text)
        return f"_{text}" if text.isalnum() else f"[{re.sub(r', *', ', ', text)}]"

    def command(self, name: str) -> str:
        """A command, whose backslash and name are consumed."""
        if name in _PREFIXES:
            while self.pieces and self.pieces[-1].isspace():
                self.pieces.pop()
            return _SYMBOLS[name]
        if name in ("frac", "tfrac", "dfrac"):
            return _fraction(self.argument().strip(), self.argument().strip())
        if name == "sqrt":
            inner = self.argument().strip()
            return f"√{inner}" if len(inner) == 1 or inner.isalnum() else f"√({inner})"
        if name == "underbrace":
            inner = self.argument().strip()
            return f"{inner} [{self.argument()}]" if self.takes_subscript() else inner
        if name in _ACCENTS:
            text = self.argument().strip()
            return unicodedata.normalize("NFC", text[:1] + _ACCENTS[name]) + text[1:]
        if name in ("text", "operatorname", "mathrm"):
            return self.argument()
        if name in ("begin", "end"):
            return self.environment()
        if name == "\\":
            return "\n"
        for table in (_SYMBOLS, _SPACES, _CHARACTERS):
            if name in table:
                return table[name]
        if name in _FUNCTIONS:
            return name + (self.bracketed() if name in ("ln", "log", "exp") else "")
        if name in _IGNORED:
            return ""
        raise ValueError(f"no Unicode is known for \\{name} in a formula")

    def bracketed(self) -> str:
        """A fraction that comes next, in brackets, because it is no division of what stands before it."""
        ahead = [piece for piece in self.pieces[-2:] if not piece.isspace()]
        return f" ({self.argument()})" if ahead[-1:] == [r"\frac"] else ""

    def environment(self) -> str:
        """What stands between a begin and its end: cases on one line, rows of anything else on lines."""
        name = self.argument()
        text = self.row(r"\end")
        if self.argument() != name:
            raise ValueError(f"begin{{{name}}} in a formula has no end")
        if name == "cases":
            return f"{{ {'; '.join(row.strip() for row in text.split(chr(10)))} }}"
        return text


def _raised(text: str) -> str:
    """A superscript, or ^ and brackets where a small letter is missing."""
    text = text.strip()
    if text == "′":
        return text
    if all(character in _SUPERSCRIPTS for character in text):
        return "".join(_SUPERSCRIPTS[character] for character in text)
    return f"^{text}" if len(text) == 1 else f"^({text})"


def _fraction(above: str, below: str) -> str:
    """A fraction on one line, with brackets around a sum above it, and around more than one factor below it."""
    if (above, below) in _FRACTIONS:
        return _FRACTIONS[above, below]
    outside_above, outside_below = (_BRACKETS.sub("", part) for part in (above, below))
    if re.search(r"[+·×/=±]|(?<!^)-", outside_above):
        above = f"({above})"
    if re.search(r"[ +\-·×/=±]|\d[^\W\d]", outside_below):
        below = f"({below})"
    is_short = not re.search(r"[ (]", above + below)
    return f"{above}/{below}" if is_short else f"{above} / {below}"
