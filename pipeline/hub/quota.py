"""What a visitor has left of their GPU time on ZeroGPU today, as the Hub says it. Knows nothing of what it will be spent on."""

from __future__ import annotations

from pipeline import hub
from pipeline.slots import DAILY, Left


def left(token: str | None) -> Left:
    """GPU-seconds of the owner of `token`; of a stranger only what a stranger may use a day.

    Needs a token that may read billing (OAuth scope read-billing). Raises HubError.
    """
    if token is None:
        return Left(None, daily=DAILY["nobody"])
    with hub.sentences("Asking the Hub how much GPU time you have left"):
        found = hub.client(token).get_zero_gpu_quota()
    return Left(float(found.remaining), found.resets_at.timestamp() if found.resets_at else None, float(found.base))
