"""Work in a process of its own: results and refusals come back, crashes become sentences, nobody is left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline import child
from pipeline.errors import ExportError, PipelineError

MODULE = "tests.child_work"


def test_the_result_comes_back_and_so_does_progress(monkeypatch):
    for name in ("HF_TOKEN", "OAUTH_CLIENT_SECRET"):
        monkeypatch.setenv(name, "hf_secret")
    said = []
    result = child.run(MODULE, {"kind": "double", "number": 21}, lambda fraction, message: said.append((fraction, message)))
    assert result == {"number": 42, "tokens": [None, None]}
    assert (0.5, "halfway") in said


def test_a_refusal_keeps_its_kind_and_its_sentence():
    with pytest.raises(ExportError, match=r"^This cannot be done\.$"):
        child.run(MODULE, {"kind": "refuse"})


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("crash", r"^The work crashed \(signal 11, SIGSEGV\)"),
        ("defect", r"^The work ended with an error \(exit status 1\): ZeroDivisionError: nobody expected this$"),
        ("leave", r"^The work ended with an error \(exit status 0\)"),
    ],
)
def test_a_child_that_falls_over_is_a_sentence(kind, sentence):
    with pytest.raises(PipelineError, match=sentence):
        child.run(MODULE, {"kind": kind})


def test_what_progress_raises_stops_the_child_and_takes_its_temporary_files_along(tmp_path, monkeypatch):
    file, temporary = tmp_path / "pid", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def stop(fraction: float, message: str) -> None:
        if file.exists():
            assert list(temporary.glob("*/*")), "the child has made one"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.run(MODULE, {"kind": "forever", "pid_file": str(file)}, stop)
    assert not psutil.pid_exists(int(file.read_text()))
    assert not list(temporary.iterdir())


def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path):
    file = tmp_path / "pid"
    program = f"from pipeline import child; child.run({MODULE!r}, {{'kind': 'forever', 'pid_file': {str(file)!r}}})"
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent.parent)
    _wait(lambda: file.exists() and file.read_text())
    parent.kill()
    parent.wait()
    pid = int(file.read_text())
    _wait(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_the_clock_moves_on_and_never_arrives(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: now[0]))
    said = []
    report = child.by_the_clock(lambda fraction, message: said.append(fraction), expected=10)
    for now[0] in (0.0, 5.0, 10.0, 100.0):
        report(0.0, "working")
    assert said == sorted(said)
    assert said[0] == 0 and 0.6 < said[2] < 0.7 and said[3] < 1


def _wait(condition) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
