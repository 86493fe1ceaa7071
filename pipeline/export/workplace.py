"""A hidden folder for work in progress, beside the place of the result, so that the last step is a rename."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.child import born, lives

_NAME = re.compile(r"\.work-(\d+)-(\d+\.\d+)-.*")


@contextmanager
def work_folder(beside: Path) -> Iterator[Path]:
    """A new folder in `beside`, gone afterwards whatever happens; those that a killed process has left there are cleared away too."""
    for stale in beside.glob(".work-*"):
        owner = _NAME.fullmatch(stale.name)
        if owner is None or not lives(int(owner[1]), float(owner[2])):
            shutil.rmtree(stale, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".work-{os.getpid()}-{born(os.getpid())!r}-", dir=beside))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
