"""Rows out of a file: JSON, JSON Lines or CSV, found out by looking, whatever its encoding and delimiter.

A file that is not what it seems to be (binary, cut off, broken JSON on a line) is refused as a whole, with every broken line
named: what else is missing from it cannot be known. Knows nothing of what the rows mean (formats.py, importers.py).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import jsontext
from pipeline.errors import DataError
from pipeline.tools import Issue, summary

MAX_ROWS = 100_000
MAX_BYTES = 50 * 1024 * 1024
EXPECTED = "expected one example a line (JSON Lines, CSV) or a JSON list of examples"
_CONTAINERS = ("data", "examples", "rows", "train")  # keys under which a JSON object may hold its rows
_DELIMITERS = ",;\t|"
_NAMED_DELIMITER = re.compile(r"sep=([,;\t|])\r?\n")  # a first line that is there for Excel
_MAGIC = {  # what people take for a CSV, and how it becomes one
    b"PK\x03\x04": "an Excel workbook or a zip archive; save the sheet as CSV (UTF-8), or unpack it",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV (UTF-8)",
    b"PAR1": "a Parquet file; export it as JSON Lines",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"%PDF": "a PDF; export the rows as CSV or JSON Lines",
}


@dataclass(frozen=True)
class Overflow:
    """A row of CSV with more cells than the header has columns: a comma or quote in it is not what it seems."""

    cells: int
    columns: int


@dataclass(frozen=True)
class RowFile:
    """What a file holds: its kind, and (number, row) with numbers as an editor or spreadsheet shows them.

    A row of JSON is whatever stood there; a row of CSV is a list of cells, or, where the file has a header, a dict
    or an Overflow.
    """

    kind: str  # "json", "jsonl" or "csv"
    rows: list[tuple[int, Any]]
    notes: list[Issue]


def read_rows(path: str | os.PathLike, columns: Collection[str]) -> RowFile:
    """All rows of the file at `path`. `columns` are the lower-case names that make a first CSV row a header.

    Raises DataError, one sentence with all broken lines in its issues.
    """
    notes: list[Issue] = []
    text = read_text(path, notes)
    name = Path(path).name
    if Path(path).suffix.lower() not in (".csv", ".tsv") and text.lstrip()[:1] in ("{", "["):
        kind, rows = _json_rows(name, text)
    else:
        kind, rows = "csv", _csv_rows(name, text, columns)
    if not rows:
        raise DataError(f"{name} holds no rows; {EXPECTED}.")
    if len(rows) > MAX_ROWS:
        raise DataError(
            f"{name} has {len(rows)} rows, more than the {MAX_ROWS} that a dataset may have; leave some out."
        )
    return RowFile(kind, rows, notes)


def read_text(path: str | os.PathLike, notes: list[Issue], expected: str = EXPECTED) -> str:
    """A file's text, from UTF-8, UTF-16 with its mark, or Windows-1252 (which adds a note). Raises DataError for anything else."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path.name} has {path.stat().st_size >> 20} MB, more than the {MAX_BYTES >> 20} MB allowed; split it or leave rows out."
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the name of the file.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; name a file in it.") from None
    except (OSError, ValueError) as problem:
        raise DataError(f"{str(path)!r} cannot be read ({problem}).") from None
    for magic, what in _MAGIC.items():
        if raw.startswith(magic):
            raise DataError(f"{path.name} is {what}.")
    if not raw.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"{path.name} is empty; {expected}.")
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as problem:
        text = _western(raw)
        if text is None:
            raise DataError(
                f"{path.name} is not text: byte {problem.start} is neither UTF-8 nor Windows-1252; save it as UTF-8."
            ) from None
        line = raw[: problem.start].count(b"\n") + 1
        notes.append(
            Issue(
                None,
                "file",
                "warning",
                f"not UTF-8 (line {line}): read as Windows-1252",
                "Save it as UTF-8 if letters look wrong.",
            )
        )
    if any(ord(char) < 32 and char not in "\t\n\r\f\x1c\x1d\x1e\x1f" for char in text[:100_000]):
        raise DataError(f"{path.name} is a binary file; {expected}.")
    return text


def _western(raw: bytes) -> str | None:
    """Windows-1252, if it is text at all: what Excel writes in western Europe when not told otherwise."""
    controls = sum(byte < 32 and byte not in b"\t\n\r" for byte in raw[:100_000])
    if controls:
        return None
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return None


