"""Work for tests/test_child.py to do in a child process: `python -m tests.child_work`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from typing import Any

from pipeline import child
from pipeline.errors import ExportError


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    kind = job["kind"]
    print("a library that talks on stdout")
    if kind == "double":
        progress(0.5, "halfway")
        return {"number": 2 * job["number"], "tokens": [os.environ.get(name) for name in ("HF_TOKEN", "OAUTH_CLIENT_SECRET")]}
    if kind == "refuse":
        raise ExportError("This cannot be done.")
    if kind == "defect":
        raise ZeroDivisionError("nobody expected this")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "leave":
        sys.exit(0)
    tempfile.mkdtemp()
    open(job["pid_file"], "w").write(str(os.getpid()))
    while True:
        time.sleep(0.05)


if __name__ == "__main__":
    child.serve(work)
