"""Greedy decoding of a bare .tflite in the LiteRT interpreter, token by token: no bundle, no tokenizer, no runtime around it.

The model has signatures prefill_<length> and decode over one key-value cache that is handed in and out. Works on token ids, in the
process that calls it; knows nothing of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError

HIDDEN = -1e9
"""Added to the scores of positions that must not be seen. Finite: the graph adds a mask of its own for the sliding layers."""


class Interpreter:
    """A language model in a .tflite, and what it has read last: prompts that begin alike are read from where they part.

    Raises ExportError if the file cannot be opened or has no such signatures.
    """

    def __init__(self, path: str | Path, threads: int):
        from ai_edge_litert import interpreter

        self.name = Path(path).name
        try:
            self._interpreter = interpreter.Interpreter(str(path), num_threads=threads)
            names = self._interpreter.get_signature_list()
            self._prefill = {}
            for name in (one for one in names if one.startswith("prefill")):
                runner = self._interpreter.get_signature_runner(name)
                self._prefill[int(runner.get_input_details()["tokens"]["shape"][-1])] = runner
            self._decode = self._interpreter.get_signature_runner("decode")
            inputs = self._decode.get_input_details()
            self.cache_length = int(inputs["mask"]["shape"][-1])
            self._shapes = {key: (one["shape"], one["dtype"]) for key, one in inputs.items() if key.startswith("kv_cache")}
        except (ValueError, KeyError, RuntimeError) as error:
            raise ExportError(f"The LiteRT interpreter cannot run {self.name} as a language model ({error}).") from error
        if not self._prefill:
            raise ExportError(f"{self.name} has no prefill signature: the LiteRT interpreter cannot run it as a language model.")
        self.reset()

    @property
    def prefill_lengths(self) -> list[int]:
        """Tokens, ascending."""
        return sorted(self._prefill)

    def reset(self) -> None:
        """Forget what was read."""
        import numpy as np

        self._cache = {key: np.zeros(shape, dtype) for key, (shape, dtype) in self._shapes.items()}
        self._read: list[int] = []

    def read(self, ids: Sequence[int]) -> None:
        """Let the cache hold `ids`, of which what it holds already is not read again."""
        same = next((i for i, (a, b) in enumerate(zip(self._read, ids, strict=False)) if a != b), min(len(self._read), len(ids)))
        while same < len(ids):
            length = next((n for n in self.prefill_lengths if n >= len(ids) - same), self.prefill_lengths[-1])
            # The write of a whole piece must end within the cache, so the last one may begin earlier and repeat some tokens.
            begin = max(0, min(same, self.cache_length - length))
            piece = list(ids[begin : begin + length])
            self._run(self._prefill[length], piece, begin, length)
            same = begin + len(piece)
        self._read = list(ids)

    def next(self, token: int) -> int:
        """The most probable token after all that was read and `token`, which is read, too."""
        at = len(self._read)
        logits = self._run(self._decode, [token], at, 1)["logits"]
        self._read.append(token)
        return int(logits.reshape(-1).argmax())

    def _run(self, runner: Any, tokens: list[int], begin: int, length: int) -> dict[str, Any]:
        import numpy as np

        positions = np.arange(begin, begin + length, dtype=np.int32)
        mask = np.where(np.arange(self.cache_length) <= positions[:, None], np.float32(0), np.float32(HIDDEN))[None, None]
        padded = np.array([tokens + [0] * (length - len(tokens))], dtype=np.int32)
        made = runner(tokens=padded, input_pos=positions, mask=mask, **self._cache)
        self._cache = {key: made[key] for key in self._cache}
        return made


def generate(
    model: Interpreter, prompts: Sequence[Sequence[int]], stops: Sequence[int], max_new_tokens: int,
    progress: Callable[[float, str], None],
) -> list[list[int]]:  # fmt: skip
    """The greedy answers in token ids, without the stop, in the order of `prompts`. Raises ExportError for a prompt that does not fit."""
    made: dict[int, list[int]] = {}
    for i in sorted(range(len(prompts)), key=lambda i: list(prompts[i])):  # neighbours begin alike
        *before, token = prompts[i]
        room = model.cache_length - len(before)
        if room < 2:
            raise ExportError(
                f"A prompt of {len(prompts[i])} tokens does not fit into the {model.cache_length} of {model.name}; raise --cache-length."
            )
        model.read(before)
        answer: list[int] = []
        for _ in range(min(max_new_tokens, room - 1)):
            token = model.next(token)
            if token in stops:
                break
            answer.append(token)
        made[i] = answer
        progress(len(made) / len(prompts), f"{len(made)} of {len(prompts)} answers")
    return [made[i] for i in range(len(prompts))]
