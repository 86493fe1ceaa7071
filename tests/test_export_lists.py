"""What an export leaves behind for the next command and the next export: where its file lies, and nobody's file cleared away."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import evaluate as evaluations
from pipeline import export as exports
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example, save
from pipeline.errors import RunError
from pipeline.export import Artifact, artifacts, card, litert, newest
from pipeline.export.source import Lengths
from pipeline.runs import Run
from pipeline.tools import ToolCall, ToolSpec

BASE = {"id": "embedded", "label": "demo", "revision": None, "path": "", "embedded": True}


@pytest.fixture
def run(tmp_path) -> Run:
    """A finished run without weights: `exported` below stands in for the work."""
    made = Run.create(tmp_path / "run", title="app", config=TrainConfig(), base=BASE, dataset_sha256="", versions={}, total_steps=1)
    save(ToolDataset((ToolSpec("f"),), (example("x", [ToolCall("f")]),)), made.path / "dataset")
    made.model_path.mkdir()
    return made


def exported(run: Run, monkeypatch, format: str, out: Path | None = None, content: bytes = b"x") -> Artifact:
    """`export` with a file of that content for the heavy work."""

    def make(source, format, quantize, folder, *rest, **options) -> Artifact:
        folder.mkdir(exist_ok=True)
        file = folder.resolve() / f"app.{format}"
        file.write_bytes(content)
        made = Artifact(format, str(file), len(content), hashlib.sha256(content).hexdigest(), True, 1, 1, 1.0)
        exports._record(folder, made)
        return made

    monkeypatch.setattr(exports, "export_checkpoint", make)
    return exports.export(run, format, out=out)


def test_a_file_in_another_folder_is_found_again(run, monkeypatch, tmp_path):
    made = exported(run, monkeypatch, "litertlm", tmp_path / "files")
    assert "app.litertlm" in (tmp_path / "files" / "README.md").read_text("utf-8")
    assert newest(run, "litertlm") == made and evaluations._artifact(run, "litertlm") == Path(made.path)
    assert newest(run, "gguf") is None and artifacts(run.artifacts_path) == []
    Path(made.path).write_bytes(b"y")  # as long, and another
    assert newest(run, "litertlm") is None
    Path(made.path).unlink()
    with pytest.raises(RunError, match=r"has no \.litertlm file in its artifacts yet; export it first .*, or name one with --file\.$"):
        evaluations._artifact(run, "litertlm")


def test_the_newest_file_counts_wherever_it_lies(run, monkeypatch, tmp_path):
    here = exported(run, monkeypatch, "litertlm")
    there = exported(run, monkeypatch, "litertlm", tmp_path / "files")
    assert newest(run, "litertlm") == there
    exported(run, monkeypatch, "gguf")
    assert newest(run, "litertlm") == there
    assert exported(run, monkeypatch, "litertlm") == here == newest(run, "litertlm")
    Path(here.path).unlink()
    assert newest(run, "litertlm") is None


def test_no_export_forgets_what_another_recorded_meanwhile(tmp_path):
    def record(number: int) -> None:
        (tmp_path / f"{number}.task").write_bytes(b"x")
        exports._record(tmp_path, Artifact("task", str(tmp_path / f"{number}.task"), 1, "", True, 1, 1, 1.0))

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Path(one.path).name for one in artifacts(tmp_path)) == [f"{number}.task" for number in range(8)]


def test_a_conversion_that_is_being_read_is_not_cleared_away(tmp_path, monkeypatch):
    """Two exports of one run with other lengths: the second waits, then clears away what the first has read."""
    cache, reading, waiting, seen = tmp_path / "cache", threading.Event(), threading.Event(), []

    def convert(module, job, progress, what):
        if "checkpoint" in job:
            Path(job["float32"]).write_bytes(b"weights")
            return {}
        reading.set()
        assert waiting.wait(120)
        seen.append(Path(job["float32"]).read_bytes())
        Path(job["tflite"]).write_bytes(b"out")
        return {}

    monkeypatch.setattr(litert.child, "run", convert)
    monkeypatch.setattr(litert.tokenizer, "sentencepiece_model", lambda *args: b"")
    monkeypatch.setattr(litert, "_read_back", lambda *args: {})

    def make(length: int) -> None:
        source = SimpleNamespace(
            lengths=lambda asked: Lengths(length, 1024, 1, 1), checkpoint=tmp_path, texts=lambda: [], weights_sha256="w", name="app"
        )
        work = tmp_path / str(length)
        work.mkdir()
        litert.make(source, "tflite", "int8", work, cache, lambda fraction, message: message == "Waiting for another export" and waiting.set())

    first = threading.Thread(target=make, args=(128,))
    first.start()
    assert reading.wait(120)
    make(256)
    first.join()
    assert seen == [b"weights", b"weights"]
    assert len(list(cache.iterdir())) == 1


def test_the_card_names_a_file_that_another_export_added_meanwhile(run, monkeypatch, tmp_path):
    exported(run, monkeypatch, "litertlm", tmp_path)
    wrote = card.write_all

    def write_all(folder, files):
        if not (tmp_path / "app.task").exists():
            exported(run, monkeypatch, "task", tmp_path)
        wrote(folder, files)

    monkeypatch.setattr(card, "write_all", write_all)
    card.write_card(run, tmp_path)
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "app.litertlm" in text and "app.task" in text
