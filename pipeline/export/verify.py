"""Does an exported file answer as the model does? Decided by running it, before anybody gets it.

The file's greedy answers to held-out requests are compared with the model's own, computed by PyTorch in float32 from the same prompts.
Where they part, the model is asked how much it preferred its own next token. A file is good if

- it ends no answer after some of the calls that the model was decided to make, as a wrong stop token does;
- it is float32, and every answer is the model's, up to ties (the model gave the file's token the same probability within 1 %);
- it is quantised, and at most 10 % of its answers differ where the model was decided (it gave the file's token less than half the
  probability of its own); or, for a model that gets at least half of the requests right, the file gets at most 5 points fewer right.

The model's side runs in a child process (`python -m pipeline.export.verify`). Knows nothing of how a file was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline import child
from pipeline.errors import ExportError
from pipeline.export.source import Row
from pipeline.files import write_atomic
from pipeline.functiongemma import START_CALL, STOP_TOKENS
from pipeline.runtimes import without_stop

TIE = 0.99
"""Least ratio of the two probabilities at which float32 may choose the other token: rounding differs by less."""
UNDECIDED = 0.5
"""The same for quantised weights: the model itself would have said the other thing one time in three."""
ALLOWED_DIFFERENT = 0.1
ALLOWED_LOSS = 0.05
TRUSTED_SCORE = 0.5
"""Below so many right answers of the model, losing few of them proves nothing."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote: text without its stop token, token ids with it, whether it stopped by itself."""

    text: str
    token_ids: list[int]
    stopped: bool


@dataclass(frozen=True)
class Difference:
    """A request that the file answered otherwise; `ratio` is P(file's token) / P(model's token) where they part."""

    request: str
    model: str
    file: str
    ratio: float


@dataclass(frozen=True)
class Verification:
    """Of `total` requests, how many answers are `identical`, how many part where the model was `undecided`, and the rest.

    `cut` answers end after some of the model's calls, though it was decided to go on; `parallel` is how many had several calls.
    """

    total: int
    identical: int
    undecided: int
    model_correct: int
    file_correct: int
    differences: list[Difference] = field(default_factory=list)
    cut: int = 0
    parallel: int = 0

    @property
    def different(self) -> int:
        return self.total - self.identical - self.undecided

    @property
    def passed(self) -> bool:
        if self.cut:
            return False
        if self.different <= ALLOWED_DIFFERENT * self.total:
            return True
        trusted = self.model_correct >= TRUSTED_SCORE * self.total
        return trusted and self.model_correct - self.file_correct <= ALLOWED_LOSS * self.total

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"different": self.different}


