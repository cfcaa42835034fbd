"""draw: the computation graph as DOT, Mermaid and SVG."""

from __future__ import annotations

import os
import shutil
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, draw, nn, no_grad


def leaf(*values: float) -> Tensor:
    return chainrule.tensor(np.array(values), requires_grad=True)


def test_dot():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    middle = x * x
    out = (middle + y).sum()
    assert draw(out, "dot", names={"x": x, "middle": middle}) == (
        "digraph {\n"
        '  node [shape=box, style=rounded, fontname="sans-serif"]\n'
        '  n0 [label="x\\n(2,)", style=filled, fillcolor=lightblue]\n'
        '  n1 [label="middle\\nmul\\n(2,)"]\n'
        '  n2 [label="leaf\\n(1,)", style=filled, fillcolor=lightblue]\n'
        '  n3 [label="add\\n(2,)"]\n'
        '  n4 [label="sum\\n()"]\n'
        "  n0 -> n1\n"
        "  n0 -> n1\n"
        "  n1 -> n3\n"
        "  n2 -> n3\n"
        "  n3 -> n4\n"
        "}\n"
    )


def test_mermaid():
    x, y = leaf(1.0, 2.0), leaf(3.0)
    assert draw((x * y).sum(), format="mermaid", names=[("x", x)]) == (
        "flowchart TD\n"
        '  n0["x<br>(2,)"]\n'
        '  n1["leaf<br>(1,)"]\n'
        '  n2("mul<br>(2,)")\n'
        '  n3("sum<br>()")\n'
        "  n0 --> n2\n"
        "  n1 --> n2\n"
        "  n2 --> n3\n"
    )


def test_of_a_network_is_the_same_each_time_and_names_its_parameters():
    def text() -> str:
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        network[0].bias.requires_grad_(False)
        loss = nn.functional.cross_entropy(network(chainrule.ones(5, 3)), np.zeros(5, np.int64))
        return draw(loss, "dot", names=network.named_parameters())

    assert text() == text()
    for label in ("0.weight\\n(4, 3)", "linear\\n(5, 4)", "relu\\n(5, 4)", "2.weight\\n(2, 4)", "2.bias\\n(2,)"):
        assert f'[label="{label}"' in text()
    assert "0.bias" not in text()  # it does not require gradients


def test_names_are_escaped():
    x = leaf(1.0)
    name = 'a"b\\c<d>#e;[f]&`g`\nh ü'
    assert '[label="a\\"b\\\\c<d>#e;[f]&`g`\\nh ü\\n(1,)"' in draw(x * 2, "dot", names={name: x})
    mermaid = draw(x * 2, "mermaid", names={name: x})
    assert '  n0["a#34;b#92;c#60;d#62;#35;e#59;#91;f#93;#38;#96;g#96;#10;h ü<br>(1,)"]\n' in mermaid


def test_of_a_leaf_and_of_a_long_chain():
    x = leaf(1.0)
    assert draw(x, "mermaid") == 'flowchart TD\n  n0["leaf<br>(1,)"]\n'
    y = x
    for _ in range(5000):
        y = y + 1
    assert draw(y, "mermaid").count("-->") == 5000


def test_is_written_to_a_file_too(tmp_path):
    out = leaf(1.0) * 2
    text = draw(out, "dot", tmp_path / "graph.dot")
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8") == text


def test_what_cannot_be_drawn(tmp_path):
    x = leaf(1.0)
    with pytest.raises(ValueError, match="format must be 'svg', 'dot' or 'mermaid', not 'png'"):
        draw(x * 2, "png", tmp_path / "graph")
    with no_grad(), pytest.raises(RuntimeError, match="draw: this tensor .* has no gradient"):
        draw(x * 2, "dot")
    out = (x * 2).sum()
    out.backward()
    with pytest.raises(RuntimeError, match=r"this graph was freed by backward\(\); draw it before, or call backward\("):
        draw(out, "dot", tmp_path / "graph")
    assert not list(tmp_path.iterdir())


def test_svg_without_graphviz_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="needs Graphviz's program `dot`, which was not found .* format='mermaid'"):
        draw(leaf(1.0) * 2)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a #! line")
def test_svg_is_what_dot_makes_of_the_text(monkeypatch, tmp_path):
    """A stand-in for Graphviz that returns its arguments and its input."""
    program = tmp_path / "dot"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nread = sys.stdin.read()\n"
        "sys.exit('syntax error') if 'fail' in read else print('<svg>', sys.argv[1:], read)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    x = leaf(1.0)
    text = draw(x * 2, path=tmp_path / "graph.svg", names={"ü": x})
    assert text == f"<svg> ['-Tsvg'] {draw(x * 2, 'dot', names={'ü': x})}\n"
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == text
    with pytest.raises(RuntimeError, match="draw: `dot` failed: syntax error"):
        draw(x * 2, names={"fail": x})


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_svg_with_graphviz():
    x = leaf(1.0)
    picture = ET.fromstring(draw((x * x).sum(), names={'a"b\\c<d>': x}))  # noqa: S314  # our own
    texts = ["".join(t.itertext()) for t in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ['a"b\\c<d>', "(1,)", "mul", "(1,)", "sum", "()"]
