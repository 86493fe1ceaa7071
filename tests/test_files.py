"""A file is whole or as it was, and a folder is held by one at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading

import pytest

from pipeline.files import complete, exclusive, write_all, write_atomic


def test_a_file_is_written_with_its_folder_and_newlines(tmp_path):
    path = write_atomic(tmp_path / "a" / "b.txt", "ü\r\n")
    assert path.read_bytes() == "ü\r\n".encode() and os.listdir(path.parent) == ["b.txt"]
    assert write_atomic(path, b"\x00").read_bytes() == b"\x00"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch, step):
    path = write_atomic(tmp_path / "a.txt", "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_text_that_cannot_be_encoded_touches_no_file(tmp_path):
    write_all(tmp_path, {"a": "1", "b": "2"})
    with pytest.raises(UnicodeEncodeError):
        write_all(tmp_path, {"a": "3", "b": "\ud800"})
    assert [(tmp_path / name).read_text() for name in "ab"] == ["1", "2"] and len(os.listdir(tmp_path)) == 2


def test_several_files_are_written_in_one_step(tmp_path, monkeypatch):
    write_all(tmp_path, {"a": "1", "b": "2"})
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".pending-0").mkdir()  # of a process that was killed while it wrote
    replace, moved = os.replace, []

    def die_between(source, target):
        if ".pending" in str(source) and ".pending" not in str(target):
            moved.append(target)
            if len(moved) == 2:
                raise OSError(5, "killed")
        replace(source, target)

    monkeypatch.setattr(os, "replace", die_between)
    with pytest.raises(OSError, match="killed"):
        write_all(tmp_path, {"a": "3", "b": "4"})
    assert [(tmp_path / name).read_text() for name in "ab"] == ["3", "2"]
    complete(tmp_path)
    assert [(tmp_path / name).read_text() for name in ("a", "b", "mine")] == ["3", "4", "mine"]
    assert len(os.listdir(tmp_path)) == 3
    complete(tmp_path)
    complete(tmp_path / "none")


def test_readers_never_see_a_part(tmp_path):
    path, texts = tmp_path / "a", [letter * 100_000 for letter in "xy"]
    write_atomic(path, texts[0])
    seen: set[str] = set()
    done = threading.Event()

    def look():
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(20):
        write_atomic(path, texts[n % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)


@pytest.mark.parametrize(("file_system", "left"), [("local", []), ("nfs", [".lock"])])
def test_a_folder_is_held_by_one_at_a_time_and_nothing_is_left_in_it(tmp_path, monkeypatch, file_system, left):
    """On NFS a folder cannot be locked, so that a hidden file is."""
    flock = fcntl.flock

    def writable_only(handle, how):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, how)

    if file_system == "nfs":
        monkeypatch.setattr(fcntl, "flock", writable_only)
    order, waited = [], threading.Event()

    def second():
        with exclusive(tmp_path, waited.set):
            order.append("second")

    with exclusive(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(120)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and os.listdir(tmp_path) == left


def test_who_waits_for_a_folder_can_give_up(tmp_path):
    def give_up():
        raise KeyboardInterrupt

    with exclusive(tmp_path):
        with pytest.raises(KeyboardInterrupt), exclusive(tmp_path, give_up):
            pass
    with exclusive(tmp_path, give_up):
        pass


def test_work_that_a_killed_process_left_is_cleared_away_and_that_of_a_living_one_is_not(tmp_path):
    from pipeline.child import born
    from pipeline.export.workplace import work_folder

    killed = [tmp_path / f".work-{pid}-{since}-abc" for pid, since in ((os.getpid(), 1.0), (2**22 + 1, 1.0))] + [tmp_path / ".work-7-abc"]
    for folder in killed:
        folder.mkdir()
    with work_folder(tmp_path) as mine:
        assert not any(folder.exists() for folder in killed)
        with work_folder(tmp_path) as another:
            assert mine.is_dir() and another.is_dir() and repr(born(os.getpid())) in mine.name
    assert list(tmp_path.iterdir()) == []


def test_a_second_name_or_a_copy_where_there_are_none(tmp_path, monkeypatch):
    from pipeline.files import link

    (tmp_path / "a").write_bytes(b"whole")
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        link(tmp_path / "none", tmp_path / "c")

    def refused(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    link(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"whole" and not (tmp_path / "c").samefile(tmp_path / "a")
