"""Print the oldest allowed version of each dependency in pyproject.toml, as arguments for pip: `make test-oldest`.

python scripts/oldest_requirements.py [EXTRA ...]
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def oldest(extras: list[str]) -> list[str]:
    """`name==version` for each dependency of the project and of some extras, also of those for other systems.

    Raises:
        ValueError: a dependency is not of the form `name>=version`, without which there is no oldest version to test.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    listed = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    matches = [(line, re.fullmatch(r"([\w.-]+)>=([\d.]+)(;.*)?", line)) for line in listed]
    for line, match in matches:
        if match is None:
            raise ValueError(f"pyproject.toml: {line!r} is not of the form name>=version")
    return [f"{match[1]}=={match[2]}" for _, match in matches if match]


if __name__ == "__main__":
    print("\n".join(oldest(sys.argv[1:])))
