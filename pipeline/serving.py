"""A model in a process of its own that answers one prompt after the other: an exported file, or a checkpoint that is not ours.

A native library that crashes on a file, a tokenizer that never ends or weights that want all memory take nothing along: the process is
ended, and whoever asked gets a sentence. It holds no token of the Hub and dies with its parent. Prompts are texts that already hold
their control tokens. Waiting in line and keeping few of them is for whoever asks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.child import PROJECT, environment, scratch
from pipeline.engine import Engine, Written
from pipeline.errors import ExportError, ModelError, PipelineError

log = logging.getLogger(__name__)

OPENING, ANSWERING = 180.0, 120.0
"""Seconds that opening a model and one answer may take on a slow, busy machine; more is taken for a file that does not end."""
MEMORY = 8 * 2**30
"""Bytes of memory of its own that the process may have: eight times what FunctionGemma 270M needs in float32."""


class Served:
    """The model at `path`, a .litertlm or the folder of a checkpoint. Raises ModelError if it cannot be opened."""

    def __init__(self, path: str | Path, opening: float = OPENING):
        self.path = Path(path)
        self._log, self._folder = tempfile.TemporaryFile(), scratch()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serving"], cwd=PROJECT, env=environment(HF_HUB_OFFLINE="1", TMPDIR=self._folder.name),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._asking = threading.Lock()
        try:
            self._ask({"path": str(self.path.resolve())}, opening, "opened")
        except PipelineError:
            self._end()
            raise

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._child.poll() is None

    def answer(self, prompt: str, max_new_tokens: int = 128, within: float = ANSWERING) -> Written:
        """The greedy answer to a prompt that begins with <bos>. Raises PipelineError; after a crash or `within` seconds it is closed."""
        with self._asking:
            return Written(**self._ask({"prompt": prompt, "max_new_tokens": max_new_tokens}, within, "asked"))

    def close(self) -> None:
        """Ends the process when the answer that it is making is there; memory comes back."""
        with self._asking:
            self._end()

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()
        self._reader.join(timeout=5)
        with contextlib.suppress(OSError):  # what it never read
            self._child.stdin.close()
        self._child.stdout.close()
        self._log.close()
        self._folder.cleanup()

    def _ask(self, job: dict[str, Any], within: float, done: str) -> dict[str, Any]:
        try:
            self._child.stdin.write(json.dumps(job).encode() + b"\n")
            self._child.stdin.flush()
            line = self._lines.get(timeout=within)
        except queue.Empty:
            self._end()
            raise ModelError(
                f"{self.path.name} took more than {within:.0f} s to be {done}, and was stopped; it is damaged, or this machine is busy."
            ) from None
        except (OSError, ValueError):  # it has ended, or was closed
            line = None
        if line is None:
            raise ModelError(self._ended())
        said = json.loads(line)
        if "error" in said:
            raise PipelineError(said["error"])
        return said

    def _ended(self) -> str:
        """Why it is not there any more, in words; what it said last goes to the log."""
        if not self._log.closed:
            self._child.wait()
            self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4_000))
            said = self._log.read().decode("utf-8", "replace")
            log.error("the process of %s ended with %s: %s", self.path.name, self._child.returncode, said)
            self._end()
        return f"The process that ran {self.path.name} has ended: it is damaged, or memory ran out. Send the request again to start it."

    def _read(self) -> None:
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)


def written(loaded: Any, prompt: str, max_new_tokens: int) -> Written:
    """The greedy answer of a `model.Loaded` to one prompt, with its times. Raises ModelError for a prompt that does not fit."""
    from pipeline import model

    first: list[float] = []

    def told(index: int, token: int) -> None:
        if not first:
            first.append(time.perf_counter() - start)

    start = time.perf_counter()
    [made] = model.generate(loaded, [prompt], max_new_tokens=max_new_tokens, on_token=told)
    seconds = time.perf_counter() - start
    return Written(made.text, len(made.token_ids), seconds, first[0] if first else seconds, made.stopped)


# -- the child's side


def _opened(path: Path) -> Callable[[str, int], Written]:
    if path.suffix == ".litertlm":
        from pipeline.export.inspect import inspect
        from pipeline.model import cpu_threads

        found = inspect(path)
        context = (found["model"] or {}).get("cache_length")
        if not context:
            raise ExportError(f"{path.name} holds no model that LiteRT-LM can run: {(found['problems'] or ['it names no cache'])[0]}")
        return Engine(path, context, cpu_threads()).answer
    from pipeline import model

    ready = model.load(path, device="cpu")
    return lambda prompt, max_new_tokens: written(ready, prompt, max_new_tokens)


def _limit() -> None:
    """No more memory of its own than MEMORY, so that a model of another size than it says ends this process and no other."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))


def _serve() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print what they like: none of it may end up among our lines
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            jobs.put(line)
        os.kill(os.getpid(), signal.SIGKILL)  # the parent is gone; a native call that does not end would not notice

    threading.Thread(target=listen, daemon=True).start()
    _limit()

    def say(event: dict[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    try:
        answer = _opened(Path(json.loads(jobs.get())["path"]))
    except PipelineError as error:
        return say({"error": str(error)})
    except MemoryError:
        return say({"error": "The model wants more memory than a model of this kind needs, and was not opened."})
    say({})
    while True:
        job = json.loads(jobs.get())
        try:
            say(asdict(answer(job["prompt"], job["max_new_tokens"])))
        except PipelineError as error:
            say({"error": str(error)})


if __name__ == "__main__":
    _serve()
