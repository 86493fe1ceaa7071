"""`python app.py` as on a ZeroGPU Space, with the GPU that tests/zero_gpu.py imitates: slots of 10 seconds, training on the CPU."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from tests import zero_gpu

    zero_gpu.stand_in()
    zero_gpu.short_slots()
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
