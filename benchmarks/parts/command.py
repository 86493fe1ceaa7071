"""The command line that the benchmarks of the 270M shape share, and the beginning of their processes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parts import shape


def parser(description: str, quick: str) -> argparse.ArgumentParser:
    """Flags that every such benchmark has; `quick` says what --quick leaves out."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, as they come")
    made.add_argument("--shape", choices=tuple(shape.SHAPES), default="270m", help=argparse.SUPPRESS)
    made.add_argument("--child", help=argparse.SUPPRESS)
    return made


def given(made: argparse.ArgumentParser, child: Callable[[dict[str, Any]], None]) -> argparse.Namespace | None:
    """What was asked for; None in a child process (`measure.child`), whose job has then been done by `child`."""
    options = made.parse_args()
    if options.child:
        child(json.loads(options.child))
        return None
    import torch

    from pipeline import model as models

    models.quiet()
    torch.set_num_threads(models.cpu_threads())
    return options
