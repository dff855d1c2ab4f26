"""Rows as JSON, CSV and markdown; and two sets of rows side by side."""

from __future__ import annotations

import csv
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Row: TypeAlias = dict[str, float | str | None]
"""One arm. `arm` is its name; numbers carry their unit in their name; `None` is unknown."""


class Report:
    """What one command has measured so far, written after every arm: a run that is cut keeps it."""

    def __init__(self, name: str, folder: Path | None, facts: Mapping[str, object]) -> None:
        self.name = name
        self.rows: list[Row] = []
        self.extra: dict[str, object] = {}
        self._folder = folder
        self._facts = {"command": sys.argv[1:], "python": platform.python_version(), **facts}

    def add(self, row: Row) -> None:
        """One more arm; shown and written at once."""
        self.rows.append(row)
        print(f"{self.name}: {json.dumps(row)}", file=sys.stderr, flush=True)
        self.write()

    def write(self) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        document = {"what": self.name, **self._facts, "rows": self.rows, **self.extra}
        path = self._folder / f"{self.name}.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        table = markdown(self.rows) + "\n"
        (self._folder / f"{self.name}.md").write_text(table, encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    """A table of all columns that any row has, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [
        f"| {' | '.join(columns)} |",
        f"|---{'|--:' * (len(columns) - 1)}|",
        *(f"| {' | '.join(shown(row.get(name)) for name in columns)} |" for row in rows),
    ]
    return "\n".join(lines)


def shown(value: float | str | None) -> str:
    """Three digits that mean something; a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write_csv(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """The named columns only; what is not known is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])


def read_rows(path: Path) -> list[Row]:
    """Rows of a report (`rows` of a JSON object, or a JSON list), or of a CSV file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [_parsed(row) for row in csv.DictReader(text.splitlines())]
    document = json.loads(text)
    rows: list[Row] = document if isinstance(document, list) else document["rows"]
    return rows


def side_by_side(real: Sequence[Row], simulated: Sequence[Row], key: str) -> str:
    """For every row that both have, by `key`: each number that both know, and how far off it is."""
    others = {str(row.get(key)): row for row in simulated}
    lines = [f"| {key} | figure | real | simulated | simulated / real |", "|---|---|--:|--:|--:|"]
    for row in real:
        other = others.get(str(row.get(key)))
        if other is None:
            continue
        for name, value in row.items():
            guess = other.get(name)
            if name != key and _is_number(value) and _is_number(guess):
                ratio = f"{guess / value:.2f}" if value else "–"  # type: ignore[operator]
                lines.append(f"| {row[key]} | {name} | {shown(value)} | {shown(guess)} | {ratio} |")
    return "\n".join(lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: float | str | None) -> str | int:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return int(value) if value == int(value) else f"{value:.6g}"


def _parsed(row: Mapping[str, str]) -> Row:
    return {name: _number(text) for name, text in row.items()}


def _number(text: str) -> float | str | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value == int(value) else value
