"""A .tflite and its tokenizer in one file: .litertlm for LiteRT-LM and AI Edge Gallery, .task for MediaPipe and flutter_gemma.

Writes what it is told; what belongs into a file for which runtime is decided in litert.py, whether it came out right is read
back by inspect.py. Imports the packers of Google, so it runs in a child process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TURN_WRAP = {
    "prompt_prefix_user": "<start_of_turn>user\n",
    "prompt_suffix_user": "<end_of_turn>\n",
    "prompt_prefix_model": "<start_of_turn>model\n",
    "prompt_suffix_model": "<end_of_turn>\n",
}
"""For the plain MediaPipe API, which adds no turns of its own. flutter_gemma writes the whole prompt and wants none of it."""


def write(format: str, tflite: str, tokenizer: str, out: str, **settings: Any) -> None:
    """The bundle at `out`, from files at the other paths. `settings` are the keywords of `litertlm` or `task`."""
    {"litertlm": litertlm, "task": task}[format](Path(tflite), Path(tokenizer), Path(out), **settings)


def litertlm(
    tflite: Path, tokenizer: Path, out: Path, *, start_id: int, stop_ids: Sequence[int], template: str, max_tokens: int,
    description: Mapping[str, str],
) -> None:
    """A .litertlm of three sections: metadata, SentencePiece tokenizer, model.

    `template` is the Jinja chat template that the runtime renders messages and tools with; without one it writes another prompt
    (other order of keys, other newlines), and a model trained on ours answers garbage. `description` is shown by inspectors.
    """
    import litert_lm_builder as builder
    from litert_lm_builder.runtime.proto import llm_metadata_pb2, sampler_params_pb2

    metadata = llm_metadata_pb2.LlmMetadata()
    metadata.start_token.token_ids.ids.append(start_id)
    for stop in stop_ids:
        metadata.stop_tokens.add().token_ids.ids.append(stop)
    metadata.max_num_tokens = max_tokens
    metadata.llm_model_type.function_gemma.use_template_for_fc_format = True
    metadata.jinja_prompt_template = template
    metadata.supports_function_calling = True
    metadata.supports_thinking = False
    # Greedy, said so that the CPU runtime takes it: GREEDY and TOP_K are "UNIMPLEMENTED" there (LiteRT-LM 0.18).
    sampler = metadata.sampler_params
    sampler.type, sampler.k, sampler.p, sampler.temperature = sampler_params_pb2.SamplerParameters.TOP_P, 1, 1.0, 1.0

    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "metadata.pb"
        packed.write_bytes(metadata.SerializeToString())
        file = builder.LitertLmFileBuilder()
        for key, value in description.items():
            file.add_system_metadata(builder.Metadata(key=key, value=value, dtype=builder.DType.STRING))
        file.add_llm_metadata(str(packed))
        file.add_sentencepiece_tokenizer(str(tokenizer))
        file.add_tflite_model(str(tflite), builder.TfLiteModelType.PREFILL_DECODE)
        with open(out, "wb") as stream:
            file.build(stream)


def task(tflite: Path, tokenizer: Path, out: Path, *, start: str, stops: Sequence[str], wrap_turns: bool) -> None:
    """A .task of three stored entries; tokens are named by their text. `out` ends in .task, or MediaPipe appends it."""
    from mediapipe.tasks.python.genai.bundler import llm_bundler

    llm_bundler.create_bundle(
        llm_bundler.BundleConfig(
            tflite_model=str(tflite),
            tokenizer_model=str(tokenizer),
            start_token=start,
            stop_tokens=list(stops),
            output_filename=str(out),
            **(TURN_WRAP if wrap_turns else {}),
        )
    )
