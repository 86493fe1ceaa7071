"""Files handed to a visitor: whole, whoever else asks for the same at that moment, and nothing left beside them."""

from __future__ import annotations

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.ui import downloads


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    made = tmp_path / "kit"
    made.mkdir()
    (made / "README.md").write_text("Hello")
    return made


def test_two_clicks_at_once_get_whole_files(folder, monkeypatch):
    zipped, written, first = downloads._zip, threading.Event(), threading.Event()

    def slow(source: Path, target: Path) -> None:
        zipped(source, target)
        if not first.is_set():
            first.set()
            assert written.wait(20)

    monkeypatch.setattr(downloads, "_zip", slow)
    with ThreadPoolExecutor() as pool:
        one = pool.submit(downloads.hand_over, folder, "a" * 32, "1")
        assert first.wait(20)
        two = Path(downloads.hand_over(folder, "a" * 32, "1"))
        assert zipfile.ZipFile(two).testzip() is None
        written.set()
        assert Path(one.result()) == two
    assert zipfile.ZipFile(two).namelist() == ["kit/README.md"] and list(two.parent.iterdir()) == [two]


def test_what_breaks_off_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_zip", full)
    with pytest.raises(OSError, match="No space left"):
        downloads.hand_over(folder, "a" * 32, "1")
    assert [file for file in (tmp_path / "served").rglob("*") if file.is_file()] == []


def test_another_visitor_gets_another_address(folder):
    mine, theirs = (Path(downloads.hand_over(folder, session, "1")) for session in ("a" * 32, "b" * 32))
    assert mine != theirs and mine == Path(downloads.hand_over(folder, "a" * 32, "1"))


def test_what_is_replaced_while_a_folder_is_packed_stops_nothing(folder, monkeypatch):
    monkeypatch.setattr(downloads, "_files", lambda path: [path / "gone.json", path / "README.md"])
    made = zipfile.ZipFile(downloads.hand_over(folder, "a" * 32, "1"))
    assert made.testzip() is None and made.namelist() == ["kit/README.md"]
