"""Files handed to one visitor: copies in gradio's own folder, under a name that only that visitor's page is told.

The workspace itself is never served. Gradio deletes old copies by itself (`delete_cache`); a missing one is made again when the page
that offers it is shown.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from contextlib import suppress
from pathlib import Path

from gradio.utils import get_upload_folder

from pipeline.files import link
from pipeline.runs import Project

LEFT_OUT = "checkpoints"
"""Half-trained states of a run: several times as large as its model, and of no use to anybody but the trainer that wrote them."""


def hand_over(path: Path, session: str, mark: str) -> str:
    """A copy of `path` (a folder becomes an uncompressed .zip) for the visitor of `session`, found again as long as `mark` is the same.

    The folder's name is a hash that contains the visitor's secret session id: nobody else can work it out.
    """
    secret = hashlib.sha256(f"{session} {mark} {path}".encode()).hexdigest()[:32]
    folder = Path(get_upload_folder()) / secret
    target = folder / (path.name + (".zip" if path.is_dir() else ""))
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{secrets.token_hex(4)}.partial"  # two clicks at once write two, and either is whole
        try:
            if path.is_dir():
                _zip(path, beside)
            else:
                link(path, beside)  # artifacts are replaced by renaming
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    return str(target)


def project_file(project: Project, session: str) -> str:
    """A project as one .zip for the visitor of `session`: its dataset and runs with models, scores and files, without checkpoints.

    The command line works on what is in it: `evaluate runs/<id>`, `export runs/<id>`.
    """
    newest = 0
    for file in _files(project.path):
        with suppress(FileNotFoundError):  # a training or export goes on meanwhile
            newest = max(newest, file.stat().st_mtime_ns)
    return hand_over(project.path, session, f"project {newest}")


def _files(folder: Path) -> list[Path]:
    """The whole files below a folder. Hidden ones are being written, or are locks."""
    parts = ((file, file.relative_to(folder).parts) for file in sorted(folder.rglob("*")))
    return [file for file, names in parts if LEFT_OUT not in names and not any(name.startswith(".") for name in names) and file.is_file()]


def _zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in _files(folder):
            with suppress(FileNotFoundError):  # it has gone since: replaced, or not needed any more
                archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
