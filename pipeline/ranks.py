"""Which of several processes of one training this is: `accelerate launch` starts one a GPU and tells each by its environment.

Every process computes; the leader alone writes to the run folder and decides when to stop, and the others hear it: processes that
disagreed would wait for each other for ever. With one process everything here does nothing. Knows no run.
"""

from __future__ import annotations

import os


def leads() -> bool:
    """Whether this process writes: the only one, or the first of several. RANK is torchrun's name, which accelerate launches with."""
    return os.environ.get("RANK", "0") == "0"


def agreed(wish: bool) -> bool:
    """The leader's `wish`, in every process. All of them must ask at the same place."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return wish
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor([int(wish)], device=device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())


def together() -> None:
    """Wait until every process has come here."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
