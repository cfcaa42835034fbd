"""A build hook of hatchling that puts the built site into the wheel as chainrule/site.zip, for `chainrule docs`.

`make docs` builds the site into build/site. If that does not exist, or the zip file is larger than `MOST`, the wheel
has no site. The same site gives the same bytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MOST = 15_000_000  # bytes


class SiteHook(BuildHookInterface):
    """Add the site to a wheel, or to an sdist as site.zip, from which the same wheel can be built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Pack the site if there is one."""
        root = Path(self.root)
        packed = root / "site.zip"  # in an unpacked sdist
        if not packed.is_file():
            if version == "editable" or not (root / "build" / "site" / "index.html").is_file():
                return
            packed = root / "build" / "site.zip"
            pack(root / "build" / "site", packed)
        if packed.stat().st_size > MOST:
            self.app.display_warning(f"{packed}: {packed.stat().st_size:,} bytes are too many; the wheel has no site")
            return
        name = "chainrule/site.zip" if self.target_name == "wheel" else "site.zip"
        build_data["force_include"][str(packed)] = name


def pack(folder: Path, packed: Path) -> None:
    """Write the files of a folder into a zip file, except those that only Sphinx reads."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in (".buildinfo", "objects.inv") and ".doctrees" not in file.parts:
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, file.read_bytes())
