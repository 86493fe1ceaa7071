"""A small tuned run: two functions, seven examples, a tiny model that knows them by heart (so that int8 answers as float32 does)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline import dataset as datasets
from pipeline.base.tokenizer import write_tokenizer
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.functiongemma import render_example
from pipeline.runs import Run
from pipeline.tools import ToolCall, ToolSpec
from tests.small_world import tiny_model, tokenizer_model

ROOT = Path(__file__).resolve().parent.parent
COLOR = {"type": "object", "properties": {"color": {"type": "string", "description": "name"}}, "required": ["color"]}
ROOM = {"type": "object", "properties": {"room": {"type": "string"}, "number": {"type": "integer"}}, "required": ["room"]}
TOOLS = (ToolSpec("set_color", "Set the color", COLOR), ToolSpec("open_room", "Open a room", ROOM))


def small_dataset() -> ToolDataset:
    """Single calls of both functions with text and numbers, two calls at once, an answer in words; every kind is held out once."""
    red, kitchen = ToolCall("set_color", {"color": "red"}), ToolCall("open_room", {"room": "kitchen", "number": 0})
    rows = [
        (example("make it red", [red]), "test"),
        (example("make it blue", [ToolCall("set_color", {"color": "blue"})]), "train"),
        (example("open kitchen 0", [kitchen]), "test"),
        (example("open room 12", [ToolCall("open_room", {"room": "room", "number": 12})]), "train"),
        (example("red and kitchen", [red, kitchen]), "test"),
        (example("hello", reply="hello world"), "test"),
        (example("stop", reply="hello world"), "train"),
    ]
    return ToolDataset(TOOLS, tuple(replace(row, split=split) for row, split in rows))


def small_run(folder: Path, learn: bool = True, embedded: bool = True, title: str = "My app") -> Run:
    """A finished run in `folder`; without `learn` its model has random weights."""
    dataset = small_dataset()
    base = {"id": "embedded" if embedded else "google/functiongemma-270m-it", "label": "demo", "revision": None if embedded else "4" * 40}
    run = Run.create(
        folder, title=title, config=TrainConfig(), base=base | {"path": "", "embedded": embedded},
        dataset_sha256=datasets.sha256(dataset), versions={"torch": "2"}, total_steps=1,
    )  # fmt: skip
    datasets.save(dataset, run.path / "dataset")
    template = (ROOT / "pipeline/base/checkpoint/chat_template.jinja").read_text("utf-8")
    run.model_path.mkdir()
    write_tokenizer(tokenizer_model(), run.model_path, template)
    model = tiny_model(hidden_size=64, intermediate_size=128, head_dim=16, query_pre_attn_scalar=16, sliding_window=512, num_hidden_layers=2)
    if learn:
        _learn(model, dataset, run.model_path)
    model.save_pretrained(run.model_path)
    run.update(status="done", steps=1, seconds=1.0, final_loss=0.02)
    return run


def _learn(model, dataset: ToolDataset, tokenizer_folder: Path) -> None:
    """By heart, in about 50 steps over all rows; stops when every answer is certain."""
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    texts = [render_example(row.messages, dataset.tools_of(row)) for row in dataset.examples]
    pairs = [[tokenizer.encode(text, add_special_tokens=False).ids for text in pair] for pair in texts]
    longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (prompt, completion) in enumerate(pairs):
        end = len(prompt) + len(completion)
        ids[row, :end] = torch.tensor(prompt + completion)
        labels[row, len(prompt) : end] = torch.tensor(completion)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(200):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.02:
            return
    raise AssertionError(f"the tiny model did not learn its seven rows: loss {loss.item():.3f}")
