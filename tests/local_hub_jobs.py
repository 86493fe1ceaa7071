"""Hugging Face Jobs on the local Hub: hardware, start, list, look, log, cancel; and a started Job really runs, as a process here.

What the image does with `uv run [--with ...] [--python ...] URL words` is done with this project's own environment: the script is fetched with
the Job's token, as uv does for an address of the Hub, and started with the Job's environment and secrets and nothing else of this
process. `jobs_of(hub)` holds what was started; written after the requests of huggingface_hub 2.4, which names the fields.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.local_hub import Answer, LocalHub, Refuse, Request, User, route
from tests.local_hub_routes import signed_in

ROOT = Path(__file__).resolve().parent.parent
HARDWARE = [
    # name, label, CPUs, memory, (GPUs, model, memory of each), micro-dollars a minute
    ("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", None, 167),
    ("t4-small", "Nvidia T4 - small", "4 vCPU", "15 GB", ("1", "T4", "16 GB"), 6667),
    ("l4x4", "4x Nvidia L4", "48 vCPU", "186 GB", ("4", "L4", "96 GB"), 63333),
]
FORBIDDEN = ("gradio", "spaces", "litert_torch", "litert_lm", "ai_edge_litert", "mediapipe", "gguf", "jax", "playwright", "pytest")
"""What a Job does not install, and its process therefore must not be able to import here."""
WITHOUT = "import sys\nfor name in {names!r}:\n    sys.modules[name] = None\n"


@dataclass
class LocalJob:
    """One Job: what was asked for, the lines that its process wrote, and what became of it."""

    id: str
    namespace: str
    spec: dict[str, Any]
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    stage: str = "SCHEDULING"
    message: str | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    process: subprocess.Popen | None = None

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def over(self) -> bool:
        return self.stage in ("COMPLETED", "CANCELED", "ERROR", "DELETED")

    def wait(self, seconds: float = 600) -> str:
        """The stage in which it ended."""
        until = time.monotonic() + seconds
        while not self.over():
            assert time.monotonic() < until, self.text[-3000:]
            time.sleep(0.05)
        return self.stage

    def kill(self) -> None:
        """The machine is gone, without a word to the process."""
        os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class Jobs:
    """All of a Hub's. `run` False: a Job only waits. `kill_after`: a Job is killed at its first line that holds this text."""

    made: dict[str, LocalJob] = field(default_factory=dict)
    run: bool = True
    kill_after: str | None = None
    place: tempfile.TemporaryDirectory = field(default_factory=lambda: tempfile.TemporaryDirectory(prefix="local-jobs-", ignore_cleanup_errors=True))

    @property
    def folder(self) -> Path:
        """Where the Jobs' processes have their files; gone with this object."""
        return Path(self.place.name)


def jobs_of(hub: LocalHub) -> Jobs:
    with hub.lock:
        if "jobs" not in hub.extra:
            hub.extra["jobs"] = Jobs()
        return hub.extra["jobs"]


# -- routes


@route("GET", "/api/jobs/hardware")
def hardware(hub: LocalHub, request: Request) -> Answer:
    rows = []
    for name, label, cpu, ram, gpu, cost in HARDWARE:
        accelerator = gpu and {"type": "gpu", "quantity": gpu[0], "model": gpu[1], "vram": gpu[2], "manufacturer": "Nvidia"}
        rows.append({
            "name": name, "prettyName": label, "cpu": cpu, "ram": ram, "ephemeralStorage": "50 GB", "accelerator": accelerator,
            "unitCostMicroUSD": cost, "unitCostUSD": cost / 1e6, "unitLabel": "minute",
        })  # fmt: skip
    return Answer(body=rows)


def may_use(request: Request, namespace: str) -> User:
    user = signed_in(request)
    if not user.may("jobs"):
        raise Refuse(403, "", "This token lacks the scope jobs")
    if not user.owns(namespace):
        raise Refuse(403, "", f"You have no rights on {namespace}")
    return user


def find_job(hub: LocalHub, request: Request, namespace: str, id: str) -> LocalJob:
    may_use(request, namespace)
    job = jobs_of(hub).made.get(id)
    if job is None or job.namespace != namespace:
        raise Refuse(404, "JobNotFound", "Job not found")
    return job


@route("POST", r"/api/jobs/(?P<namespace>[^/]+)")
def start(hub: LocalHub, request: Request, namespace: str) -> Answer:
    user = may_use(request, namespace)
    if not user.can_pay:
        raise Refuse(402, "", "Pre-paid credit balance is insufficient - add more credits to your account to use Jobs.")
    spec = request.json()
    if spec["flavor"] not in {row[0] for row in HARDWARE}:
        raise Refuse(400, "", f"Invalid flavor {spec['flavor']}")
    job = LocalJob(secrets.token_hex(12), namespace, spec)
    jobs = jobs_of(hub)
    jobs.made[job.id] = job
    if jobs.run:
        threading.Thread(target=_work, args=(hub, jobs, job), daemon=True).start()
    return Answer(body=described(job))