def answer_length(longest_completion: int) -> int:
    """Tokens to let an answer run to: a quarter more than the longest of the dataset, so that running on is seen."""
    return min(512, longest_completion + max(16, longest_completion // 4))


def model_answers(
    checkpoint: Path, weights_sha256: str, prompts: Sequence[str], max_new_tokens: int, cache: Path, progress: child.Progress
) -> list[Answer]:
    """The model's greedy answers; kept in the folder `cache`, because every format is compared with the same ones."""
    key = hashlib.sha256(json.dumps([weights_sha256, list(prompts), max_new_tokens]).encode()).hexdigest()
    file = cache / "answers.json"
    try:
        kept = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # there is none yet, or it was damaged
        kept = {}
    if kept.get("key") != key:
        job = {"checkpoint": str(checkpoint), "prompts": list(prompts), "max_new_tokens": max_new_tokens}
        kept = {"key": key} | child.run("pipeline.export.verify", job, progress, "Asking the model")
        write_atomic(file, json.dumps(kept, ensure_ascii=False))
    return [Answer(**answer) for answer in kept["answers"]]


def compare(checkpoint: Path, rows: Sequence[Row], ours: Sequence[Answer], theirs: Sequence[str], exact: bool) -> Verification:
    """`theirs` are a file's answers to `rows`, `ours` the model's. `exact`: the file is float32, so only ties may differ."""
    parted = [i for i in range(len(rows)) if not _same(ours[i], theirs[i])]
    questions = [{"prompt": rows[i].prompt, "model": ours[i].token_ids, "file": theirs[i]} for i in parted]
    job = {"checkpoint": str(checkpoint), "questions": questions}
    ratios = child.run("pipeline.export.verify", job, None, "Asking the model")["ratios"] if parted else []
    differences = [
        Difference(rows[i].example.request, ours[i].text, theirs[i], ratio) for i, ratio in zip(parted, ratios, strict=True)
    ]
    expected = [without_stop(row.completion) for row in rows]
    undecided = [ratio >= (TIE if exact else UNDECIDED) for ratio in ratios]
    return Verification(
        total=len(rows),
        identical=len(rows) - len(parted),
        undecided=sum(undecided),
        model_correct=sum(answer.text == right for answer, right in zip(ours, expected, strict=True)),
        file_correct=sum(text == right for text, right in zip(theirs, expected, strict=True)),
        cut=sum(is_cut(ours[i].text, theirs[i]) and not unsure for i, unsure in zip(parted, undecided, strict=True)),
        parallel=sum(answer.text.count(START_CALL) > 1 for answer in ours),
        differences=differences,
    )


def require(found: Verification, what: str, exact: bool) -> None:
    """Raises ExportError unless the file may be offered."""
    if found.passed and not (exact and found.different):
        return
    if found.cut:
        raise ExportError(
            f"{what} did not pass: {found.cut} of {found.parallel} answers with several calls end after the first ones, as a wrong stop "
            "token ends them; choose more bits, and if that does not help, please report it."
        )
    worst = min(found.differences, key=lambda difference: difference.ratio)
    advice = "this is a defect of the conversion, please report it" if exact else "choose more bits, such as int8 or float32"
    raise ExportError(
        f"{what} did not pass: {found.different} of {found.total} answers differ from the model's, for instance to {worst.request[:80]!r} "
        f"it says {worst.file[:80]!r} instead of {worst.model[:80]!r}; {advice}."
    )


def is_cut(ours: str, theirs: str) -> bool:
    """Whether `theirs` ends after some, not all, of the calls of `ours`, with the mark at the end of the last one or without."""
    return ours.startswith(theirs) and ours.count(START_CALL) > theirs.count(START_CALL) > 0


def _same(ours: Answer, theirs: str) -> bool:
    if ours.stopped:
        return ours.text == theirs
    # Both ran into the limit, and runtimes count the last token differently: one may have a token more.
    return bool(theirs) and (ours.text.startswith(theirs) or theirs.startswith(ours.text))


# The child's side


def _answers(job: dict[str, Any], progress: child.Progress) -> list[dict[str, Any]]:
    from pipeline.model import generate, load

    loaded = load(job["checkpoint"], "cpu", "float32")
    made = generate(loaded, job["prompts"], job["max_new_tokens"], progress)
    return [asdict(Answer(without_stop(one.text), one.token_ids, one.stopped)) for one in made]


def _ratios(job: dict[str, Any]) -> list[float]:
    """For each question, P(the file's next token) / P(the model's) after what both have said."""
    import torch

    from pipeline.model import load

    loaded = load(job["checkpoint"], "cpu", "float32")
    stops = [loaded.tokenizer.convert_tokens_to_ids(token) for token in STOP_TOKENS]
    ratios = []
    for question in job["questions"]:
        ours = question["model"]
        theirs = loaded.tokenizer.encode(question["file"], add_special_tokens=False)
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
        prompt = loaded.tokenizer.encode(question["prompt"], add_special_tokens=False)
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([prompt + ours[:at]])).logits[0, -1]
        said = logits[theirs[at]] if at < len(theirs) else logits[stops].max()  # it ended there
        ratios.append(float(torch.exp(said - logits.max())))
    return ratios


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: {"checkpoint", "prompts", "max_new_tokens"} -> {"answers"}, or {"checkpoint", "questions"} -> {"ratios"}."""
    return {"ratios": _ratios(job)} if "questions" in job else {"answers": _answers(job, progress)}


if __name__ == "__main__":
    child.serve(work)
