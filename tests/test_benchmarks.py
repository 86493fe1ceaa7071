"""The benchmarks run to their end and say what they promise; on a small shape, so that their figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipeline.model import EMBEDDED

pytestmark = pytest.mark.skipif(not (EMBEDDED / "config.json").is_file(), reason="the benchmarks use the embedded base's tokenizer")


def run(root, script, folder, *words) -> tuple[str, dict]:
    out = folder / "found.json"
    command = [sys.executable, str(root / "benchmarks" / script), "--shape", "small", "--json", str(out), *words]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout, json.loads(out.read_text("utf-8"))


@pytest.mark.slow
def test_training_speed(root, tmp_path):
    words = ("--quick", "--rounds", "1", "--prefixes", "20", "40", "--device", "cpu", "--dtype", "bfloat16")
    printed, found = run(root, "train_speed.py", tmp_path, *words)
    assert set(found["sides"]) == {"ours", "strongest", "cookbook"}
    assert set(found["configuration"]) == set(found["sides"])
    for key in ("ratio_cookbook", "ratio_strongest", "cpu_ratio_cookbook", "memory_ratio_strongest"):
        assert set(found[key]) == {"20", "40"} and min(found[key].values()) > 0
    for side in found["sides"].values():
        assert all(figures["examples_per_second"] > 0 and figures["peak_bytes"] > 2**20 for figures in side.values())
    # The layers' share of the work: 32 whole rows against one prefix and 32 suffixes, and the forward pass twice with checkpointing.
    work = {name: counts["40"]["layers"] for name, counts in found["work"].items()}
    assert work["cookbook"] / work["ours"] == pytest.approx(4 / 3 * 32 * (40 + 55) / (40 + 32 * 55))
    assert "strongest" in printed and "What bounds a step" in printed


@pytest.mark.slow
def test_generation_speed(root, tmp_path):
    words = ("--quick", "--rounds", "1", "--requests", "6", "--device", "cpu", "--dtypes", "float32")
    printed, found = run(root, "generate_speed.py", tmp_path, *words)
    assert found["identical"] is True and found["different_tokens"] > 10
    assert set(found["sides"]["float32"]) == {"ours", "plain"} and found["ratio"]["float32"] > 0
    assert "float32, ours in batches of 6: 6 of 6" in printed


@pytest.mark.slow
def test_a_whole_fine_tune(root, tmp_path):
    printed, found = run(root, "finetune_270m.py", tmp_path, "--quick", "--data", str(tmp_path / "none"))
    assert len(found["steps"]) == found["total_steps"] and found["peak_bytes"] > 2**20
    assert found["tokens"]["rows_that_share_it"] == found["tokens"]["rows"]
    assert "at GEMM speed" in printed