@route("GET", r"/api/jobs/(?P<namespace>[^/]+)")
def listed(hub: LocalHub, request: Request, namespace: str) -> Answer:
    may_use(request, namespace)
    wanted = request.query.get("label", "").split("=")
    mine = [job for job in jobs_of(hub).made.values() if job.namespace == namespace]
    fits = [job for job in mine if len(wanted) != 2 or job.spec.get("labels", {}).get(wanted[0]) == wanted[1]]
    return Answer(body=[described(job) for job in reversed(fits)])


@route("GET", r"/api/jobs/(?P<namespace>[^/]+)/(?P<id>[0-9a-f]+)")
def inspected(hub: LocalHub, request: Request, namespace: str, id: str) -> Answer:
    return Answer(body=described(find_job(hub, request, namespace, id)))


@route("POST", r"/api/jobs/(?P<namespace>[^/]+)/(?P<id>[0-9a-f]+)/cancel")
def cancelled(hub: LocalHub, request: Request, namespace: str, id: str) -> Answer:
    job = find_job(hub, request, namespace, id)
    if not job.over():
        job.stage, job.ended = "CANCELED", time.time()
        if job.process is not None:
            job.kill()
    return Answer(body=described(job))


@route("GET", r"/api/jobs/(?P<namespace>[^/]+)/(?P<id>[0-9a-f]+)/logs")
def logs(hub: LocalHub, request: Request, namespace: str, id: str) -> Answer:
    job = find_job(hub, request, namespace, id)
    return Answer(body=_events(hub, job), type="text/event-stream")


def _events(hub: LocalHub, job: LocalJob) -> Iterator[bytes]:
    """Server-sent events of a log from its beginning, until the Job is over."""
    sent = 0
    yield _event(json.dumps({"data": f"===== Job started at {_when(job.created)} =====", "timestamp": _when(job.created)}))
    while not hub.ended.is_set():
        over = job.over()
        for at, line in job.lines[sent:]:
            yield _event(json.dumps({"data": line, "timestamp": _when(at)}))
            sent += 1
        if over:
            return
        time.sleep(0.05)


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def described(job: LocalJob) -> dict[str, Any]:
    """A Job as the API describes it: the names of its secrets, never what they are."""
    spec = job.spec
    return {
        "id": job.id, "createdAt": _when(job.created), "startedAt": job.started and _when(job.started), "dockerImage": spec.get("dockerImage"),
        "finishedAt": job.ended and _when(job.ended), "command": spec["command"], "arguments": spec["arguments"],
        "environment": spec["environment"], "secrets": dict.fromkeys(spec.get("secrets", {})), "flavor": spec["flavor"],
        "labels": spec.get("labels"), "status": {"stage": job.stage, "message": job.message},
        "durations": {"schedulingSecs": 0, "runningSecs": int(time.time() - (job.started or time.time())), "totalSecs": 0},
        "owner": {"id": "1", "name": job.namespace, "type": "user"}, "initiator": {"type": "user", "id": "1", "name": job.namespace},
    }  # fmt: skip


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


# -- the machine


def _work(hub: LocalHub, jobs: Jobs, job: LocalJob) -> None:
    """What the image does: `uv run` a script from an address."""
    spec, home = job.spec, jobs.folder / job.id
    home.mkdir(parents=True)
    (home / "sitecustomize.py").write_text(WITHOUT.format(names=FORBIDDEN), "utf-8")
    url, words = parsed(spec["command"])
    token = spec.get("secrets", {}).get("HF_TOKEN")
    try:
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        with urllib.request.urlopen(asked, timeout=240) as answer:
            (home / "job.py").write_bytes(answer.read())
    except OSError as problem:
        job.stage, job.message, job.ended = "ERROR", f"the script cannot be fetched: {problem}", time.time()
        return
    given = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    environment = {**given, **hub.environment(home / "hf"), **spec["environment"], **spec.get("secrets", {}), "JOB_ID": job.id}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(home)}
    job.argv = [sys.executable, str(home / "job.py"), *words]
    job.process = subprocess.Popen(
        job.argv, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True,
    )  # fmt: skip
    threading.Thread(target=_end_with, args=(hub, job), daemon=True).start()
    job.stage, job.started = "RUNNING", time.time()
    for line in job.process.stdout:
        job.lines.append((time.time(), line.rstrip("\n")))
        if jobs.kill_after and jobs.kill_after in line:
            jobs.kill_after = None
            job.kill()
    status = job.process.wait()
    if not job.over():
        job.ended = time.time()
        job.message = None if status == 0 else f"exit status {status}"
        job.stage = "COMPLETED" if status == 0 else "ERROR"


def _end_with(hub: LocalHub, job: LocalJob) -> None:
    """No Job outlives its Hub."""
    hub.ended.wait()
    if job.process.poll() is None:
        job.kill()


def parsed(command: list[str]) -> tuple[str, list[str]]:
    """The script's address and its words in a `uv run ...`."""
    assert command[:2] == ["uv", "run"], command
    rest = command[2:]
    while rest[0] in ("--with", "--python"):
        rest = rest[2:]
    return rest[0], rest[1:]
