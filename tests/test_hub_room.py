"""Base models on a Space make room for each other; those of runs stay, and a laptop's own cache is never touched. Through the real client."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import HubError
from pipeline.hub import room
from pipeline.hub.access import fetch_base
from pipeline.model import check_checkpoint
from pipeline.runs import Run, Workspace
from tests.small_world import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def space(hub, checkpoint, tmp_path, monkeypatch):
    """A Space with room for two bases and a half, and alice's four on the Hub."""
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("STUDIO_WORKSPACE", str(tmp_path / "workspace"))
    for number in range(4):
        hub.repo(f"alice/base-{number}", checkpoint, private=True)
    monkeypatch.setattr(room, "LIMIT", int(2.5 * sum(file.stat().st_size for file in checkpoint.iterdir())))
    monkeypatch.setattr(room, "SPARE", 0)
    return hub


def fetch(space, number, hours_ago=2.0):
    folder = fetch_base(f"alice/base-{number}", space.user("alice"))
    aged(folder, hours_ago)
    return folder


def aged(folder: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(folder, (then, then))


def run_on(folder: Path) -> Run:
    """A visitor's run that names this base."""
    project = Workspace.of_server().create_session().create_project("lamp")
    base = {"id": "alice/base", "label": "x", "revision": folder.name, "path": check_checkpoint(folder), "embedded": False}
    return Run.create(project.new_run_path(), title="x", config=TrainConfig(), base=base, dataset_sha256="", versions={}, total_steps=1)


def test_the_base_that_was_not_wanted_for_longest_goes_and_not_before_there_is_need(space):
    first, second = fetch(space, 0, hours_ago=2), fetch(space, 1, hours_ago=3)
    assert first.is_dir() and second.is_dir()
    third = fetch(space, 2)
    assert first.is_dir() and third.is_dir() and not second.exists()
    assert not second.parents[1].exists(), "nothing of it is left to take room"
    check_checkpoint(first), check_checkpoint(third)


def test_one_that_is_asked_for_again_is_wanted_again(space):
    first, second = fetch(space, 0, hours_ago=3), fetch(space, 1, hours_ago=2)
    assert fetch_base("alice/base-0", space.user("alice")) == first
    fetch(space, 2)
    assert first.is_dir() and not second.exists()


def test_the_base_of_a_run_stays_until_the_run_is_deleted(space):
    first, second = fetch(space, 0, hours_ago=9), fetch(space, 1)
    run = run_on(first)
    (run_on(second).path / "run.json").write_text("{")
    third = fetch(space, 2)
    assert first.is_dir() and not second.exists(), "a damaged run holds nothing, and stops nothing"
    run.delete()
    fetch(space, 3)
    assert not first.exists() and third.is_dir()


def test_without_room_it_is_said_and_nothing_is_deleted(space):
    first, second = fetch(space, 0, hours_ago=9), fetch(space, 1, hours_ago=0)
    run_on(first)
    sent = len(space.asked("GET", "/_cdn/"))
    with pytest.raises(HubError, match=r"There is no room for alice/base-2 \(0.0 GB\) on the disk of this Space") as refused:
        fetch(space, 2)
    assert "Delete projects that you do not need, try again later, or duplicate the Space" in str(refused.value)
    assert first.is_dir() and second.is_dir() and len(space.asked("GET", "/_cdn/")) == sent
    assert fetch_base("alice/base-1", space.user("alice")) == second, "what is here needs no room"


def test_a_full_disk_counts_too(space, monkeypatch):
    monkeypatch.setattr(room, "LIMIT", 10**12)
    first = fetch(space, 0)
    monkeypatch.setattr(room, "shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=100)))
    second = fetch(space, 1, hours_ago=0)
    assert second.is_dir() and not first.exists()
    with pytest.raises(HubError, match="no room for alice/base-2"):
        fetch(space, 2)


def test_a_copy_with_the_same_commits_is_told_from_its_original(space):
    theirs, ours = space.repos["model", "alice/base-0"], space.repos["model", "alice/base-1"]
    ours.commits[:] = theirs.commits
    first, second = fetch(space, 0), fetch(space, 1)
    assert first.name == second.name
    run_on(second)
    fetch(space, 2)
    assert second.is_dir() and not first.exists()
    check_checkpoint(second)


def test_what_broke_off_counts_and_goes_with_its_base(space):
    first = fetch(space, 0)
    left = [first.parents[1] / "blobs" / f"{name}.incomplete" for name in ("abc", "def")]
    for file in left:
        file.write_bytes(b"x" * (room.LIMIT // 2))
    second = fetch(space, 1)
    assert second.is_dir() and not any(file.exists() for file in left) and not first.exists()


def test_elsewhere_the_cache_is_its_owners(space, monkeypatch):
    monkeypatch.delenv("SYSTEM")
    folders = [fetch(space, number, hours_ago=99) for number in range(4)]
    assert all(folder.is_dir() for folder in folders)


def test_one_after_the_other_is_fetched_and_whoever_waits_is_told(space):
    said, done = [], []
    token = space.user("alice")
    assert room._fetching.acquire(timeout=240)
    try:
        waiting = threading.Thread(
            target=lambda: done.append(fetch_base("alice/base-0", token, lambda fraction, message: said.append(message)))
        )
        waiting.start()
        for _ in range(4800):
            if said:
                break
            time.sleep(0.05)
        assert said == ["Waiting for another base model that is being fetched"] and not done
    finally:
        room._fetching.release()
    waiting.join(240)
    assert done and done[0].is_dir()
