"""The LoRA adapters of a run as an export of their own: what peft loads, and what a run without them says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import dataset as datasets
from pipeline.config import TrainConfig
from pipeline.errors import ExportError
from pipeline.export import Artifact, adapter, artifacts, export, usage
from pipeline.export.source import Source
from pipeline.model import BaseModel
from pipeline.runs import Run
from tests.small_world import tiny_checkpoint
from tests.tuned_world import small_dataset, small_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # children that import torch: seconds each, on a busy machine a minute

LORA = TrainConfig(method="lora", lora_r=4, lora_alpha=8)


def lora_run(folder: Path, base: Path, dtype: str = "float32") -> Run:
    """A finished LoRA run: random adapters on a tiny base, merged as training merges them."""
    import torch
    from peft import LoraConfig, get_peft_model

    from pipeline import train
    from pipeline.model import load_weights

    dataset = small_dataset()
    record = BaseModel(str(base), str(base), None, False, base.name)
    run = Run.create(
        folder, title="My app", config=LORA, base=record.to_json(), dataset_sha256=datasets.sha256(dataset), versions={}, total_steps=1
    )
    datasets.save(dataset, run.path / "dataset")
    torch.manual_seed(0)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    train._finish(get_peft_model(load_weights(base, "float32"), settings), LORA, record, run)
    run.update(status="done", steps=1, seconds=1.0)
    return run


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("somewhere") / "tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory, base) -> Run:
    return lora_run(tmp_path_factory.mktemp("lora") / "run", base)


@pytest.fixture(scope="module")
def made(run) -> Artifact:
    return export(run, "adapter")


def test_the_folder_is_what_training_kept_and_answers_as_the_merged_model_does(run, made):
    folder = Path(made.path)
    assert (folder.name, folder.parent) == ("my-app-adapter", run.artifacts_path)
    assert made.verified and made.answers_identical == made.answers_total == 4
    for name in adapter.FILES:
        assert (folder / name).read_bytes() == (run.adapter_path / name).read_bytes()
    sums = (folder / "SHA256SUMS").read_text()
    assert made.sha256 == hashlib.sha256(sums.encode()).hexdigest()
    for line in sums.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert made in artifacts(run.artifacts_path)


def test_it_names_its_base_and_no_place_on_this_disk(made, base):
    folder = Path(made.path)
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["r"], settings["lora_alpha"]) == ("tiny", 4, 8)
    assert made.details["base_model_name_or_path"] == "tiny"
    assert not any(str(base.parent) in file.read_text("utf-8", "replace") for file in folder.iterdir())


def test_peft_loads_it_and_it_changes_the_base(made, base):
    import torch
    from peft import PeftModel

    from pipeline.model import load_weights

    plain = load_weights(base, "float32").eval()
    ids = torch.tensor([[2, 105, 106]])
    with torch.no_grad():
        before = plain(input_ids=ids).logits
        after = PeftModel.from_pretrained(plain, made.path).eval()(input_ids=ids).logits
    assert not torch.allclose(before, after)


def test_the_cards_snippet_runs_beside_the_base(made, base, tmp_path):
    (tmp_path / "tiny").symlink_to(base)
    for name in (Path(made.path).name, "tools.json"):
        (tmp_path / name).symlink_to(Path(made.path).parent / name)
    code = usage.snippet(made)
    assert f'"{Path(made.path).name}"' in code and '"pretrained_model_name_or_path": "tiny", "revision": "main"' in code
    assert code in (Path(made.path) / "README.md").read_text("utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_adapters_that_answer_otherwise_are_not_offered(run, made, tmp_path):
    from safetensors.torch import load_file, save_file

    other = Run(run.path)
    kept = other.adapter_path / "adapter_model.safetensors"
    right = kept.read_bytes()
    try:
        save_file({name: -weight for name, weight in load_file(kept).items()}, kept)  # B * A stays; its sign, layer by layer, too
        weights = load_file(kept)
        save_file({name: weight * (3 if "lora_A" in name else 1) for name, weight in weights.items()}, kept)
        with pytest.raises(ExportError, match="my-app-adapter did not pass: .* answers differ from the model's"):
            export(other, "adapter", out=tmp_path)
    finally:
        kept.write_bytes(right)
    assert list(tmp_path.iterdir()) == []


def test_merged_weights_that_were_rounded_are_compared_as_such(run, tmp_path):
    """The 270M base keeps bfloat16: base plus adapter then differ from the merged model by its rounding, and that is no defect."""
    source = adapter.of_run(Source(run.model_path, run.dataset(), "x"), run)
    for dtype, rounded in (("float32", False), ("bfloat16", True)):
        work = tmp_path / dtype
        work.mkdir()
        source.config["dtype"] = dtype
        assert adapter.make(source, "adapter", "float32", work, tmp_path, lambda *_: None)[1]["rounded"] is rounded


@pytest.mark.parametrize(
    ("method", "words"),
    [("full", "My app was trained in full: every weight has changed, so there is no adapter; export --format merged instead"),
     ("lora", "My app was trained before adapters were kept beside the merged model; train it again, or export --format merged")],
)  # fmt: skip
def test_a_run_without_adapters_says_why(tmp_path, method, words):
    run = small_run(tmp_path / "run", learn=False)
    run.update(config=replace(TrainConfig(), method=method).to_json())
    assert adapter.refusal(run).startswith(words)
    with pytest.raises(ExportError, match="there is no adapter|before adapters were kept"):
        export(run, "adapter")
    assert not run.artifacts_path.exists()


def test_adapters_come_as_they_were_trained(run):
    with pytest.raises(ExportError, match="An adapter stays as it was trained and is not stored as int8; leave --quantize out"):
        export(run, "adapter", "int8")
