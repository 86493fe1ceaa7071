"""ZeroGPU without a GPU: the real `spaces` package forks, pickles and queues against a device API of the test's own.

    DeviceAPI      what a ZeroGPU Space asks for slots: lends them, refuses them, counts seconds; in the test's process
    Space          a process like a Space's server, in which a test lets things be done
    stand_in()     makes a CPU build of torch look as `spaces` expects one with CUDA; also for the app in a browser test

Only CUDA itself is not there: a slot computes on the CPU, at the pace that the test sets (tests/pace.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.pace import LIMIT, keep_pace

ROOT = Path(__file__).resolve().parent.parent


class DeviceAPI:
    """Lends one GPU to whoever asks, as long as `quota` seconds last (None: for ever); the used ones are subtracted at release.

    `asked` holds the queries of /schedule, `workers` the processes that were let in, `released` whether each slot failed.
    """

    def __init__(self) -> None:
        self.quota: float | None = None
        self.answers = threading.Event()  # while it is cleared, whoever asks for a slot waits
        self.answers.set()
        self.wait = 3600.0  # seconds until a quota that is gone comes back
        self.status = 200  # what /schedule answers
        self.asked: list[dict[str, str]] = []
        self.workers: list[int] = []
        self.released: list[bool] = []
        self._since: dict[str, float] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                status, body, headers = getattr(api, address.path.strip("/").replace("-", "_"))(query)
                raw = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        self.quota, self.status = None, 200
        self.answers.set()
        for log in (self.asked, self.workers, self.released):
            log.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What a ZeroGPU Space has in its environment."""
        address = f"http://127.0.0.1:{self._server.server_port}"
        return {"SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": address}

    def startup_report(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        return 200, {}, {}

    def schedule(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        self.asked.append(query)
        self.answers.wait()
        if self.status != 200:
            return self.status, {}, {}
        if self.quota is not None and float(query["durationSeconds"]) > self.quota:
            return 429, {"left": int(self.quota), "wait": self.wait}, {"X-Approve-Result": "quota-exceeded"}
        token = f"slot-{len(self.asked)}"
        self._since[token] = time.monotonic()
        return 200, {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": token}, {}

    def allow(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        self.workers.append(int(query["pid"]))
        return 200, {}, {}

    def release(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        self.released.append(query["fail"] == "true")
        since = self._since.pop(query["allowToken"], None)
        if since is None:
            return 404, {}, {}
        if self.quota is not None:
            self.quota -= time.monotonic() - since
        return 200, {}, {}


def no_fork(*args: Any) -> bool:
    """In the place of torch.cuda._is_in_bad_fork, which spaces asks in another process: so it must have a name."""
    return False


def stand_in() -> None:
    """Prepare torch, then import spaces. Before anything else imports either."""
    import torch

    if torch.version.cuda is None:
        torch.version.cuda = "12.8"
        torch.cuda._is_in_bad_fork = no_fork
        if not hasattr(torch._C, "_cuda_init"):
            torch._C._cuda_init = lambda: None
    import spaces.zero.torch as hands_over

    hands_over.init = lambda uuid: os.environ.update(CUDA_VISIBLE_DEVICES=uuid)
    hands_over.move = lambda callback=None: None
    keep_pace()


def short_slots(longest: float = 10) -> None:
    """Slots of 3 to 10 seconds, so that a test sees several."""
    from pipeline import slots

    slots.LONGEST, slots.SHORTEST, slots.SPARE = int(longest), 3, 1.0


# -------------------------------------------------------------------------------------------------------------- a Space


class Space:
    """A server's process on a ZeroGPU Space. `do(name, ...)` calls one of the functions below in it."""

    def __init__(self, api: DeviceAPI, log: Path):
        environment = {**os.environ, **api.environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.zero_gpu"], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, start_new_session=True,
            )  # fmt: skip
        self.log, self._asked = log, 0

    def do(self, name: str, *args: Any) -> Any:
        self._asked += 1
        self.process.stdin.write(json.dumps([self._asked, name, *map(str, args)]).encode() + b"\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            number, answer = json.loads(line)
            if number == self._asked:  # not that of a test that ran out of time
                return answer
        raise AssertionError(self.log.read_text("utf-8", "replace")[-3000:])

    def until(self, name: str, *args: Any, says: Any) -> None:
        end = time.monotonic() + LIMIT
        while (found := self.do(name, *args)) != says:
            assert time.monotonic() < end, f"{name} still says {found}, not {says}"
            time.sleep(0.05)

    def close(self) -> None:
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):  # and the workers that spaces forked
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def main() -> None:
    """The Space's side: a line of JSON in, a line out."""
    out, lines = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    os.dup2(2, 1)  # spaces prints
    sys.stdin = open(os.devnull)  # a forked process closes its own, and would wait for ever for one that is being read here
    stand_in()
    short_slots()
    _count_what_is_left_behind()
    for line in lines:
        number, name, *args = json.loads(line)
        out.write(json.dumps([number, DO[name](*args)]) + "\n")
        out.flush()


def _count_what_is_left_behind() -> None:
    """Before a slot trains, the tensors and rows that its worker still has from those before are listed in the run's folder.

    It waits for the slot's first word to be heard, where the run's folder says so.
    """
    import gc

    import torch
    from datasets import Dataset
    from transformers import Trainer

    from pipeline import train
    from pipeline.examples import Example, ToolDataset
    from pipeline.packing import Pack, TokenizedExample

    private = (Example, ToolDataset, TokenizedExample, Pack, Dataset, Trainer)

    plain = train.train

    def counting(run: Any, **options: Any) -> Any:
        end = time.monotonic() + LIMIT / 4
        while (run.path / "unheard").exists() and time.monotonic() < end:
            time.sleep(0.02)
        gc.collect()
        objects = gc.get_objects()
        kept = [list(one.shape) for one in objects if issubclass(type(one), torch.Tensor) and one.numel() > 1]
        kept += [type(one).__name__ for one in objects if issubclass(type(one), private)]
        (run.path / "kept.json").write_text(json.dumps(kept))
        return plain(run, **options)

    train.train = counting


def slot(folder: str, seconds: str) -> Any:
    """Everything that a slot said, and whether its first word was heard before it began to train."""
    from pipeline.ui import zerogpu

    zerogpu.warm()
    unheard, said, at_once = Path(folder) / "unheard", [], None
    if unheard.parent.is_dir():
        unheard.touch()
    for word in zerogpu.train_slot(folder, int(seconds)):
        if at_once is None:
            at_once = not (unheard.parent / "kept.json").exists()
            unheard.unlink(missing_ok=True)
        said.append(word)
    return {"at once": at_once, "said": said}


def where() -> Any:
    """What the server's process and a child of it would compute on, and what torch says of CUDA in the server."""
    import torch

    from pipeline import model

    program = "from pipeline import model; print(model.choose_device())"
    child = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    return [model.choose_device(), child.stdout.strip(), torch.cuda.is_available()]


def compute() -> Any:
    """Something on all of the server's threads, as the playground does: a fork must not wait for threads that it does not have."""
    import torch

    torch.set_num_threads(2)
    return float((torch.ones(600, 600) @ torch.ones(600, 600)).sum())


def answers(folder: str) -> Any:
    """What a model answers in the server itself, asked in its first thread, where CUDA is imitated, and in another, as handlers are."""
    from concurrent.futures import ThreadPoolExecutor

    from pipeline import model

    def ask() -> list[int]:
        return model.generate(model.load(folder), ["<bos><start_of_turn>user\nmake it red"], max_new_tokens=12)[0].token_ids

    with ThreadPoolExecutor(1) as pool:
        return [ask(), pool.submit(ask).result()]


def begin(folder: str, session: str, work: str) -> Any:
    return _asking("begin", folder, session, work)


def keep_on(folder: str, session: str, work: str) -> Any:
    return _asking("keep_on", folder, session, work)


def _asking(what: str, folder: str, session: str, work: str) -> Any:
    from pipeline.errors import PipelineError
    from pipeline.runs import Run
    from pipeline.slots import Need
    from pipeline.ui import gpu_runs

    try:
        getattr(gpu_runs, what)(Run(folder), session, Need(0.1, float(work)), ("train tiny", 40.0), Path(folder).parent)
    except PipelineError as error:
        return str(error)
    return None


def phase(folder: str) -> Any:
    from pipeline.runs import Run
    from pipeline.ui import gpu_runs

    return gpu_runs.phase(Run(folder))


def record(folder: str) -> Any:
    from dataclasses import asdict

    from pipeline.runs import Run
    from pipeline.ui import gpu_runs

    return asdict(gpu_runs.record(Run(folder)))


def stop(folder: str, now: str) -> Any:
    from pipeline.runs import Run
    from pipeline.ui import gpu_runs

    gpu_runs.stop(Run(folder), now == "True")


def slots_of(seconds: str) -> None:
    short_slots(float(seconds))


DO = {one.__name__: one for one in (slots_of, slot, where, compute, answers, begin, keep_on, phase, record, stop)}

if __name__ == "__main__":
    main()
