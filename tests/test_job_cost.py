"""What a Job will cost: prices as the Hub has them, an estimate counted from the training's arithmetic, and the timeout that bounds it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import HfApi

from pipeline.config import TrainConfig
from pipeline.hub import job_cost
from pipeline.train import prepare
from tests.local_hub_jobs import jobs_of
from tests.tuned_world import small_dataset

STEPS = 14


def test_prices_come_from_the_hub_whatever_period_they_are_for(hub):
    jobs_of(hub)
    token = hub.user("alice", can_pay=True)
    small = job_cost.flavor(token, "t4-small")
    assert small.price == pytest.approx(0.40, abs=0.001) and small.sentence() == "Nvidia T4 - small, 16 GB: $0.40 an hour"
    info = HfApi(endpoint=hub.url, token=token).list_jobs_hardware()[1]
    info.unit_label = "hour"
    assert job_cost._flavor(info).price == info.unit_cost_usd
    info.unit_label = "fortnight"
    assert job_cost._flavor(info) is None


def test_an_estimate_is_bounded_by_a_timeout_that_is_said(tmp_path):
    run = prepare(small_dataset(), TrainConfig(max_steps=STEPS, per_device_train_batch_size=2), tmp_path / "run")
    t4, fast = job_cost.Flavor("t4", "T4", 0.4, 1, "T4", "", 4), job_cost.Flavor("h200", "H200", 5.0, 1, "H200", "", 8)
    work = job_cost.work_of(run)
    assert work.steps == STEPS and work.operations > 1e9
    counted = job_cost.planned(small_dataset(), run.config, embedded=True)
    assert counted == work
    real = job_cost.planned(small_dataset(), run.config, embedded=False)
    assert real.operations > 5 * work.operations
    large = replace(real, operations=1e15)
    assert large.seconds(fast) < large.seconds(t4)
    found = job_cost.estimate(work, t4)
    assert found.timeout == 1800 and found.most == pytest.approx(0.2) and found.cost < found.most
    assert "at most $0.20" in found.sentence() and "not measured" in found.sentence()
    own = job_cost.estimate(work, t4, seconds=3600, timeout=7200)
    assert (own.seconds, own.cost, own.timeout) == (3600, pytest.approx(0.4), 7200)