def _json_rows(name: str, text: str) -> tuple[str, list[tuple[int, Any]]]:
    lines = [
        (number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
    ]  # not splitlines: U+2028
    whole_problem = None
    if len(lines) == 1 or not _is_json(lines[0][1]):
        try:
            return _contained(name, jsontext.loads(text, jsontext.ROW_DEPTH))
        except jsontext.JsonTextError as problem:
            whole_problem = problem
            if sum(line.lstrip().startswith("{") and line.rstrip().endswith("}") for _, line in lines) < 2:
                raise DataError(f"{name} cannot be read: {problem}; mend it there.") from None
    rows, issues = [], []
    for number, line in lines:
        try:
            rows.append((number, jsontext.loads(line, jsontext.ROW_DEPTH)))
        except jsontext.JsonTextError as problem:
            issues.append(Issue(number, "", "error", str(problem), "Mend or remove the line."))
    if issues and not rows and whole_problem:
        raise DataError(f"{name} cannot be read: {whole_problem}; mend it there.", issues)
    if issues:
        raise DataError(
            summary(f"{name} has {len(issues)} broken of {len(lines)} lines; mend or remove them", issues), issues
        )
    return "jsonl", rows


def _is_json(line: str) -> bool:
    try:
        jsontext.loads(line, jsontext.ROW_DEPTH)
    except jsontext.JsonTextError:
        return False
    return True


def _contained(name: str, value: Any) -> tuple[str, list[tuple[int, Any]]]:
    """The rows of a whole JSON file: a list, an object that holds one, or one row."""
    if isinstance(value, dict):
        inner = next((value[key] for key in _CONTAINERS if isinstance(value.get(key), list)), None)
        value = [value] if inner is None else inner
    return "json", list(enumerate(value, start=1))


def _csv_rows(name: str, text: str, columns: Collection[str]) -> list[tuple[int, Any]]:
    named = _NAMED_DELIMITER.match(text)
    skipped = "\n" if named else ""  # so that rows keep their numbers
    text = skipped + text[named.end() :] if named else text
    delimiter = named[1] if named else max(_DELIMITERS, key=lambda candidate: _fitness(text, candidate, columns))  # the first of equals
    try:
        records = list(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        )
    except csv.Error as problem:
        line = _broken_line(text, delimiter)
        issue = Issue(line, "", "error", str(problem), 'Put a cell that holds " in quotes and write "" for each.')
        raise DataError(
            f"{name} is not usable as CSV from line {line} on ({problem}); quote the cell there and double the quotes in it.",
            [issue],
        ) from None
    numbered = [
        (number, record) for number, record in enumerate(records, start=1) if any(cell.strip() for cell in record)
    ]
    if not numbered or not _is_header(numbered[0][1], columns):
        return [(number, [cell.strip() for cell in record]) for number, record in numbered]
    header = [cell.strip().lower() for cell in numbered[0][1]]
    if len(set(header)) != len(header):
        raise DataError(f"{name} has two columns of one name ({', '.join(header)}); rename one.")
    rows: list[tuple[int, Any]] = []
    for number, record in numbered[1:]:
        cells = [cell.strip() for cell in record]
        fits = len(cells) <= len(header)
        rows.append((number, dict(zip(header, cells, strict=False)) if fits else Overflow(len(cells), len(header))))
    return rows


def _is_header(record: list[str], columns: Collection[str]) -> bool:
    return any(cell.strip().lower() in columns for cell in record)


def _fitness(text: str, delimiter: str, columns: Collection[str]) -> tuple[bool, int, int]:
    """How well a delimiter fits the first 50 records: a known header, cells of whole JSON, several cells."""
    records = []
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
            records.append(record)
            if len(records) == 50:
                break
    except csv.Error:
        pass  # said with its line when the file is read
    if not records:
        return False, 0, 0
    whole = sum(any(cell.strip()[:1] in ("{", "[") and _is_json(cell) for cell in record) for record in records)
    known = len(records[0]) > 1 and _is_header(records[0], columns)
    return known, whole, sum(1 < len(record) == len(records[0]) for record in records)


def _broken_line(text: str, delimiter: str) -> int:
    """The line on which the record that breaks begins."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True), 0
    try:
        for _ in reader:
            line = reader.line_num
    except csv.Error:
        pass
    return line + 1
