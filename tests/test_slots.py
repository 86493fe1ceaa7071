"""The plan of a training in ZeroGPU slots: what is counted, what is left, what spaces says when there is nothing left."""

from __future__ import annotations

import pytest

from pipeline.config import TrainConfig, resolve
from pipeline.slots import (
    DAILY,
    FACTOR,
    LONGEST,
    SHORTEST,
    SPARE,
    Need,
    ask_for,
    budget,
    counted,
    measured,
    plan,
    refusal,
)  # fmt: skip

GEMMA = resolve(TrainConfig(), False, 32_768)
CELLS = "title, message, kind, wait, left"
SAID = [  # in the words of spaces 0.51.3, zero/client.py
    ("ZeroGPU quota exceeded", "You have exceeded your free ZeroGPU quota (180s requested vs. 12s left). Try again in 3:20:05. ", "quota", 12_005, 12),
    ("ZeroGPU quota exceeded", "You have exceeded your Pro ZeroGPU quota (90s requested vs. 0s left). Try again in 1 day, 0:00:09. ", "quota", 86_409, 0),
    ("ZeroGPU quota exceeded", "You have exceeded your ZeroGPU runs limit. ", "quota", None, None),
    ("ZeroGPU quota exceeded", "Space app has reached its GPU limit. Try re-running outside of examples if it happened after clicking one",
     "anonymous", None, None),
    ("ZeroGPU quota exceeded", "No GPU was available after 60s. Try re-running outside of examples", "none", None, None),
    ("ZeroGPU queue timeout", "No GPU was available after 60s Subscribe to Pro to get the highest priority in ZeroGPU queues.", "none", None, None),
    ("ZeroGPU client error", "No GPU was available", "none", None, None),
    ("ZeroGPU client error", "Expired ZeroGPU proxy token", "expired", None, None),
    ("ZeroGPU pending credits exceeded", "You have too many ZeroGPU credits allocated to running tasks.", "busy", None, None),
    ("ZeroGPU illegal duration", "The requested GPU duration (180s) is larger than the maximum allowed", "short", None, None),
    ("ZeroGPU worker error", "GPU task aborted", "ended", None, None),
    ("ZeroGPU worker error", "OutOfMemoryError", "failed", None, None),
]  # fmt: skip


@pytest.mark.parametrize(CELLS, SAID)
def test_a_refusal_is_read(title, message, kind, wait, left):
    found = refusal(title, message, now=1000.0)
    assert (found.kind, found.left) == (kind, left)
    assert found.again_at == (None if wait is None else 1000.0 + wait)
    assert found.sentence.endswith(".") and "Traceback" not in found.sentence


def test_a_slot_is_never_longer_than_the_longest_nor_than_what_is_left():
    for work in (0, 1, 20, 70, 300, 5000):
        for left in (None, 0, 20, 44, 45, 100, 179, 10_000):
            seconds = ask_for(Need(10, work), left)
            if seconds is None:
                assert left is not None and left / FACTOR < SHORTEST
            else:
                assert SHORTEST <= seconds <= LONGEST
                assert left is None or seconds * FACTOR <= left


def test_a_plan_does_all_of_the_work_in_slots_that_hold_it():
    for work in (1, 20, 104, 105, 400, 5000):
        made = plan(Need(8, work))
        assert made.covered == 1.0
        assert made.seconds == pytest.approx(work + 8 * made.slots)
        assert made.slots == max(1, -(-work // (LONGEST - SPARE - 8)))


def test_a_plan_says_how_far_what_is_left_reaches():
    need = Need(8, 400)
    assert plan(need, DAILY["pro"]) == plan(need)
    some = plan(need, DAILY["free"])
    assert 0 < some.covered < 1 and some.seconds <= DAILY["free"]
    nothing = plan(need, 20)
    assert (nothing.seconds, nothing.slots, nothing.covered) == (0, 0, 0)


def test_the_count_grows_with_the_work():
    gemma = {"operations": 2.7e12, "layers": 18, "weights": 268_000_000, "config": GEMMA}  # 32 rows of 655 tokens that share 600
    short = counted(**gemma, steps=27)
    assert plan(short).slots == 1, "FunctionGemma on 300 rows fits one slot"
    assert counted(**gemma, steps=54).work > short.work
    assert counted(**{**gemma, "operations": 9e12}, steps=27).work > short.work
    assert counted(1e9, 6, 4_800_000, resolve(TrainConfig(), True, 4096), 135).each < short.each
    assert counted(**{**gemma, "config": resolve(TrainConfig(method="lora"), False, 4096)}, steps=27).each < short.each, "adapters are small"


def test_what_was_measured_replaces_the_count():
    need = measured(30.0, 60, 120)
    assert need.work == 60.0


def test_training_leaves_the_end_of_a_slot_alone():
    assert budget(60, 4.0) == 60 - SPARE - 4.0
    assert budget(5, 4.0) > 0
