"""The model card says what the run and its files are, in a form that the Hub takes, and nothing that a user wrote becomes markup."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import dataset as datasets
from pipeline.config import TrainConfig
from pipeline.dataset import ToolDataset, example
from pipeline.errors import ExportError
from pipeline.export import Artifact, card, convert
from pipeline.files import write_atomic
from pipeline.functiongemma import render_example
from pipeline.runs import Run
from pipeline.scores import EvalReport, judge
from pipeline.tools import ToolCall, ToolSpec
from tests.tuned_world import small_dataset

EVIL = "<img src=x onerror=alert(1)> | # x & ![a](https://evil.example) `z` ~~c~~ &lt; www.evil.example"
REASON = "The longest prompt has 300 tokens."


def made(format: str, identical: int = 20, **details) -> Artifact:
    name = "/somewhere/my-app" + ({"merged": "-merged", "adapter": "-adapter"}.get(format) or f"-int8.{format}")
    return Artifact(format, name, 280_000_000, "ab" * 32, True, identical, 20, 9.0, {"quantize": "int8"} | details)


def add_report(run, on: str, right: int, split: str = "test") -> None:
    """A report of `on` in which the first `right` held-out rows are answered right and the others wrong."""
    data = run.dataset()
    rows = [(number, e) for number, e in enumerate(data.examples, 1) if e.split == split]
    wrong = "<start_function_call>call:nothing{}<end_function_call><start_function_response>"
    answers = [render_example([*e.prompt, e.completion], data.tools_of(e))[1] if i < right else wrong for i, (_, e) in enumerate(rows)]
    results = [judge(number, e, data.tools_of(e), answer) for (number, e), answer in zip(rows, answers, strict=True)]
    report = EvalReport.of(
        results, on=on, split=split, model="my-app-int8.litertlm", seconds=1.0, tokens=9, dataset_sha256=run.info["dataset_sha256"]
    )
    write_atomic(run.evaluation_path(on, split), json.dumps(report.to_json()))


def finished(folder: Path, title: str = "My app", embedded: bool = True) -> Run:
    """A finished run without weights, which no card looks at."""
    base = {"id": "embedded" if embedded else "google/functiongemma-270m-it", "revision": None if embedded else "4" * 40}
    dataset = small_dataset()
    run = Run.create(
        folder, title=title, config=TrainConfig(), base=base | {"label": "demo", "path": "", "embedded": embedded},
        dataset_sha256=datasets.sha256(dataset), versions={"torch": "2"}, total_steps=1,
    )  # fmt: skip
    datasets.save(dataset, run.path / "dataset")
    run.update(status="done", steps=1, seconds=1.0, final_loss=0.02)
    return run


@pytest.fixture
def run(tmp_path) -> Run:
    return finished(tmp_path / "run")


@pytest.fixture
def gemma(tmp_path) -> Run:
    return finished(tmp_path / "gemma", embedded=False)


def front_matter(text: str) -> dict:
    from huggingface_hub import ModelCard

    return ModelCard(text).data.to_dict()


# The front matter


def test_the_card_of_a_gemma_carries_googles_notice(gemma):
    text = card.text(gemma, [made("litertlm", lengths=REASON)])
    assert "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms" in text
    assert f"[google/functiongemma-270m-it](https://huggingface.co/google/functiongemma-270m-it) at revision `{'4' * 40}`" in text
    assert "| `my-app-int8.litertlm` |" in text and "280.0 MB" in text and "ab" * 32 in text and "20 of 20" in text and REASON in text
    assert "/somewhere" not in text


@pytest.mark.parametrize(
    ("formats", "library", "relation"),
    [(("litertlm", "task"), "litert-lm", "finetune"), (("merged", "gguf"), "transformers", "finetune"), (("adapter",), "peft", "adapter"),
     (("adapter", "litertlm"), "litert-lm", "finetune"), (("gguf",), None, "finetune")],
)  # fmt: skip
def test_the_hub_reads_the_front_matter(gemma, formats, library, relation):
    found = front_matter(card.text(gemma, [made(one) for one in formats]))
    assert found["license"] == "gemma" and found["pipeline_tag"] == "text-generation" and "function-calling" in found["tags"]
    assert (found["base_model"], found["base_model_relation"]) == ("google/functiongemma-270m-it", relation)
    assert found.get("library_name") == library


def test_a_repository_says_what_it_is_loaded_with_and_where_its_dataset_is(gemma):
    found = front_matter(card.text(gemma, [made("litertlm")], library="transformers", dataset_id="me/my-app: data"))
    assert found["library_name"] == "transformers" and found["datasets"] == ["me/my-app: data"]


def test_the_card_of_the_embedded_base_does_not_speak_for_google(run):
    text = card.text(run, [])
    assert front_matter(text)["license"] == "apache-2.0" and "base_model" not in front_matter(text) and "Gemma Terms of Use" not in text
    assert "contains no part of Google's Gemma" in text and "It is a demonstration" in text
    for expected in (
        "**set\\_color** Set the color", "`color` (string, required) name", "7 examples: 3 to learn from, 4 held out", "final loss 0.0200",
        "Its scores rest on 4 held-out rows, which are few",
    ):  # fmt: skip
        assert expected in text


# What users wrote


def test_nothing_that_a_user_wrote_becomes_markup(tmp_path):
    run = finished(tmp_path / "run", title=EVIL)
    tool = ToolSpec("f", EVIL, {"type": "object", "properties": {"a`b|c": {"type": "string", "description": EVIL, "enum": [EVIL]}}})
    rows = tuple(replace(example(word, [ToolCall("f")]), split="test") for word in ("x", "y"))
    datasets.save(ToolDataset((tool,), rows), run.path / "dataset")
    text = card.text(run, [made("litertlm", warnings=[EVIL])])
    own = text.replace(card.EMBEDDED_NOTICE, "")
    for harm in ("<img", "!", "[a", "| # x", "# x", "& ", "&lt;", "`z", "~c"):
        assert not re.search(r"(?<!\\)" + re.escape(harm), own), harm
    assert "https://evil" not in text and "www.evil" not in text
    assert "``a`b\\|c``" in text
    assert front_matter(text)["license"] == "apache-2.0"


# Scores


def test_scores_stand_in_the_card_with_their_intervals_and_the_name_of_the_method(run):
    for on, right in (("base", 0), ("tuned", 3), ("litertlm", 4)):
        add_report(run, on, right)
    text = card.text(run, [])
    assert "| base | 4 | 0.0% (0.0% to 49.0%) |" in text
    assert "| tuned model | 4 | 75.0% (30.1% to 95.4%) | 75.0% (30.1% to 95.4%) | 75.0% (30.1% to 95.4%) |" in text
    assert "| the file `my-app-int8.litertlm` | 4 | 100.0% (51.0% to 100.0%) |" in text
    assert text.index("| base |") < text.index("| tuned model |") < text.index("| the file")
    assert "95 % intervals (Wilson's score interval)" in text
    assert "From the base to the tuned model 3 rows became exactly right and 0 rows wrong (McNemar's exact test, p = 0.25)." in text
    assert "| set\\_color | 2 | 100% | 100% |" in text and "| open\\_room | 2 |" in text


def test_a_report_that_is_damaged_is_left_out(run):
    add_report(run, "tuned", 4)
    (run.path / "eval" / "base-test.json").write_text("{}")
    assert "| tuned model | 4 |" in card.text(run, [])


def test_the_card_is_as_new_as_what_it_says(run):
    assert card.current(run) is None
    file = run.artifacts_path / "my-app-int8.litertlm"
    write_atomic(file, b"x")
    entry = made("litertlm").to_json() | {"path": file.name}
    write_atomic(run.artifacts_path / "artifacts.json", json.dumps({"artifacts": [entry]}))
    assert "Not measured yet." in card.current(run).read_text("utf-8")
    add_report(run, "tuned", 4)
    assert "| tuned model | 4 |" in card.current(run).read_text("utf-8")
    run.rename("Another name")
    assert "# Another name" in card.current(run).read_text("utf-8")
    later = card.current(run).stat()
    os.utime(card.current(run), ns=(later.st_atime_ns, later.st_mtime_ns + 10**9))
    before = card.current(run).stat().st_mtime_ns
    assert card.current(run).stat().st_mtime_ns == before, "written again although nothing has changed"


def test_a_folder_gets_a_card_and_the_functions_of_its_own(run):
    folder = run.artifacts_path / "my-app-adapter"
    folder.mkdir(parents=True)
    other = run.artifacts_path / "my-app-int8.task"
    other.write_bytes(b"x")
    both = [(made("adapter", base_model_name_or_path="embedded"), folder), (made("task"), other)]
    entries = [artifact.to_json() | {"path": path.name} for artifact, path in both]
    write_atomic(run.artifacts_path / "artifacts.json", json.dumps({"artifacts": entries}))
    card.write_card(run, run.artifacts_path)
    own, whole = ((place / "README.md").read_text("utf-8") for place in (folder, run.artifacts_path))
    assert front_matter(own)["library_name"] == "peft" and "my-app-int8.task" not in own and "my-app-int8.task" in whole
    assert json.loads((folder / "tools.json").read_text())[0]["function"]["name"] == "set_color"


# Limits


def test_what_the_numbers_say_is_a_limit_too(run):
    rows = tuple(replace(row, split="train") for row in run.dataset().examples[:2])
    datasets.save(ToolDataset(run.dataset().tools, rows), run.path / "dataset")
    text = card.text(run, [made("litertlm", identical=18)])
    assert "No example answers in words: it will call a function whatever it is asked." in text
    assert "No example calls open\\_room." in text
    assert "`my-app-int8.litertlm` gave 2 answers of 20 otherwise than the model did." in text


def test_every_file_says_how_it_is_loaded(run):
    text = card.text(run, [made(one, cache_length=1536) for one in card.DESTINATIONS])
    for one in card.DESTINATIONS:
        assert f"### `{Path(made(one).path).name}`" in text
    assert "getActiveModel(maxTokens: 1536)" in text and "{file}" not in text and "{cache}" not in text and "{base}" not in text


# What cannot be stored


@pytest.mark.parametrize("error", [ValueError("unsupported scale value"), RuntimeError("scale is 0")])
def test_weights_that_a_number_format_cannot_hold_are_a_sentence(tmp_path, monkeypatch, error):
    """Some recipes of the quantiser fail on a row of zeros, which an unused token may have."""
    from ai_edge_quantizer import quantizer

    class Broken:
        def __init__(self, *_):
            pass

        load_quantization_recipe = __init__

        def quantize(self):
            raise error

    monkeypatch.setattr(quantizer, "Quantizer", Broken)
    with pytest.raises(ExportError, match=rf"These weights cannot be stored as int4 \({error}\); choose int8 or float32\."):
        convert.quantize(tmp_path / "in.tflite", tmp_path / "out.tflite", "int4")
