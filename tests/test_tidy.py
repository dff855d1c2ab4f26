"""Habits that a machine can check, in the spirit of TigerBeetle's tidy test."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_MAX = 400
TEST_LINES_MAX = 600  # a list of sentences; nobody has to hold all of it in mind
TEXT_SUFFIXES = {
    "", ".css", ".html", ".in", ".js", ".lock", ".md", ".py", ".sh", ".sql", ".toml", ".txt",
    ".yaml", ".yml",
}  # fmt: skip
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

# Written so that no pattern matches its own source.
MARKER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b(?!\(#\d+\))")
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|crates\.io"
    r"|download\.pytorch\.org|proxy\.golang\.org|artifact(?:ory)|--(?:extra-)?index-url +\S*//"
)
PRIVATE_PATH = re.compile(r"(?<![\w.~}-])/(?:work|root|home/\w+|Users/\w+|tmp/\w*eng)/\w")


def tracked() -> list[Path]:
    """Every text file that git knows, or would on the next `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT_SUFFIXES and path.is_file()]


def modules(*folders: str) -> list[Path]:
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and (not folders or path.relative_to(ROOT).parts[0] in folders)
    ]


def lines_that_match(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_there_is_something_to_check() -> None:
    assert len(modules("src")) > 10


def test_modules_stay_small() -> None:
    long = {}
    for path in modules():
        name, lines = path.relative_to(ROOT), path.read_text(encoding="utf-8").count("\n")
        if lines > (TEST_LINES_MAX if name.parts[0] == "tests" else LINES_MAX):
            long[str(name)] = lines

    assert long == {}


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules("src", "tools", "benchmarks")
        if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]

    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in modules() if path.stem in EMPTY_NAMES] == []


def test_memory_is_never_called_just_that() -> None:
    """`kv_cache`, `host_ram` and `memories` are three things: docs/adr and the style guide."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules("src")
        for name, line in identifiers(path)
        if name.lower() == "memory"
    ]

    assert found == []


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    yield path.stem, 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name, lineno=line) | ast.arg(arg=name, lineno=line):
                yield name, line
            case ast.Attribute(attr=name, lineno=line):
                yield name, line
            case (
                ast.FunctionDef(name=name, lineno=line)
                | ast.AsyncFunctionDef(name=name, lineno=line)
                | ast.ClassDef(name=name, lineno=line)
            ):
                yield name, line


def test_no_marker_is_left_without_an_issue_number() -> None:
    assert lines_that_match(MARKER) == []


def test_no_file_names_a_package_registry() -> None:
    assert lines_that_match(REGISTRY) == []


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    assert lines_that_match(PRIVATE_PATH) == []


def test_lock_files_pin_every_requirement_by_hash_and_name_no_address() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    assert len(locks) == 4
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
        assert entries, lock.name
        unpinned = [
            entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry
        ]
        assert unpinned == [], lock.name
        assert "://" not in text, lock.name


def test_the_changelog_has_something_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(r"^## \[?Unreleased\]?$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)

    assert section is not None
    assert re.search(r"^- \w", section[1], re.MULTILINE)


def test_the_licence_is_the_whole_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")

    assert "Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (MARKER, "# TO" "DO: later", "# TO" "DO(#12): later"),
        (REGISTRY, "see pypi" ".org/simple", "see the package index"),
        (PRIVATE_PATH, "/wo" "rk/main", "$HOME/work/main"),
        (PRIVATE_PATH, "/ho" "me/jane/x", "github.com/home/x"),
    ],
)  # fmt: skip
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], bad: str, good: str) -> None:
    assert pattern.search(bad)
    assert not pattern.search(good)
