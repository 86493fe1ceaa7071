"""The benchmarks run to their end and say what they promise; on a small shape, so that their figures mean nothing.

Here the sides run in this process one after another; that they have one each is for memory, and tested apart.
"""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from pipeline.model import EMBEDDED

needs_tokenizer = pytest.mark.skipif(not (EMBEDDED / "config.json").is_file(), reason="the embedded base's tokenizer is used")


@pytest.fixture
def measure(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("parts.measure")


@pytest.fixture
def run(measure, monkeypatch, tmp_path, capsys):
    """Run a benchmark by its file's name; returns what it printed and what it wrote."""
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_use_triton", utils._use_triton)  # changed by one side, put back at the end
    said = []
    monkeypatch.setattr(measure, "say", lambda **facts: said.append(facts))

    def benchmark(name, *words):
        module, out = importlib.import_module(name), tmp_path / "found.json"

        def child(script, job):
            said.clear()
            module.child(json.loads(json.dumps(job)))
            return json.loads(json.dumps(said))

        monkeypatch.setattr(measure, "child", child)
        monkeypatch.setattr(sys, "argv", [name, "--shape", "small", "--json", str(out), *words])
        module.main()
        return capsys.readouterr().out, json.loads(out.read_text("utf-8"))

    return benchmark


@needs_tokenizer
def test_training_speed(run):
    words = ("--quick", "--rounds", "1", "--prefixes", "20", "40", "--device", "cpu", "--dtype", "bfloat16")
    printed, found = run("train_speed", *words, "--sides", "ours", "ours_uncheckpointed", "strongest", "cookbook", "cookbook_float32")
    assert set(found["configuration"]) == set(found["sides"]) and len(found["sides"]) == 5
    for key in ("ratio_cookbook", "ratio_strongest", "cpu_ratio_cookbook", "memory_ratio_strongest"):
        assert set(found[key]) == {"20", "40"} and min(found[key].values()) > 0
    for side in found["sides"].values():
        assert all(figures["examples_per_second"] > 0 and figures["peak_bytes"] > 2**20 for figures in side.values())
    # The layers' share of the work: 32 whole rows against one prefix and 32 suffixes, and the forward pass twice with checkpointing.
    work = {name: counts["40"]["layers"] for name, counts in found["work"].items()}
    assert work["cookbook"] / work["ours"] == pytest.approx(32 * (40 + 55) / (40 + 32 * 55))
    assert work["ours"] / work["ours_uncheckpointed"] == pytest.approx(4 / 3)
    assert "strongest" in printed and "What bounds a step" in printed


def test_generation_speed(run):
    printed, found = run("generate_speed", "--rounds", "1", "--requests", "6", "--device", "cpu", "--dtypes", "float32", "bfloat16")
    assert found["identical"] is True and found["different_tokens"] > 10
    for dtype in ("float32", "bfloat16"):
        assert set(found["sides"][dtype]) == {"ours", "plain"} and found["ratio"][dtype] > 0
    assert "float32, ours in batches of 6: 6 of 6" in printed


@needs_tokenizer
def test_a_whole_fine_tune(run, tmp_path):
    printed, found = run("finetune_270m", "--quick", "--data", str(tmp_path / "none"))
    assert len(found["steps"]) == found["total_steps"] and found["peak_bytes"] > 2**20
    assert found["tokens"]["rows_that_share_it"] == found["tokens"]["rows"]
    assert "at GEMM speed" in printed


@needs_tokenizer
@pytest.mark.slow
@pytest.mark.timeout(900)  # two conversions
def test_what_an_export_costs(run):
    printed, found = run("export_cost", "--quick", "--requests", "2", "--formats", "litertlm-int8", "tflite-int8")
    assert set(found["exports"]) == {"litertlm-int8", "tflite-int8"} and len(found["bare"]) == 1
    for (first,) in found["exports"].values():
        # The random model is certain of what it says, so every file gives its answers, and each was allowed to pass.
        assert first["identical"] == first["requests"] == 2 and 0 < sum(first["stages"].values()) <= first["seconds"] + 0.1
    assert found["summary"]["ratio"] > 0 and found["summary"]["peak_bytes"] > 2**20
    assert set(found["tokens_per_second"]) == {"PyTorch float32", "PyTorch bfloat16", "litertlm-int8", "tflite-int8"}
    assert all(side["prefill"] > 0 and side["decode"] > 0 for side in found["tokens_per_second"].values())
    assert "x the bare converter's time (target 2x)" in printed


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from parts import measure
if "fail" in sys.argv[-1]:
    sys.exit("it went wrong")
measure.reset_peak("cpu")
block = bytearray(64 * 2**20)
print("chatter of a library")
measure.say(peak=measure.peak("cpu"), job=sys.argv[-1])
"""


def test_a_child_says_what_it_took_and_why_it_failed(measure, root, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(root / "benchmarks")), "utf-8")
    (line,) = measure.child(str(script), {"n": 1})
    assert line["job"] == '{"n": 1}' and line["peak"] > 64 * 2**20
    with pytest.raises(RuntimeError, match="it went wrong"):
        list(measure.child(str(script), {"fail": True}))
