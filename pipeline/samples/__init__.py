"""The sample project: five functions of a small home and phone assistant, and some 300 requests for them.

Written for this project by make.py, which repeats the files to the byte. Every argument stands in its request as the call has
it, so that a small model can learn to copy it.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import dataset
from pipeline.dataset import ToolDataset

FOLDER = Path(__file__).resolve().parent


def load() -> ToolDataset:
    """The sample tools and examples, not yet split."""
    return dataset.load(FOLDER)
