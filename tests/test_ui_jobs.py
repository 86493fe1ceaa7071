"""The line of jobs: order, limits, stopping for certain, being found again. Its command is a small script of the test's own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from pipeline.child import born, lives
from pipeline.errors import RunError
from pipeline.ui import jobs, processes, timings
from pipeline.ui.jobs import CANCELLED, DONE, FAILED, RUNNING, WAITING, Line

SCRIPT = """
import json, signal, subprocess, sys, time
from pathlib import Path
what, argument, *rest = sys.argv[1:]
progress = Path(rest[rest.index("--progress-file") + 1])
print("working", file=sys.stderr, flush=True)
progress.write_text(json.dumps({"fraction": 0.5, "message": "Half way", "eta_seconds": 7}))
if what == "sleep":
    time.sleep(float(argument))
elif what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(argument).write_text(str(child.pid))
    time.sleep(60)
elif what == "fail":
    print("Error: Row 3 has no request; write one.", file=sys.stderr)
    sys.exit(1)
elif what == "crash":
    raise ValueError("a defect")
elif what == "token":
    import os
    print(json.dumps({"token": os.environ.get("HF_TOKEN")}))
    sys.exit(0)
elif what == "stopped":
    print(json.dumps({"status": "paused"}))
    sys.exit(143)
elif what == "die":
    import os
    os.kill(os.getpid(), signal.SIGKILL)
