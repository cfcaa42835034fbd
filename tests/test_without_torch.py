"""chainrule needs no PyTorch; the one part that does says how to get it."""

from __future__ import annotations

import subprocess
import sys


def test_the_bridge_says_how_to_get_it():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import chainrule\n"
        "try:\n    import chainrule.torch\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "chainrule.torch needs PyTorch, which is not installed: pip install 'chainrule[torch]'\n"


def test_nothing_else_imports_it():
    code = "import sys, chainrule.cli, chainrule.training; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
