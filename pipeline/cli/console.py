"""What a command says while it works and when it is done: progress to stderr, the result to stdout, nothing else anywhere.

Knows nothing about commands or the pipeline.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import ConfigError
from pipeline.files import write_atomic

BETWEEN_LINES = 2.0
"""Least seconds between two lines of progress in a log; a terminal's one line is redrawn at every call."""
STILL_ALIVE = 20.0
"""Seconds after which a log gets a line although nothing has changed."""
BETWEEN_FILES = 0.3
"""Seconds between two replacements of the progress file: each is flushed to the disk."""


class Console:
    """Progress of one command; it never goes back. `progress_file` is replaced whole each time: {"fraction", "message", "eta_seconds"}."""

    def __init__(self, progress_file: Path | None = None, stream: TextIO | None = None):
        """Raises ConfigError if the progress file's folder does not exist."""
        if progress_file is not None and not progress_file.parent.is_dir():
            raise ConfigError(f"--progress-file must lie in a folder that exists, found {progress_file}.")
        self._file = progress_file
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._started = time.monotonic()
        self._last_line = self._last_file = float("-inf")
        self._last_said = (0, "")
        self._furthest = 0.0
        self._open_line = False

    def progress(self, fraction: float, message: str, eta: float | None = None) -> None:
        """`fraction` of the whole is done (0 to 1); `eta` in seconds is estimated from the time taken so far where it is None."""
        now = time.monotonic()
        fraction = self._furthest = min(1.0, max(self._furthest, fraction))
        if eta is None and 0.02 <= fraction:
            eta = (now - self._started) * (1 - fraction) / fraction
        if self._file is not None and (fraction == 1 or now - self._last_file >= BETWEEN_FILES):
            said = {"fraction": fraction, "message": message, "eta_seconds": None if eta is None else round(eta, 1)}
            write_atomic(self._file, json.dumps(said, ensure_ascii=False))
            self._last_file = now
        left = f", {duration(eta)} left" if eta is not None and fraction < 1 else ""
        line = f"{fraction:4.0%}  {message}{left}"
        if self._is_terminal:
            self._write(f"\r\x1b[2K{line}")
            self._open_line = True
            return
        said, silent = (int(100 * fraction), message), now - self._last_line
        if said != self._last_said and (silent >= BETWEEN_LINES or fraction == 1) or silent >= STILL_ALIVE:
            self._write(line + "\n")
            self._last_line, self._last_said = now, said

    def part(self, low: float, high: float) -> Part:
        """A `progress` for one stage of several: its 0 to 1 is `low` to `high` here."""
        return Part(self, low, high)

    def say(self, text: str) -> None:
        """A line of its own on stderr."""
        self.end_line()
        self._write(text + "\n")

    def end_line(self) -> None:
        """Leave the line that progress is redrawn on."""
        if self._open_line:
            self._write("\n")
            self._open_line = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Part:
    """A stretch of a console's progress. What is left of a part says nothing of the whole, so `eta` is not passed on."""

    def __init__(self, console: Console, low: float, high: float):
        self._console, self._low, self._high = console, low, high

    def __call__(self, fraction: float, message: str, eta: float | None = None) -> None:
        self._console.progress(self._low + fraction * (self._high - self._low), message)

    def part(self, low: float, high: float) -> Part:
        span = self._high - self._low
        return Part(self._console, self._low + low * span, self._low + high * span)


def duration(seconds: float) -> str:
    """12.4 -> "12 s", 200 -> "3 min 20 s", 8000 -> "2 h 13 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Columns of text: the first to the left, the others, which are numbers, to the right."""
    cells = [header, *[tuple(str(cell) for cell in row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    )


@contextmanager
def results_only() -> Iterator[TextIO]:
    """The real stdout, for the result alone: whatever libraries print meanwhile, native ones too, goes to stderr."""
    stdout = sys.stdout
    stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            if _is_descriptor_1(stdout):
                stdout = open(kept, "w", encoding="utf-8", closefd=False)
            yield stdout
    finally:
        with suppress(BrokenPipeError):  # the reader has left; the door has seen that already
            stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _is_descriptor_1(stream: TextIO) -> bool:
    """False for the stand-ins of tests and notebooks."""
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False
