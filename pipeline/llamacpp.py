"""A .gguf in llama.cpp, where that is installed: as the Python package llama-cpp-python, or as its program llama-server.

Nothing needs it: it is a second, independent reader of the file. Reads with its own tokenizer, so prompts go in as text; answers are
greedy. Runs in a child process (`python -m pipeline.llamacpp`). Knows nothing of tools or scores.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.errors import ExportError
from pipeline.functiongemma import BOS, STOP_TOKENS

PACKAGE, PROGRAM = "llama_cpp", "llama-server"
START = 120.0
"""Seconds after which a llama-server that does not answer is given up."""
ANSWER = 600.0
"""The same for one answer of it."""


def installed() -> str | None:
    """What there is of llama.cpp here, with its version; None if there is nothing."""
    if importlib.util.find_spec(PACKAGE):
        return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"
    if program := shutil.which(PROGRAM):
        try:
            told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, env=child.environment())
        except (OSError, subprocess.TimeoutExpired):  # what it can do is found out by asking it
            return PROGRAM
        version = next((line for line in (told.stdout + told.stderr).splitlines() if line.startswith("version")), "")
        return f"{PROGRAM} {version.removeprefix('version:').strip()}".strip()
    return None


def answers(path: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress | None = None) -> list[str]:
    """The greedy answers of the .gguf at `path` to `prompts` (which begin with <bos>), without their stops. Raises PipelineError."""
    job = {"path": str(path.resolve()), "prompts": list(prompts), "max_new_tokens": max_new_tokens}
    return child.run("pipeline.llamacpp", job, progress, f"Running {path.name} in llama.cpp")["answers"]


def timed(path: Path, prompt: str, new_tokens: int) -> tuple[int, int, float, float]:
    """Tokens read and written for one prompt, and the seconds of each, in this process. Raises ExportError."""
    if importlib.util.find_spec(PACKAGE):
        with _model(path, [prompt], new_tokens) as model:
            ids = model.tokenize(prompt.encode(), add_bos=False, special=True)
            for tokens, count in ((ids[:32], 2), (ids, new_tokens)):
                model.reset()
                began = first = time.perf_counter()
                for written, _ in enumerate(model.generate(tokens, top_k=1, temp=0.0, reset=False)):
                    if not written:
                        first = time.perf_counter()
                    if written == count:
                        break
            return len(ids), new_tokens, first - began, time.perf_counter() - first
    with _server(path, [prompt], new_tokens) as ask:
        ask(prompt[:100], 2)
        told = ask(prompt, new_tokens)["timings"]
    return told["prompt_n"], told["predicted_n"], told["prompt_ms"] / 1000, told["predicted_ms"] / 1000


# In the Python package


@contextmanager
def _model(path: Path, prompts: Sequence[str], max_new_tokens: int) -> Iterator[Any]:
    import llama_cpp

    from pipeline.model import cpu_threads

    try:
        threads = cpu_threads()
        room = _room(prompts, max_new_tokens)
        model = llama_cpp.Llama(str(path), n_ctx=room, n_threads=threads, n_threads_batch=threads, verbose=False)
    except (ValueError, RuntimeError, OSError) as error:
        raise ExportError(f"llama.cpp cannot open {path.name} ({error}).") from error
    try:
        yield model
    finally:
        model.close()


def _in_package(path: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress) -> list[str]:
    texts = []
    with _model(path, prompts, max_new_tokens) as model:
        stops = {model.tokenize(token.encode(), add_bos=False, special=True)[0] for token in STOP_TOKENS}
        for number, prompt in enumerate(prompts, 1):
            made: list[int] = []
            # What a prompt shares with the one before is not read again: that is the package's own doing.
            for token in model.generate(model.tokenize(prompt.encode(), add_bos=False, special=True), top_k=1, temp=0.0):
                if token in stops:
                    break
                made.append(token)
                if len(made) == max_new_tokens:
                    break
            texts.append(model.detokenize(made, special=True).decode("utf-8", "replace"))
            progress(number / len(prompts), f"{number} of {len(prompts)} answers")
    return texts


# In the program: the server's POST /completion takes raw prompts (tools/server/README.md of llama.cpp)


@contextmanager
def _server(path: Path, prompts: Sequence[str], max_new_tokens: int) -> Iterator[Any]:
    from pipeline.model import cpu_threads

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [
        shutil.which(PROGRAM), "--model", str(path), "--host", "127.0.0.1", "--port", str(port), "--threads", str(cpu_threads()),
        "--ctx-size", str(_room(prompts, max_new_tokens)), "--parallel", "1", "--special",
    ]  # fmt: skip

    key = secrets.token_hex(16)  # so that no other server answers in its place, should it get the same port

    def ask(prompt: str, tokens: int) -> dict[str, Any]:
        wanted = {"prompt": prompt.removeprefix(BOS), "n_predict": tokens, "temperature": 0, "top_k": 1, "seed": 0}  # it writes <bos>
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(wanted).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            raise ExportError(f"{PROGRAM} does not answer ({error}).") from error

    with tempfile.TemporaryFile() as said:
        environment = child.environment(LLAMA_API_KEY=key)
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_for(process, port, path, said)
            yield ask
        finally:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen, port: int, path: Path, said: Any) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:  # not yet: it refuses, or answers 503 while it loads
            time.sleep(0.1)
    said.seek(0)
    last = (said.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
    raise ExportError(f"{PROGRAM} cannot open {path.name} ({last[:300]}).")


def _in_program(path: Path, prompts: Sequence[str], max_new_tokens: int, progress: child.Progress) -> list[str]:
    from pipeline.runtimes import without_stop

    texts = []
    with _server(path, prompts, max_new_tokens) as ask:
        for number, prompt in enumerate(prompts, 1):
            texts.append(without_stop(ask(prompt, max_new_tokens)["content"]))
            progress(number / len(prompts), f"{number} of {len(prompts)} answers")
    return texts


def _room(prompts: Sequence[str], max_new_tokens: int) -> int:
    """Tokens that are surely enough: none is shorter than a byte."""
    return max(len(prompt.encode()) for prompt in prompts) + max_new_tokens


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"path", "prompts", "max_new_tokens"} -> {"answers"}."""
    run = _in_package if importlib.util.find_spec(PACKAGE) else _in_program
    return {"answers": run(Path(job["path"]), job["prompts"], job["max_new_tokens"], progress)}


if __name__ == "__main__":
    child.serve(work)
