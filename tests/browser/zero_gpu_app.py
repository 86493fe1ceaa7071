"""`python app.py` as on a ZeroGPU Space, with the GPU that tests/zero_gpu.py imitates: slots of 10 seconds, training on the CPU.

Its slots and the jobs that it starts keep the pace that a test sets.
"""

from __future__ import annotations

import functools
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from tests import zero_gpu

    zero_gpu.stand_in()
    zero_gpu.short_slots()
    from pipeline.ui import jobs

    jobs.Line = functools.partial(jobs.Line, command=(sys.executable, "-m", "tests.pace"))
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
