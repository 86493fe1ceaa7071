"""A tuned model as a file that runs elsewhere, made, run and compared before it gets its name.

`export` does one format. A file that fails its check is deleted and the error says what failed. Beside the artifacts lie artifacts.json,
what is known of each, and README.md, the model card. In the run's own folder elsewhere.json names the files that went to other ones.

litert.py (convert.py, bundle.py, tokenizer.py), gguf.py, merged.py and adapter.py make the files; source.py says what a file must be able
to do, readback.py whether it holds what it should, verify.py whether it answers; inspect.py (containers.py, archive.py, apart.py) looks
into any file; card.py (usage.py, compatibility.py) writes the card.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.child import Progress
from pipeline.errors import ExportError
from pipeline.export import apart
from pipeline.export.inspect import as_text
from pipeline.export.source import Source
from pipeline.export.workplace import work_folder
from pipeline.files import exclusive, write_atomic
from pipeline.runs import Run

__all__ = ["FORMATS", "Artifact", "artifacts", "as_text", "export", "export_checkpoint", "inspect", "newest"]

FORMATS = ("litertlm", "task", "tflite", "gguf", "merged", "adapter")
FOLDERS = ("merged", "adapter")
"""Formats that are a folder, not a file."""
LIST = "artifacts.json"
ELSEWHERE = "elsewhere.json"
CACHE = ".cache"
REQUESTS = 20


@dataclass(frozen=True)
class Artifact:
    """A file (for `merged` and `adapter` a folder) that has passed its check. `size` in bytes, `seconds` that it took to make and check.

    `sha256` of a folder is that of its SHA256SUMS. `details` says how it was made and how its answers compare.
    """

    format: str
    path: str
    size: int
    sha256: str
    verified: bool
    answers_identical: int
    answers_total: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def sentence(self) -> str:
        return f"{self.answers_identical} of {self.answers_total} answers identical to the model's, {self.size / 1e6:.1f} MB"


def export(
    run: Run, format: str, quantize: str | None = None, out: str | Path | None = None, progress: Progress | None = None,
    requests: int = REQUESTS, *, cache_length: int | None = None, wrap_turns: bool = False,
) -> Artifact:
    """The artifact of a run, in its artifacts folder or in `out`; an older one of the same name is replaced only by one that passed.

    `quantize`: int8 (default), int4, float32 for LiteRT; q8_0 (default), float16, q4_0 for gguf. `requests` is how many held-out
    rows it must answer; `cache_length` the least number of tokens that it must hold (more is taken if the dataset needs it);
    `wrap_turns` writes a .task for the plain MediaPipe API. What `progress` raises stops the work and leaves nothing.
    Raises ExportError, and RunError if the run has no model yet. An adapter is there only if the run was trained with LoRA.
    """
    from pipeline.export import adapter
    from pipeline.export.card import write_card

    if not run.model_path.is_dir():
        raise ExportError(f"{run.path} has no trained model yet, it is {run.status}; train it to the end first.")
    source = Source(run.model_path, run.dataset(), file_name(run))
    if format == "adapter":
        source = adapter.of_run(source, run)
    folder = Path(out) if out is not None else run.artifacts_path
    artifact = export_checkpoint(
        source, format, quantize, folder, run.artifacts_path / CACHE, progress, requests, cache_length=cache_length, wrap_turns=wrap_turns
    )
    _remember(run, artifact)
    write_card(run, folder)
    return artifact


def export_checkpoint(
    source: Source, format: str, quantize: str | None, folder: Path, cache: Path, progress: Progress | None = None,
    requests: int = REQUESTS, *, cache_length: int | None = None, wrap_turns: bool = False,
) -> Artifact:
    """What `export` does, without a run: `folder` gets the artifact, `cache` keeps what the next format can use again."""
    from pipeline.export import adapter, gguf, litert, merged, verify
    from pipeline.export.compatibility import checked_with

    makers = {name: litert for name in litert.FORMATS} | {"gguf": gguf, "merged": merged, "adapter": adapter}
    if format not in makers:
        raise ExportError(f"There is no format {format!r}: expected one of {', '.join(FORMATS)}.")
    if requests < 1:
        raise ExportError(f"A file must answer at least 1 request before it is handed out, found {requests}.")
    if wrap_turns and format != "task":
        raise ExportError(f"Wrapping turns is for .task files only, not for {format}.")
    maker, began = makers[format], time.monotonic()
    quantize = maker.quantization(quantize)
    folder, cache = folder.resolve(), cache.resolve()  # children work in another folder
    source = replace(source, checkpoint=source.checkpoint.resolve())
    source.check()
    artifacts(folder)  # a list that cannot be read is better known now than after the work
    step = _steps(progress or (lambda fraction, message: None))
    folder.mkdir(parents=True, exist_ok=True)
    with work_folder(folder) as work:
        options = {"cache_length": cache_length, "wrap_turns": wrap_turns} if maker is litert else {}
        made, details = maker.make(source, format, quantize, work, cache, step(0.0, 0.6), **options)
        rows = source.requests(requests)
        length = verify.answer_length(source.longest[1])
        prompts = [row.prompt for row in rows]
        ours = verify.model_answers(source.checkpoint, source.weights_sha256, prompts, length, cache, step(0.6, 0.8, "Asking the model"))
        theirs = maker.answers(source, made, rows, length, step(0.8, 0.95, f"Asking the {format} file"))
        exact = quantize == "float32" and not details.get("rounded")
        progress_end = step(0.95, 1.0)
        progress_end(0.0, "Comparing the answers")
        found = verify.compare(source.checkpoint, rows, ours, theirs, exact)
        verify.require(found, made.name, exact)
        if maker is gguf:
            details |= gguf.second_opinion(source, made, rows, ours, length, step(0.95, 1.0, "Asking llama.cpp"))
        size, sha256 = _measure(made)
        final = folder / made.name
        if final.is_dir():
            os.replace(final, work / "replaced")
        os.replace(made, final)
    artifact = Artifact(
        format, str(final), size, sha256, True, found.identical, found.total, round(time.monotonic() - began, 1),
        {"quantize": quantize, **details, "checked_with": checked_with(format), "comparison": found.to_json()},
    )
    _record(folder, artifact)
    progress_end(1.0, artifact.sentence)
    return artifact


def inspect(path: str | Path) -> dict[str, Any]:
    """What is inside a file of anybody's making, and what is wrong with it (`pipeline.export.inspect`). Raises ExportError."""
    return apart.inspect(path)


