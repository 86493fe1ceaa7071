"""Work in a process of its own, so that its peak memory is its own, reported line by line while it is under way.

    parent    for line in child(__file__, {...}): ...     every line is one JSON object
    child     say(step=3, seconds=1.2)

Peak memory is the resident set's high-water mark, which Linux lets a process reset (proc(5), clear_refs); elsewhere it is the largest
of the process's whole life. On a GPU it is the allocator's.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GIB = 2**30


def child(script: str, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run `script --child JOB` and yield what it says. Raises RuntimeError with the end of its stderr if it fails."""
    with tempfile.TemporaryFile() as chatter:
        process = subprocess.Popen(
            [sys.executable, script, "--child", json.dumps(job)], stdout=subprocess.PIPE, stderr=chatter, text=True, encoding="utf-8"
        )
        try:
            for line in process.stdout:
                if line.startswith('{"'):
                    yield json.loads(line)
            if process.wait():
                chatter.seek(0)
                end = chatter.read().decode("utf-8", "replace")[-4000:]
                raise RuntimeError(f"{Path(script).name} --child {json.dumps(job)} ended with {process.returncode}:\n{end}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def wait_for(device: str) -> None:
    """Let the device finish what it was given, so that the clock tells its time."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def reset_peak(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: str) -> int:
    """Bytes."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Progress:
    """Lines on stderr with the time since the start."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def __call__(self, text: str) -> None:
        print(f"{self.elapsed:6.0f} s  {text}", file=sys.stderr, flush=True)


def save(path: Path | None, found: dict[str, Any]) -> None:
    """Write what has been found so far; a benchmark that is stopped keeps it."""
    if path is not None:
        beside = path.with_name(path.name + ".partial")
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)


def machine(device: str, dtype: str) -> dict[str, Any]:
    """What the figures were measured on, with the speed of one matrix product and of copying: what bounds any of them."""
    import torch

    def best(work: Any, times: int = 5) -> float:
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            wait_for(device)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    rows, width, wide = 2360, 640, 2048  # the tokens of a pack of 32 behind 600, through a feed-forward layer of the 270M model
    a = torch.ones(rows, width, dtype=getattr(torch, dtype), device=device)
    b = torch.ones(width, wide, dtype=a.dtype, device=device)
    source = torch.ones(2**26, device=device)  # 256 MiB: beyond any cache
    target = torch.empty_like(source)
    return {
        "platform": platform.platform(), "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(), "cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__,
        "dtype": dtype, "gemm_tflops": 2 * rows * width * wide / best(lambda: a @ b, 20) / 1e12,
        "copy_gb_per_second": 2 * source.nbytes / best(lambda: target.copy_(source)) / 1e9,
    }  # fmt: skip