print("a line that is not the result")
print(json.dumps({"said": argument}))
"""


@pytest.fixture
def line(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(SCRIPT)
    made = Line(tmp_path / "workspace", command=(sys.executable, str(script)))
    yield made
    for job in made.unfinished():
        if job.pid:
            processes.end_group(job.pid, job.born, force=True)
            processes.reap(job.pid)


def submit(line: Line, *args: str, run: str = "run", session: str = "a" * 32, **more) -> jobs.Job:
    folder = line.root / session / "project" / "runs" / run
    return line.submit("train", session, folder, args, title="Training", **more)


def until(line: Line, job: jobs.Job, *wanted: str, seconds: float = 20) -> jobs.Job:
    end = time.time() + seconds
    while time.time() < end:
        line.tick()
        job = line.read(job.folder)
        if job.status in wanted:
            return job
        time.sleep(0.03)
    raise AssertionError(f"still {job.status}, wanted {wanted}: {job.log.read_text()}")


def test_a_job_runs_and_its_last_line_is_its_result(line):
    job = until(line, submit(line, "say", "hello; rm -rf $HOME"), DONE)
    assert job.result == {"said": "hello; rm -rf $HOME"}, "arguments reach the command as they are, no shell between"
    assert job.error is None
    assert "working" in job.log.read_text()
    assert line.unfinished() == []


def test_one_at_a_time_first_come_first_served(line):
    first, second, third = (submit(line, "sleep", "0.3", run=f"run{n}", session=f"{n}" * 32) for n in range(3))
    line.tick()
    line.tick()
    assert [line.read(job.folder).status for job in (first, second, third)] == [RUNNING, WAITING, WAITING]
    assert [line.ahead(job)[0] for job in (first, second, third)] == [0, 1, 2]
    ended = [until(line, job, DONE) for job in (first, second, third)]
    assert ended[0].ended <= ended[1].started and ended[1].ended <= ended[2].started


def test_a_waiting_job_knows_how_long_once_such_jobs_have_run(line):
    first = submit(line, "sleep", "30", timing="train", units=10)
    second = submit(line, "sleep", "2", run="other", timing="train", units=10)
    third = submit(line, "sleep", "3", run="third", timing="train", units=10)
    assert line.ahead(second) == (1, None), "nothing ran here before: nobody can know"
    until(line, first, RUNNING)
    deadline = time.time() + 10
    while line.progress(first).message != "Half way" and time.time() < deadline:
        time.sleep(0.05)
    assert line.progress(first) == jobs.Progress(0.5, "Half way", 7.0)
    assert line.ahead(second) == (1, 7.0), "what the running one says of itself"
    timings.record(line.root, "train", units=10, seconds=20)
    assert line.ahead(third) == (2, 27.0)


def test_durations_are_learnt_from_jobs_that_ended_by_themselves(line):
    until(line, submit(line, "sleep", "0.2", timing="evaluate embedded", units=4), DONE)
    assert 0.2 <= line.expected("evaluate embedded", 4) < 5
    assert line.expected("evaluate embedded", 8) == pytest.approx(2 * line.expected("evaluate embedded", 4))
    assert line.expected("export", 1) is None


def test_what_it_takes_to_begin_is_not_taken_for_work(tmp_path):
    timings.record(tmp_path, "train", units=10, seconds=30, working=10)
    assert timings.expected(tmp_path, "train", 10) == pytest.approx(30)
    assert timings.expected(tmp_path, "train", 100) == pytest.approx(120)
    timings.record(tmp_path, "train", units=10, seconds=40, working=30)
    assert timings.expected(tmp_path, "train", 10) == pytest.approx(35), "half of it is the newest"


def test_before_anything_ran_the_speed_of_the_cpu_is_a_guess(monkeypatch):
    monkeypatch.setattr(timings.Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setattr(timings, "speed", lambda: timings.MEASURED_SPEED)
    slow = timings.guess("train embedded full", 1000)
    monkeypatch.setattr(timings, "speed", lambda: 2 * timings.MEASURED_SPEED)
    begin = timings.MEASURED["train embedded full"][0]
    assert timings.guess("train embedded full", 1000) - begin == pytest.approx((slow - begin) / 2)
    assert timings.guess("work that nobody measured", 1) is None


def test_the_speed_of_a_cpu_is_plausible():
    assert 1e8 < timings.speed() < 1e14


def test_a_damaged_record_is_learnt_again(tmp_path):
    (tmp_path / "timings.json").write_text('{"train": 3}')
    assert timings.expected(tmp_path, "train", 1) is None
    timings.record(tmp_path, "train", units=1, seconds=2)
    assert timings.expected(tmp_path, "train", 1) == 2


def test_a_command_that_stopped_by_itself_when_told_to_has_a_result(line):
    assert until(line, submit(line, "stopped", "x"), DONE).result == {"status": "paused"}


def test_limits_are_told_in_a_sentence(line, monkeypatch):
    submit(line, "sleep", "5")
    with pytest.raises(RunError, match="already in the line"):
        submit(line, "sleep", "5")
    submit(line, "sleep", "5", run="b")
    submit(line, "sleep", "5", run="c")
    with pytest.raises(RunError, match="3 jobs waiting or running"):
        submit(line, "sleep", "5", run="d")
    monkeypatch.setattr(jobs, "LINE_LENGTH", 3)
    with pytest.raises(RunError, match="waiting on this machine"):
        submit(line, "sleep", "5", session="b" * 32)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("fail", "Row 3 has no request; write one."),
        ("crash", "an error of ours"),
        ("die", "memory ran out"),
    ],
)
def test_a_failed_job_says_why_and_keeps_its_log(line, what, sentence):
    job = until(line, submit(line, what, "x"), FAILED)
    assert sentence in job.error
    assert "Traceback" not in job.error
    assert job.log.read_text().startswith("working")


def test_a_crash_keeps_its_traceback_in_the_log_only(line):
    job = until(line, submit(line, "crash", "x"), FAILED)
    assert "ValueError: a defect" in job.log.read_text()


def test_stopping_a_waiting_job_takes_it_out_of_the_line(line):
    first, second = submit(line, "sleep", "30"), submit(line, "sleep", "30", run="b")
    line.tick()
    line.stop(second)
    assert line.read(second.folder).status == CANCELLED
    assert [job.id for job in line.unfinished()] == [first.id]


def test_stopping_is_certain_even_for_a_process_that_refuses(line, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "KILL_AFTER", 0.3)
    noted = tmp_path / "grandchild"
    job = until(line, submit(line, "stubborn", str(noted)), RUNNING)
    deadline = time.time() + 10
    while not (noted.exists() and noted.read_text()) and time.time() < deadline:
        time.sleep(0.05)
    grandchild = int(noted.read_text())
    line.stop(job)
    job = until(line, job, CANCELLED)
    assert not lives(job.pid, job.born)
    deadline = time.time() + 5
    while _runs(grandchild) and time.time() < deadline:
        time.sleep(0.05)
    assert not _runs(grandchild), "the whole group is ended, not only its leader"


def test_a_defect_of_ours_does_not_end_the_line(line, monkeypatch, caplog):
    tick, broken = line.tick, [KeyError("a defect")]

    def once():
        if broken:
            raise broken.pop()
        tick()

    monkeypatch.setattr(line, "tick", once)
    job = submit(line, "say", "hello")
    line.start()
    deadline = time.time() + 60
    while not line.read(job.folder).over and time.time() < deadline:
        time.sleep(0.05)
    line.close()
    assert line.read(job.folder).status == DONE and "a defect" in caplog.text


def test_a_job_that_was_asked_to_finish_may_do_so_by_itself(line):
    job = until(line, submit(line, "sleep", "0.4"), RUNNING)
    line.stop(job, within=30)
    assert until(line, job, DONE).result == {"said": "0.4"}


def test_a_restarted_server_follows_what_runs_and_goes_on_with_what_waits(line):
    first, second = submit(line, "sleep", "0.8"), submit(line, "say", "next", run="b")
    until(line, first, RUNNING)
    after = Line(line.root, command=line.command)
    after.tick()
    assert after.read(first.folder).status == RUNNING, "not started twice, not taken for dead"
    assert [job.id for job in after.of_run(first.run)] == [first.id]
    assert until(after, first, DONE).result == {"said": "0.8"}
    assert until(after, second, DONE).result == {"said": "next"}


def test_a_job_whose_process_vanished_with_the_machine_has_failed(line):
    job = submit(line, "sleep", "30")
    line._write(jobs.replace(line.read(job.folder), status=RUNNING, started=time.time(), pid=2**22 + 1, born=1.0))
    assert until(line, job, FAILED).error
    assert line.unfinished() == []


def test_an_id_that_was_given_to_another_process_is_not_ended():
    assert lives(os.getpid(), born(os.getpid())) and not lives(os.getpid(), 1.0) and not lives(0, 1.0)
    processes.end_group(os.getpid(), 1.0, force=True)  # would end this very test


def test_a_deleted_run_leaves_the_line(line):
    import shutil

    job = submit(line, "sleep", "1")
    shutil.rmtree(job.run)
    line.tick()
    assert line.unfinished() == []


def test_what_works_on_a_run_that_is_deleted_is_ended(line):
    import shutil

    job = until(line, submit(line, "sleep", "60"), RUNNING)
    shutil.rmtree(job.run)
    after = Line(line.root, command=line.command)  # also by the next server
    assert after.unfinished() == [] and not lives(job.pid, job.born)
    assert until(line, submit(line, "say", "next", run="b"), DONE).result == {"said": "next"}


def test_a_damaged_record_does_not_hold_up_the_others(line):
    damaged, sound = submit(line, "say", "x"), submit(line, "say", "y", run="b")
    (damaged.folder / "job.json").write_text("{")
    assert until(line, sound, DONE).result == {"said": "y"}
    assert line.unfinished() == []


def test_the_servers_token_is_not_handed_to_jobs(line, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert until(line, submit(line, "token", "x"), DONE).result == {"token": None}


def test_a_program_that_cannot_be_started_is_a_failed_job(tmp_path):
    broken = Line(tmp_path, command=("/no/such/program",))
    job = until(broken, submit(broken, "say", "x"), FAILED)
    assert "could not be started" in job.error


def test_the_background_thread_moves_the_line(line):
    line.start()
    job = submit(line, "say", "hello")
    deadline = time.time() + 20
    while not line.read(job.folder).over and time.time() < deadline:
        time.sleep(0.05)
    line.close()
    assert line.read(job.folder).status == DONE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "a few seconds"), (12, "about 10 s"), (44, "about 45 s"), (70, "about 1 min"), (170, "about 3 min"), (7800, "about 2 h 10 min")],
)
def test_durations_in_words(seconds, words):
    assert timings.in_words(seconds) == words


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
