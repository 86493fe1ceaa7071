"""A .litertlm kept open: one prompt after the other goes in, texts come out, and how long they took.

Needs the LiteRT-LM library alone, no torch: it is what a shared demo runs, where it is copied unchanged. Prompts come from
`functiongemma.render_prompt`; an answer keeps its control tokens, without the token that it stopped at, which the runtime does not
tell. Knows nothing of tools, pages or processes.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError, PipelineError
from pipeline.functiongemma import BOS


@dataclass(frozen=True)
class Written:
    """What a model wrote: `seconds` for the whole text, `first` until its first token; `stopped` is False when length cut it."""

    text: str
    tokens: int
    seconds: float
    first: float
    stopped: bool


@contextmanager
def opened(path: Path, threads: int) -> Iterator[Any]:
    """A `litert_lm.Engine` for a .litertlm or .task. Raises ExportError if it cannot be opened."""
    import litert_lm

    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    # Without a cache_dir the runtime leaves its compiled weights beside the model.
    with tempfile.TemporaryDirectory(prefix="litert-lm-") as folder:
        try:
            backend = litert_lm.Backend.CPU(thread_count=threads)
            engine = litert_lm.Engine(str(path), backend=backend, cache_dir=folder, enable_benchmark=True)
        except RuntimeError as error:
            raise ExportError(f"LiteRT-LM cannot open {path.name} ({error}).") from error
        with engine:  # it must outlive its sessions: the library crashes otherwise
            yield engine


class Engine:
    """The file at `path`, which holds `context` tokens in all; answers are greedy and made one at a time, whoever asks.

    Raises ExportError if LiteRT-LM cannot open the file.
    """

    def __init__(self, path: str | Path, context: int, threads: int = 2):
        self.path, self.context = Path(path), context
        self._one, self._open = threading.Lock(), ExitStack()
        self._engine = self._open.enter_context(opened(self.path, threads))

    def answer(self, prompt: str, max_new_tokens: int = 128) -> Written:
        """The greedy answer to a prompt that begins with <bos>. Raises PipelineError for one that does not fit, or that fails."""
        text = prompt.removeprefix(BOS)  # the session writes it
        with self._one:
            length = self.length(prompt)
            room = min(max_new_tokens, self.context - length)
            if room < 1:
                raise PipelineError(
                    f"This is too long: with the functions it makes {length:,} tokens, and the model reads {self.context:,}. Shorten it."
                )
            try:
                return self._write(text, room)
            except RuntimeError as error:
                raise ExportError(f"LiteRT-LM cannot answer with {self.path.name} ({error}).") from error

    def length(self, prompt: str) -> int:
        """The tokens of a prompt, <bos> included."""
        return len(self._engine.tokenize(prompt.removeprefix(BOS))) + 1

    def _write(self, text: str, room: int) -> Written:
        import litert_lm

        # TOP_P with k = 1 is greedy; GREEDY itself is not implemented in the CPU runtime (LiteRT-LM 0.18).
        greedy = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
        start = time.perf_counter()
        with self._engine.create_session(apply_prompt_template=False, max_output_tokens=room, sampler_config=greedy) as session:
            session.run_prefill([text])
            written = session.run_decode().texts[0]
            seconds = time.perf_counter() - start
            measured = session.get_benchmark_info()  # its own clock: ours would wait for other threads of this process
        tokens = measured.last_decode_token_count  # the one that it stopped at included
        return Written(written, tokens, seconds, min(seconds, measured.time_to_first_token_in_second), tokens < room)

    def close(self) -> None:
        """Gives the memory back; waits for the answer that is being made. Nothing can be asked afterwards."""
        with self._one:
            self._open.close()
