"""Only FunctionGemma's kind of model is loaded, in words that say why not; answers end where the model stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import model as models
from pipeline.errors import ModelError
from pipeline.model import Generation, cpu_threads, find_base, generate, load
from tests.small_world import tiny_checkpoint

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = ["<bos><start_of_turn>user\n" + "hello " * n + "<end_of_turn>\n<start_of_turn>model\n" for n in (1, 9, 2, 30, 4)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load(checkpoint, device="cpu")


def broken(checkpoint, folder, **changes):
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_loading_says_nothing_of_its_own(checkpoint):
    """Libraries that look for kernels of other hardware, and warn that they found none, are no concern of who asks a model."""
    code = f"from pipeline import model; model.load({str(checkpoint)!r}, device='cpu')"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_folder_is_found_with_what_callers_ask(checkpoint):
    base = find_base(str(checkpoint))
    assert (base.embedded, base.revision, base.path, base.context) == (False, None, str(checkpoint.resolve()), 4096)
    assert type(base)(**base.to_json()) == base


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"model_type": "llama"}, "is a model of type llama; only gemma3_text"),
    ({"auto_map": {"AutoModel": "x.Y"}}, "wants to run code of its own"),
])
def test_another_kind_of_model_is_refused(checkpoint, tmp_path, changes, sentence):
    with pytest.raises(ModelError, match=sentence):
        find_base(str(broken(checkpoint, tmp_path / "m", **changes)))


@pytest.mark.parametrize(("missing", "sentence"), [
    ("config.json", "holds no config.json"), ("model.safetensors", "holds no .safetensors file"), ("tokenizer.json", "no tokenizer.json"),
])
def test_a_folder_with_something_missing_is_refused(checkpoint, tmp_path, missing, sentence):
    folder = broken(checkpoint, tmp_path / "m")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=sentence):
        find_base(str(folder))


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "../x", "a b/c", "", "/no/such/folder"])
def test_what_names_no_model_is_refused_without_the_network(name):
    with pytest.raises(ModelError, match="There is no model"):
        find_base(name)


def test_a_damaged_checkpoint_is_a_sentence(checkpoint, tmp_path):
    folder = broken(checkpoint, tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


def test_a_tokenizer_without_the_control_tokens_is_refused(checkpoint, tmp_path):
    folder = broken(checkpoint, tmp_path / "m")
    text = (folder / "tokenizer.json").read_text().replace("<start_function_call>", "<start_of_something>")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="splits <start_function_call> into"):
        load(folder)


def test_a_small_model_is_float32_and_float16_is_refused(loaded, checkpoint):
    import torch

    assert loaded.dtype == "float32" and next(loaded.model.parameters()).dtype == torch.float32
    with pytest.raises(ModelError, match="float16"):
        load(checkpoint, dtype="float16")


def test_the_number_format_follows_what_was_measured(monkeypatch):
    monkeypatch.setattr(models, "_bfloat16_gain", lambda threads: 2.0)
    assert models.choose_dtype("cpu") == "bfloat16"
    monkeypatch.setattr(models, "_bfloat16_gain", lambda threads: 1.0)
    assert models.choose_dtype("cpu") == "float32"


def test_threads_follow_the_environment_and_the_container(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert cpu_threads() >= 1
    monkeypatch.setattr(Path, "read_text", lambda self: "150000 100000\n")
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    assert cpu_threads() == 1


def test_batched_answers_equal_single_plain_ones_in_order(loaded):
    import torch

    seen, told = [], []
    batched = generate(loaded, PROMPTS, 12, lambda fraction, message: seen.append((fraction, message)), lambda *token: told.append(token))
    for index, (prompt, answer) in enumerate(zip(PROMPTS, batched, strict=True)):
        ids = loaded.tokenizer.encode(prompt, add_special_tokens=False, return_tensors="pt")
        stops = models.stop_ids(loaded.tokenizer)
        with torch.no_grad():
            plain = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=stops)
        assert answer.token_ids == plain[0, ids.shape[1] :].tolist() == [token for i, token in told if i == index]
        assert answer.stopped == (answer.token_ids[-1] in stops)
    assert [message for _, message in seen] == [f"{n} of 5 answers" for n in range(1, 6)] and seen[-1][0] == 1.0
    assert generate(loaded, [], 12) == []


def test_a_prompt_longer_than_the_model_reads_is_a_sentence(loaded):
    with pytest.raises(ModelError, match="A prompt of .* tokens leaves no room for an answer: this model reads and writes 4096 in all"):
        generate(loaded, ["<bos>" * 4090], 12)


def test_an_answer_keeps_its_control_tokens_and_its_stop(loaded):
    call, stop = (loaded.tokenizer.convert_tokens_to_ids(token) for token in ("<start_function_call>", "<end_of_turn>"))
    stops = models.stop_ids(loaded.tokenizer)
    assert stops == [1, 106, 50]
    assert models._generation([call, stop], stops, loaded.tokenizer) == Generation("<start_function_call><end_of_turn>", [call, stop], True)
    assert models._generation([call], stops, loaded.tokenizer) == Generation("<start_function_call>", [call], False)
