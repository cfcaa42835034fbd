"""Formulas in a terminal: LaTeX as Unicode text, for every formula of the lessons and exercises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chainrule.formulas import to_unicode

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"z = w x + b", "z = w x + b"),
        (r"\sigma(z) = \frac{1}{1 + e^{-z}}", "σ(z) = 1 / (1 + e⁻ᶻ)"),
        (r"\frac{\partial C}{\partial w_1}", "∂C/∂w₁"),
        (r"\tfrac12 (\hat y - y)^2", "½ (ŷ - y)²"),
        (r"\frac{1}{2m} \sum_{i=1}^{N} z_i", "1 / (2m) Σᵢ₌₁ᴺ zᵢ"),
        (r"\frac{a - b}{c}", "(a - b) / c"),
        (r"\frac{(a - b)^2}{c}", "(a - b)² / c"),
        (r"\frac{-y}{a (1 - a)}", "-y / (a (1 - a))"),
        (r"\frac{2 x_1}{100}", "2 x₁ / 100"),
        (r"\frac{\frac{a}{b}}{c}", "(a/b) / c"),
        (r"-\ln \frac{a}{b}", "-ln (a/b)"),
        (r"\ln a - \ln(1 - a)", "ln a - ln(1 - a)"),
        (r"\sqrt{\sigma^2 + \epsilon} + \sqrt d + \sqrt{12}", "√(σ² + ε) + √d + √12"),
        (r"e^{z_j} + e^{-10} + x^{ab} + 2^q", "e^(zⱼ) + e⁻¹⁰ + xᵃᵇ + 2^q"),
        (r"x_{i+u,\,j+v} + W_Q + C_{\text{batch}} + a^{(2)}_j + w_{l-1}", "x[i+u, j+v] + W_Q + C_batch + a⁽²⁾ⱼ + wₗ₋₁"),
        (r"\sum_{i \in B} g_i", "Σ[i ∈ B] gᵢ"),
        (r"\lim_{h \to 0} f'(x)^T", "lim[h → 0] f′(x)ᵀ"),
        (r"x \leftarrow x - \eta\, f'(x)", "x ← x - η f′(x)"),
        (r"a, \qquad b \quad c", "a,    b  c"),
        (r"\left( \frac{a}{b} \right) + \bigl( c \bigr)", "(a/b) + (c)"),
        (r"\begin{cases} 1 & \text{if } z > 0 \\ 0 & \text{otherwise} \end{cases}", "{ 1 if z > 0; 0 otherwise }"),
        (r"\overline{z^2} = \hat{y} \cdot \nabla C", "z̅² = ŷ · ∇C"),
        (r"\underbrace{2 z}_{\text{slope}} \cdot x", "2 z [slope] · x"),
        (r"a &= b \\ &= c", "a = b\n= c"),
        (r"e^C + x^{\prime}", None),
        ("", ""),
    ],
)
def test_a_formula(latex: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(ValueError, match=r"no Unicode is known for \\prime in a formula"):
            to_unicode(latex)
    else:
        assert to_unicode(latex) == text


@pytest.mark.parametrize("latex", [r"\frac{1", r"x^", r"a}", r"{a", r"\begin{cases} a", r"\begin{cases} a \end{array}"])
def test_what_does_not_close_is_refused(latex: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        to_unicode(latex)


def formulas() -> list[tuple[str, str]]:
    """Every formula of the lessons and of their exercises, with its file."""
    found = []
    for file in sorted([*ROOT.glob("lessons/*.py"), *ROOT.glob("src/chainrule/exercises/sets/*.py")]):
        text = re.sub(r"^# ?", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if file.parent.name == "sets":
            text = text.replace("\\\\", "\\")
        inline = re.findall(r":math:`([^`]+)`", text)
        blocks = re.findall(r"^ *\.\. math::((?:.*\S.*\n)?(?:\n| +.*\n)*)", text, re.MULTILINE)
        found += [(file.name, formula) for formula in (*inline, *blocks)]
    return found


def test_every_formula_of_the_lessons_can_be_shown() -> None:
    assert len(formulas()) > 150
    for name, formula in formulas():
        text = to_unicode(formula)
        assert text, name
        assert not re.search(r"[\\{}&]", re.sub(r"\{ .* \}", "", text)), f"{name}: {formula} gives {text}"
