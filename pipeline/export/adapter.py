"""The LoRA adapters of a run alone: a folder that peft loads onto the base.

In the 270M shape rank 16 on all linear layers makes 3.8 million weights, 1.4 % of the base's 268 million. They are the run's own, byte
for byte, as training kept them before the merge. The check loads them anew onto the base, in a child process
(`python -m pipeline.export.adapter`), and compares the answers with the merged model's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline import model as models
from pipeline.errors import ExportError
from pipeline.export import merged, verify
from pipeline.export.source import Row, Source
from pipeline.runs import Run
from pipeline.runtimes import without_stop

FILES = ("adapter_model.safetensors", "adapter_config.json")


def refusal(run: Run) -> str | None:
    """Why a run has no adapter to give away; None if it has one."""
    if run.config.method != "lora":
        return (
            f"{run.title} was trained in full: every weight has changed, so there is no adapter; export --format merged instead, or train "
            "with --method lora."
        )
    if not all((run.adapter_path / name).is_file() for name in FILES):
        return f"{run.title} was trained before adapters were kept beside the merged model; train it again, or export --format merged."
    return None


def of_run(source: Source, run: Run) -> Source:
    """`source` with the run's adapters and the folder of their base. Raises ExportError if it has none, ModelError without the base."""
    if problem := refusal(run):
        raise ExportError(problem)
    return replace(source, adapter=run.adapter_path.resolve(), base=Path(models.recorded(run.base).path).resolve())


def make(
    source: Source, format: str, quantize: str, work: Path, cache: Path, progress: child.Progress
) -> tuple[Path, dict[str, Any]]:
    """The folder, in `work`, and which base it is for. Raises ExportError if `source` has no adapter."""
    if source.adapter is None:
        raise ExportError("There is no adapter: only a run trained with --method lora has one.")
    out = work / f"{source.name}-{format}"
    out.mkdir()
    for number, name in enumerate(FILES):
        progress(number / len(FILES), f"Copying {name}")
        shutil.copyfile(source.adapter / name, out / name)
    merged.write_sums(out)
    settings = json.loads((out / "adapter_config.json").read_text("utf-8"))
    details = {key: settings[key] for key in ("base_model_name_or_path", "revision", "r", "lora_alpha", "target_modules")}
    # Merged into a base of bfloat16, the sum was rounded; base and adapter side by side are not.
    return out, details | {"rounded": source.dtype != "float32"}


def answers(source: Source, file: Path, rows: Sequence[Row], max_new_tokens: int, progress: child.Progress) -> list[str]:
    """The greedy answers of the base with the copied adapters on it."""
    job = {
        "base": str(source.base), "adapter": str(file), "prompts": [row.prompt for row in rows], "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    made = child.run("pipeline.export.adapter", job, progress, "Asking the base with the adapter")
    return [verify.Answer(**one).text for one in made["answers"]]


def quantization(name: str | None) -> str:
    """Adapters stay as they were trained. Raises ExportError for anything else."""
    if name is not None:
        raise ExportError(f"An adapter stays as it was trained and is not stored as {name}; leave --quantize out.")
    return "float32"


# The child's side


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"base", "adapter", "prompts", "max_new_tokens"} -> {"answers"}, in float32."""
    base = models.load_weights(job["base"], "float32")
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(base, job["adapter"]).eval()
    loaded = models.Loaded(tuned.get_base_model(), models.load_tokenizer(job["base"]), "cpu", "float32")  # the adapters sit inside it
    made = models.generate(loaded, job["prompts"], job["max_new_tokens"], progress)
    return {"answers": [vars(verify.Answer(without_stop(one.text), one.token_ids, one.stopped)) for one in made]}


if __name__ == "__main__":
    child.serve(work)
