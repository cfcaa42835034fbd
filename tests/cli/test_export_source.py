"""`chainrule export` to Python and C: the files compute what the run's network does."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from chainrule.autograd import no_grad
from chainrule.cli import main
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training import run as runs

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)


def run_command(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


@pytest.fixture(scope="module")
def expected():
    run = runs.shipped()
    with no_grad():
        logits = run.load_network()(images_to_inputs(from_numpy(IMAGES)))
        return {False: run.model.probabilities(logits).numpy(), True: logits.numpy()}


@pytest.mark.parametrize("raw", [False, True])
def test_python(tmp_path, monkeypatch, capsys, expected, raw):
    monkeypatch.chdir(tmp_path)
    assert run_command(["export", "shipped", "digits.py", *["--raw"] * raw]) == 0
    names = {}
    exec((tmp_path / "digits.py").read_text(encoding="utf-8"), names)  # noqa: S102  # the file that we wrote
    x = IMAGES / np.float32(255) if raw else IMAGES
    np.testing.assert_allclose(names["predict"](x), expected[raw], rtol=1e-4, atol=1e-5)
    assert names["CLASSES"] == [*"0123456789", "none"]
    output = capsys.readouterr().out
    assert "wrote digits.py" in output
    assert "from digits import predict" in output


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler, cc")
def test_c(tmp_path, monkeypatch, capsys, expected):
    monkeypatch.chdir(tmp_path)
    assert run_command(["export", "shipped", "my-digits.h"]) == 0
    pixels = ", ".join(map(str, IMAGES[1].ravel()))
    program = f"""
        #include <stdio.h>
        #include "my-digits.h"
        int main(void) {{
            static const uint8_t image[MY_DIGITS_INPUTS] = {{{pixels}}};
            float y[MY_DIGITS_OUTPUTS];
            my_digits_predict(image, y);
            for (int i = 0; i < MY_DIGITS_OUTPUTS; i++) printf("%.9g ", y[i]);
            return 0;
        }}"""
    (tmp_path / "main.c").write_text(program)
    command = ["cc", "-O2", "-std=c99", "-Wall", "-Werror", "main.c", "-o", "main", "-lm"]
    subprocess.run(command, check=True, timeout=120)
    output = subprocess.run(["./main"], capture_output=True, text=True, check=True, timeout=60).stdout
    np.testing.assert_allclose([float(word) for word in output.split()], expected[False][1], atol=1e-5)
    assert '#include "my-digits.h"' in capsys.readouterr().out


def test_refusals_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(["export", "shipped", "digits.py", "--opset", "17"]) == 2
    assert capsys.readouterr().err == "chainrule: digits.py: --opset does not apply to .py files\n"
    assert run_command(["export", "shipped", "nowhere/digits.h"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not list(tmp_path.glob("**/digits*"))
