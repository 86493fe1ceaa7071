"""What every test stands on: no network, few threads, the project's folder, the shared material if it lies beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any library reads them. The tests never talk to a hub and never tell anybody that they ran.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    GRADIO_ANALYTICS_ENABLED="False",
    DO_NOT_TRACK="1",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.pop("HF_TOKEN", None)
# Two are enough for the small models here, and more threads than free cores make PyTorch up to 30 times slower.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the design texts, format cases and real data that lies beside some checkouts."""
    folder = ROOT.parent / "shared"
    if not (folder / "format").is_dir():
        pytest.skip(f"needs the shared material in {folder.name}/ beside the checkout")
    return folder
