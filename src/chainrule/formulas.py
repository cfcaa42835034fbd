r"""Converts the lessons' formulas for a terminal, from LaTeX to Unicode: `\frac{\partial C}{\partial w}` to ∂C/∂w.

Only the part of LaTeX that lessons use is supported; a command that is not listed here is refused, and a test converts
every formula of every lesson. The author's spaces are kept, because they show which factors belong together.
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
"""Symbols that are written without a space before their operand."""

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
_BRACKETED = re.compile(r"\((?:[^()]|\([^()]*\))*\)|\[[^]]*\]")
"""Text in parentheses, nested at most once, or in square brackets."""
_PIECE = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\s+|[^\\{}^_&\s]", re.DOTALL)
"""A piece of a formula: a command, a special character, white space, or any other character."""


def to_unicode(latex: str) -> str:
    r"""Convert a formula; `\\` starts a new line.

    Args:
        latex: the formula, without dollar signs.

    Raises:
        ValueError: it uses a command that is not supported, or its braces do not match.

        from chainrule.formulas import to_unicode

        to_unicode(r"w \leftarrow w - \eta \frac{\partial C}{\partial w_1}")  # 'w ← w - η ∂C/∂w₁'
    """
    parser = _Parser(_PIECE.findall(latex.strip()))
    text = parser.row()
    if parser.pieces:
        raise ValueError(f"the formula {latex!r} has an unmatched closing brace or \\end")
    lines = [re.sub(r"(?<=[(\[]) | (?=[)\],])", "", re.sub(r" +", " ", line)).strip() for line in text.split("\n")]
    return "\n".join(re.sub(rf" ?({_EM_SPACE}+) ?", lambda gap: 2 * len(gap[1]) * " ", line) for line in lines)


class _Parser:
    """Consumes the pieces of a formula from left to right; each method returns the text of what it has consumed."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces[::-1]  # reversed: the next piece is the last

    def row(self, end: str = "") -> str:
        """Everything up to the closing piece `end`, which is consumed, too; or up to the end of the formula."""
        parts: list[str] = []
        while self.pieces and self.pieces[-1] not in ("}", r"\end"):
            parts.append(self.item())
        if end and (not self.pieces or self.pieces.pop() != end):
            raise ValueError(f"the formula ends before {end}")
        return "".join(parts)

    def item(self) -> str:
        """One piece, with its arguments."""
        piece = self.pieces.pop()
        if piece == "{":
            return self.row("}")
        if piece in "^_":
            return _superscript(self.argument()) if piece == "^" else self.subscript()
        if piece == "'":
            return "′"
        if piece.startswith("\\"):
            return self.command(piece[1:])
        if piece == "&":
            return ""
        return " " if piece.isspace() else piece

    def argument(self) -> str:
        """The next group or single piece."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        if not self.pieces:
            raise ValueError("the formula ends where something must follow")
        return self.item()

    def takes_subscript(self) -> bool:
        """Return whether a subscript comes next; if so, consume its underscore."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        if not self.pieces or self.pieces[-1] != "_":
            return False
        self.pieces.pop()
        return True

    def subscript(self) -> str:
        """A subscript: in small characters if Unicode has all of them, otherwise after an underscore or in brackets."""
        while self.pieces and self.pieces[-1].isspace():
            self.pieces.pop()
        is_word = self.pieces[-2:-1] == [r"\text"] or self.pieces[-1:] == [r"\text"]
        text = self.argument().strip()
        if not is_word and all(character in _SUBSCRIPTS for character in text):
            return "".join(_SUBSCRIPTS[character] for character in text)
        return f"_{text}" if text.isalnum() else f"[{re.sub(r', *', ', ', text)}]"

    def command(self, name: str) -> str:
        """The command of this name, which has been consumed, with its arguments."""
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
            return name + (self.bracketed_fraction() if name in ("ln", "log", "exp") else "")
        if name in _IGNORED:
            return ""
        raise ValueError(f"no Unicode is known for \\{name} in a formula")

    def bracketed_fraction(self) -> str:
        """The next item in brackets if it is a fraction: ln (a/b), not ln a/b; otherwise nothing, and it stays."""
        ahead = [piece for piece in self.pieces[-2:] if not piece.isspace()]
        return f" ({self.argument()})" if ahead[-1:] == [r"\frac"] else ""

    def environment(self) -> str:
        """The content of an environment: cases are joined on one line; the rows of others stay on their lines."""
        name = self.argument()
        text = self.row(r"\end")
        if self.argument() != name:
            raise ValueError(f"begin{{{name}}} in a formula has no end")
        if name == "cases":
            return f"{{ {'; '.join(row.strip() for row in text.split(chr(10)))} }}"
        return text


def _superscript(text: str) -> str:
    """A superscript: in small characters if Unicode has all of them, otherwise after ^, in brackets if necessary."""
    text = text.strip()
    if text == "′":
        return text
    if all(character in _SUPERSCRIPTS for character in text):
        return "".join(_SUPERSCRIPTS[character] for character in text)
    return f"^{text}" if len(text) == 1 else f"^({text})"


def _fraction(numerator: str, denominator: str) -> str:
    """A fraction on one line, with a numerator and a denominator in brackets where they need them."""
    if (numerator, denominator) in _FRACTIONS:
        return _FRACTIONS[numerator, denominator]
    if re.search(r"[+·×/=±]|(?<!^)-", _BRACKETED.sub("", numerator)):
        numerator = f"({numerator})"
    if re.search(r"[ +\-·×/=±]|\d[^\W\d]", _BRACKETED.sub("", denominator)):
        denominator = f"({denominator})"
    is_short = not re.search(r"[ (]", numerator + denominator)
    return f"{numerator}/{denominator}" if is_short else f"{numerator} / {denominator}"
