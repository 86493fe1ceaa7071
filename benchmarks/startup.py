"""How long until the first page answers: the app against an empty Gradio app, and as a Space that has just been built; started in turn.

    .venv/bin/python benchmarks/startup.py [--times 5] [--json FILE]

Each start is a process of its own with a workspace of its own; a time is from its start to the last byte of its first page, and the
table gives medians. The Space has sign-in and no compiled bytecode, as after an install. It does not know what a page does after that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "import gradio as gr\nwith gr.Blocks() as demo:\n    pass\ndemo.launch()\n"
COLD = "app.py, a cold Space"
SPACE = {
    "SYSTEM": "spaces", "SPACE_ID": "someone/studio", "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret", "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}  # fmt: skip
"""What a Space with sign-in finds in its environment; nobody signs in here."""
GIVE_UP = 180.0
"""Seconds after which a start counts as failed."""


def seconds_to_first_page(program: list[str], workspace: Path, more: Mapping[str, str] = MappingProxyType({})) -> float:
    """Start `program` with `more` in its environment, ask for / until it answers, end it.

    Raises RuntimeError with the program's output if it never does.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1", "STUDIO_WORKSPACE": str(workspace), **more,
    }  # fmt: skip
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(program, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None and time.perf_counter() - began < GIVE_UP:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=GIVE_UP) as answer:
                        answer.read()
                    return time.perf_counter() - began
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.01)
            output.seek(0)
            raise RuntimeError(f"no first page from {' '.join(program)}:\n{output.read().decode('utf-8', 'replace')[-3000:]}")
        finally:
            process.kill()
            process.wait()


def measure(times: int) -> dict:
    """`times` starts of each side in turn, after one of each that is not counted: it fills the disk's cache."""
    seconds: dict[str, list[float]] = {"empty Gradio app": [], "app.py": [], COLD: []}
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY, encoding="utf-8")
        app = [sys.executable, "app.py"]
        programs = {"empty Gradio app": [sys.executable, str(empty)], "app.py": app, COLD: app}
        for turn in range(times + 1):
            for side, program in programs.items():
                more = {**SPACE, "PYTHONPYCACHEPREFIX": tempfile.mkdtemp(dir=folder)} if side == COLD else {}
                taken = seconds_to_first_page(program, Path(folder) / f"workspace-{turn}", more)
                if turn:
                    seconds[side].append(round(taken, 3))
    medians = {side: statistics.median(taken) for side, taken in seconds.items()}
    return {
        "what": "seconds from process start to the first page", "times": times, "seconds": seconds, "median": medians,
        "difference": round(medians["app.py"] - medians["empty Gradio app"], 3),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds to the first page: app.py against an empty Gradio app.")
    parser.add_argument("--times", type=int, default=5, help="starts of each side (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    args = parser.parse_args()
    if args.times < 1:
        parser.error("--times must be at least 1")
    found = measure(args.times)
    print(f"{'':22}{'median':>9}{'fastest':>9}{'slowest':>9}   seconds, {args.times} starts each")
    for side, taken in found["seconds"].items():
        print(f"{side:22}{statistics.median(taken):9.2f}{min(taken):9.2f}{max(taken):9.2f}")
    print(f"{'difference':22}{found['difference']:9.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
