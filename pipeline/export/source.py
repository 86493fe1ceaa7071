"""What an export starts from: a merged checkpoint, and the dataset that says what the file will be asked.

From the dataset come the lengths that the file must hold, the texts its tokenizer must split as in training, and the held-out requests
that it has to answer before anybody gets it. Knows nothing of formats.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.dataset import Example, ToolDataset
from pipeline.errors import ExportError
from pipeline.functiongemma import BOS, render_example
from pipeline.model import check_checkpoint

PREFILL = 256
"""Tokens computed at once, as in Google's own bundles; longer prompts are read in several pieces."""
SHORT_PREFILL = 128
"""Enough where every prompt is at most so long; half the work on a phone."""
CACHE = 1024
"""The least cache, Google's own. With one key-value head of 256 it takes 36 KiB a token in the 270M shape."""
CACHE_STEP = 256
ROOM = 256
"""Tokens kept free behind the longest example, for a function's result and the words that follow it."""
PROVED_TEXTS = 1000


@dataclass(frozen=True)
class Row:
    """An example as the model sees it: `prompt` begins with <bos>, `completion` ends with its stop token."""

    example: Example
    prompt: str
    completion: str


@dataclass(frozen=True)
class Lengths:
    """Tokens: what the file can hold, and the dataset's longest prompt and completion, from which that was chosen."""

    prefill: int
    cache: int
    longest_prompt: int
    longest_completion: int

    @property
    def reason(self) -> str:
        pieces = -(-self.longest_prompt // self.prefill)
        return (
            f"The longest prompt has {self.longest_prompt} tokens and the longest answer {self.longest_completion}: prompts are read "
            f"{self.prefill} tokens at a time ({pieces} {'piece' if pieces == 1 else 'pieces'}), and {self.cache} fit into a conversation."
        )


@dataclass(frozen=True)
class Source:
    """`checkpoint` is a folder with the merged model; `name` begins the names of the files.

    `adapter` holds what was merged, and `base` is the checkpoint that it was merged into; only the export of an adapter needs them.
    """

    checkpoint: Path
    dataset: ToolDataset
    name: str
    adapter: Path | None = None
    base: Path | None = None

    def check(self) -> None:
        """Raises ModelError or ExportError if nothing can be made of it."""
        check_checkpoint(self.checkpoint)
        if not self.rows:
            raise ExportError("The dataset has no usable example, so no file could be checked before it is handed out; add some rows.")

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.checkpoint / "config.json").read_text("utf-8"))

    @property
    def dtype(self) -> str:
        """How the merged weights are stored: "float32" or "bfloat16"."""
        return self.config.get("dtype") or self.config.get("torch_dtype") or "float32"

    @cached_property
    def weights_sha256(self) -> str:
        """One hash over config.json and the weights, whatever the files are called."""
        digest = hashlib.sha256((self.checkpoint / "config.json").read_bytes())
        for file in sorted(self.checkpoint.glob("*.safetensors")):
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    @cached_property
    def rows(self) -> list[Row]:
        usable = (e for e in self.dataset.examples if e.completion and e.prompt)
        return [Row(e, *render_example([*e.prompt, e.completion], self.dataset.tools_of(e))) for e in usable]

    def texts(self) -> list[str]:
        """Prompts and completions without <bos>, which SentencePiece takes for text; the first PROVED_TEXTS, each once."""
        return list(dict.fromkeys(text.removeprefix(BOS) for row in self.rows[:PROVED_TEXTS] for text in (row.prompt, row.completion)))

    @cached_property
    def template(self) -> str:
        """The chat template of the checkpoint, without which a runtime writes tools in another way than training did."""
        file = self.checkpoint / "chat_template.jinja"
        if file.is_file():
            return file.read_text("utf-8")
        settings = self.checkpoint / "tokenizer_config.json"
        found = json.loads(settings.read_text("utf-8")).get("chat_template") if settings.is_file() else None
        if not isinstance(found, str) or not found:
            raise ExportError(f"{self.checkpoint} has no chat_template.jinja; copy it from the base model, phones write prompts with it.")
        return found

    @cached_property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest prompt and of the longest completion."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.checkpoint / "tokenizer.json"))

        def most(texts: set[str]) -> int:
            return max(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(sorted(texts), add_special_tokens=False))

        return most({row.prompt for row in self.rows}), most({row.completion for row in self.rows})

    def lengths(self, cache_at_least: int | None = None) -> Lengths:
        """What the file must hold for this dataset. Raises ExportError if the model itself cannot hold it."""
        prompt, completion = self.longest
        limit = int(self.config["max_position_embeddings"])
        if prompt + completion > limit:
            raise ExportError(f"The longest example has {prompt + completion} tokens, the model holds {limit}; shorten its tools or text.")
        needed = max(CACHE, cache_at_least or 0, prompt + 2 * completion + ROOM)
        cache = min(limit, -(-needed // CACHE_STEP) * CACHE_STEP)
        return Lengths(SHORT_PREFILL if prompt <= SHORT_PREFILL else PREFILL, cache, prompt, completion)

    def requests(self, count: int) -> list[Row]:
        """`count` rows to try a file with: held-out ones where there are any, every tool and kind of answer in turn.

        One with parallel calls is among them (from the rows that were learned if none is held out): wrong stops show there.
        """
        held_out = [row for row in self.rows if row.example.split == "test"] or self.rows
        groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in held_out:
            groups[(row.example.kind, *sorted({call.name for call in row.example.calls}))].append(row)
        chosen: list[Row] = []
        for turn in range(max(map(len, groups.values()), default=0)):
            chosen += [rows[turn] for rows in groups.values() if turn < len(rows)]
        chosen = chosen[:count]
        if not any(row.example.kind == "parallel" for row in chosen):
            parallel = [row for row in (*held_out, *self.rows) if row.example.kind == "parallel"][:1]
            chosen = [*chosen[: count - len(parallel)], *parallel]
        return chosen