def artifacts(folder: str | Path) -> list[Artifact]:
    """What was exported into `folder` and is still there, oldest first."""
    here = [replace(one, path=str(Path(folder) / Path(one.path).name)) for one in _listed(Path(folder) / LIST)]
    return [one for one in here if Path(one.path).exists()]


def newest(run: Run, format: str) -> Artifact | None:
    """The last file of `format` that was made of the run, in its artifacts or, if it is unchanged there, in another folder."""
    other = [one for one in _listed(run.artifacts_path / ELSEWHERE) if one.format == format and _is_unchanged(one)]
    here = [one for one in artifacts(run.artifacts_path) if one.format == format]
    return next(reversed([*here, *other]), None)


def file_name(run: Run) -> str:
    """How a run's files are called: its title where that says something, in letters that every file system and Hub takes."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", run.title).strip("-").lower()
    return (words or "functiongemma")[:60]


def _record(folder: Path, artifact: Artifact) -> None:
    """Add it to the list of its folder, which other exports may be adding to."""
    with exclusive(folder):
        others = [one for one in artifacts(folder) if one.path != artifact.path]
        _write_list(folder / LIST, [replace(one, path=Path(one.path).name) for one in (*others, artifact)])


def _remember(run: Run, artifact: Artifact) -> None:
    """What lies in other folders and is newer than the run's own file of the format, for `newest`; the last one is the newest."""
    home = run.artifacts_path.resolve()
    home.mkdir(exist_ok=True)
    with exclusive(home):
        known = _listed(home / ELSEWHERE)
        if Path(artifact.path).parent == home:
            kept = [one for one in known if one.format != artifact.format]
        else:
            kept = [*(one for one in known if one.path != artifact.path), artifact]
        if kept != known:
            _write_list(home / ELSEWHERE, kept)


def _listed(file: Path) -> list[Artifact]:
    if not file.is_file():
        return []
    try:
        return [Artifact(**entry) for entry in json.loads(file.read_text("utf-8"))["artifacts"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{file} cannot be read ({error}); delete it and export again.") from error


def _write_list(file: Path, found: list[Artifact]) -> None:
    write_atomic(file, json.dumps({"artifacts": [asdict(one) for one in found]}, indent=1, ensure_ascii=False))


def _is_unchanged(artifact: Artifact) -> bool:
    """Whether the file is still the one that was made: its name may have been given to another since."""
    path = Path(artifact.path)
    try:
        return path.is_file() and path.stat().st_size == artifact.size and _measure(path) == (artifact.size, artifact.sha256)
    except OSError:
        return False


def _measure(made: Path) -> tuple[int, str]:
    if made.is_dir():
        size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        return size, hashlib.sha256((made / "SHA256SUMS").read_bytes()).hexdigest()
    with open(made, "rb") as stream:
        return made.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def _steps(progress: Progress) -> Any:
    """step(begin, end): a progress callback for a stage that takes that share of the whole."""

    def step(begin: float, end: float, title: str = "") -> Progress:
        def report(fraction: float, message: str) -> None:
            progress(begin + (end - begin) * fraction, f"{title}: {message}" if title and message else title or message)

        return report

    return step
