"""A .litertlm kept open: one prompt after the other goes in, texts come out, and how long they took.

Needs the LiteRT-LM library alone, no torch: it is what a shared demo runs, where it is copied unchanged. Prompts come from
`functiongemma.render_prompt`; an answer keeps its control tokens, without the token that it stopped at, which the runtime does not
tell. Knows nothing of tools, pages or processes.
"""

from __future__ import annotations

import tempfile
import threading
import time
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


class Engine:
    """The file at `path`, which holds `context` tokens in all; answers are greedy and made one at a time, whoever asks.

    Raises ExportError if LiteRT-LM cannot open the file.
    """

    def __init__(self, path: str | Path, context: int, threads: int = 2):
        import litert_lm

        litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
        self.path, self.context = Path(path), context
        self._library, self._one = litert_lm, threading.Lock()
        # Without a cache_dir the runtime leaves its compiled weights beside the model.
        self._folder = tempfile.TemporaryDirectory(prefix="litert-lm-")
        try:
            backend = litert_lm.Backend.CPU(thread_count=threads)
            self._engine = litert_lm.Engine(str(path), backend=backend, cache_dir=self._folder.name, enable_benchmark=True)
        except RuntimeError as error:
            self._folder.cleanup()
            raise ExportError(f"LiteRT-LM cannot open {self.path.name} ({error}).") from error

    def answer(self, prompt: str, max_new_tokens: int = 128) -> Written:
        """The greedy answer to a prompt that begins with <bos>. Raises PipelineError for one that does not fit, or that fails."""
        text = prompt.removeprefix(BOS)  # the session writes it
        with self._one:
            length = len(self._engine.tokenize(text)) + 1
            room = min(max_new_tokens, self.context - length)
            if room < 1:
                raise PipelineError(
                    f"This is too long: with the functions it makes {length:,} tokens, and the model reads {self.context:,}. Shorten it."
                )
            try:
                return self._write(text, room)
            except RuntimeError as error:
                raise PipelineError(f"LiteRT-LM could not answer ({error}). Try another request.") from error

    def _write(self, text: str, room: int) -> Written:
        # TOP_P with k = 1 is greedy; GREEDY itself is not implemented in the CPU runtime (LiteRT-LM 0.18).
        greedy = self._library.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
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
            engine: Any = self._engine
            engine.__exit__(None, None, None)
            self._folder.cleanup()
