"""This very version of the pipeline as one archive, so that a Job elsewhere runs what was tested here and nothing else.

The archive depends on the files alone: the same version makes the same bytes, hence the same SHA-256, on every machine. It holds code and,
for the embedded base, its weights; never data, settings or anything of a visitor. Knows nothing of the Hub.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = ("pipeline/ui",)
"""Not needed where nobody looks."""
WEIGHTS = "pipeline/base/checkpoint"
STAMP = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the archive, the earliest that a zip can say."""
REQUIREMENTS = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "sentencepiece", "numpy", "psutil",
    "huggingface_hub",
)  # fmt: skip
"""What training and scoring import; the app's and the exports' libraries are not installed in a Job."""


@dataclass(frozen=True)
class Package:
    """The archive, its SHA-256 as 64 hexadecimal digits, and its size in bytes."""

    path: Path
    sha256: str
    size: int


def build(path: Path, weights: bool) -> Package:
    """Write the archive to `path`, with the embedded base's weights if `weights`. Raises PipelineError if files of ours are missing."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(_names(weights)):
            entry = zipfile.ZipInfo(name, STAMP)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, (ROOT / name).read_bytes())
    return Package(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)


def _names(weights: bool) -> Iterator[str]:
    found = [file.relative_to(ROOT).as_posix() for file in (ROOT / "pipeline").rglob("*.py")]
    yield from (name for name in found if not name.startswith(tuple(f"{folder}/" for folder in LEFT_OUT)))
    if weights:
        files = [file.relative_to(ROOT).as_posix() for file in (ROOT / WEIGHTS).glob("*") if file.is_file()]
        if not any(name.endswith(".safetensors") for name in files):
            raise PipelineError(f"The embedded base model is missing: expected it in {WEIGHTS}; restore the folder from the repository.")
        yield from files


def requirements() -> list[str]:
    """The libraries of a Job, each at the version that is installed here, without a build's suffix such as +cpu. Raises PipelineError."""
    try:
        return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]
    except PackageNotFoundError as error:
        raise PipelineError(f"{error.name} is not installed here, so a Job would not know which version to take.") from None
