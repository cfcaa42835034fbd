"""The changelog has a section for this version, dated, below what is not released yet."""

import re
from pathlib import Path

import chainrule

TEXT = (Path(__file__).parent.parent / "CHANGELOG.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)


def test_the_newest_section_is_this_version():
    unreleased, newest, *_ = SECTIONS
    assert unreleased == "Unreleased"
    assert re.fullmatch(rf"{re.escape(chainrule.__version__)} - \d{{4}}-\d\d-\d\d", newest)


def test_versions_are_listed_once_and_dated():
    versions = [re.fullmatch(r"(\d+\.\d+\.\d+\w*) - (\d{4}-\d\d-\d\d)", section) for section in SECTIONS[1:]]
    assert all(versions)
    names, dates = zip(*(version.groups() for version in versions), strict=True)
    assert len(set(names)) == len(names)
    assert list(dates) == sorted(dates, reverse=True)
