"""What the benchmarks share: the 270M shape with random weights, child processes that are measured, and a count of the work.

A benchmark is started as a file, so Python looks for modules beside it only; importing this package lets it find `pipeline` too.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
