"""A checkpoint as one .gguf for llama.cpp and Ollama, with an Ollama Modelfile; and back again, to check it.

Written with the `gguf` package alone: llama.cpp's own converter, run on a folder of transformers 5, types the control tokens as ordinary
text. Checked with another reader, transformers' own. Knows nothing of LiteRT.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import child, llamacpp, runtimes
from pipeline.errors import ExportError, PipelineError
from pipeline.export import containers, readback, tokenizer, verify
from pipeline.export.inspect import inspect
from pipeline.export.source import Row, Source
from pipeline.functiongemma import BOS, END_OF_TURN, EOS, START_RESPONSE, STOP_TOKENS

QUANTIZATIONS = ("q8_0", "float16", "q4_0")
BLOCK = 32
"""Numbers that share a scale in Q8_0 and Q4_0; rows must be a multiple of it."""
PATTERN = "gemma3.attention.sliding_window_pattern"


def make(
    source: Source, format: str, quantize: str, work: Path, cache: Path, progress: child.Progress
) -> tuple[Path, dict[str, Any]]:
    """The .gguf, in `work`, and what to say about it. Raises ExportError."""
    out, pieces = work / f"{source.name}-{quantize}.{format}", work / "tokenizer.model"
    texts = source.texts()
    pieces.write_bytes(tokenizer.sentencepiece_model(source.checkpoint, texts))
    job = {
        "checkpoint": str(source.checkpoint.resolve()), "tokenizer": str(pieces.resolve()), "out": str(out.resolve()), "quantize": quantize,
        "name": source.name, "template": source.template,
    }  # fmt: skip
    child.run("pipeline.export.gguf", job, child.by_the_clock(progress, 10), "Writing the .gguf")
    return out, {"modelfile": modelfile(out.name)} | _read_back(source, out, quantize)


def _read_back(source: Source, out: Path, quantize: str) -> dict[str, Any]:
    """What to say about the file as it is. Raises ExportError unless it holds what was meant to go in."""
    found = inspect(out)
    model = found["model"] or {}
    wanted = {
        "quantization": (model.get("quantization"), {"q8_0": "Q8_0", "q4_0": "Q4_0", "float16": "F16"}[quantize]),
        "context length": (model.get("cache_length"), source.config["max_position_embeddings"]),
        "architecture": (found["metadata"].get("general.architecture"), "gemma3"),
        "start token": (found["start_token"], BOS),
        "stop tokens": (found["stop_tokens"], [EOS, END_OF_TURN, START_RESPONSE]),
        "vocabulary": ((found["tokenizer"] or {}).get("pieces"), source.config["vocab_size"]),
        "chat template": (found["template"], source.template),
    }
    readback.require_settings(found, wanted)
    pieces = _pieces(containers.gguf(containers.opened(out))["values"]).SerializeToString()
    details = {"stop_tokens": found["stop_tokens"], "start_token": BOS}
    details |= {"texts_split_alike": tokenizer.prove(pieces, source.checkpoint, source.texts())}
    return details | readback.same_prompts(source, out, "The template in the .gguf")


def answers(source: Source, file: Path, rows: Sequence[Row], max_new_tokens: int, progress: child.Progress) -> list[str]:
    """The file's own greedy answers, in transformers."""
    return runtimes.answers(file, [row.prompt for row in rows], max_new_tokens, progress)


def second_opinion(
    source: Source, file: Path, rows: Sequence[Row], ours: Sequence[verify.Answer], max_new_tokens: int, progress: child.Progress
) -> dict[str, Any]:
    """What llama.cpp makes of the file, where it is installed: {"llama_cpp": {"with", and how its answers compare}}; else {}.

    Raises ExportError if its answers are not good enough. If it cannot run the file at all, as versions older than Gemma 3 cannot, the
    reason stands under "problem": the file has another reader.
    """
    if (name := llamacpp.installed()) is None:
        return {}
    try:
        theirs = llamacpp.answers(file, [row.prompt for row in rows], max_new_tokens, progress)
    except PipelineError as error:
        return {"llama_cpp": {"with": name, "problem": str(error)}}
    found = verify.compare(source.checkpoint, rows, ours, theirs, exact=False)
    verify.require(found, f"{file.name} in llama.cpp", exact=False)
    return {"llama_cpp": {"with": name, **found.to_json()}}


def quantization(name: str | None) -> str:
    """The one of QUANTIZATIONS that `name` asks for; q8_0 by default. Raises ExportError."""
    chosen = name or "q8_0"
    if chosen not in QUANTIZATIONS:
        raise ExportError(f"GGUF files come in {', '.join(QUANTIZATIONS)}, not in {chosen}.")
    return chosen


def modelfile(file_name: str) -> str:
    """An Ollama Modelfile that hands the prompt over as it is: Ollama's own FunctionGemma renderer writes another one."""
    stops = "".join(f'PARAMETER stop "{token}"\n' for token in (END_OF_TURN, START_RESPONSE))
    return f"FROM ./{file_name}\nTEMPLATE {{{{ .Prompt }}}}\n{stops}PARAMETER temperature 0\n"


def period(layer_types: Sequence[str]) -> int:
    """n where every n-th layer attends to everything and the others to a window, which is all that GGUF can say. Raises ExportError."""
    full = [i for i, kind in enumerate(layer_types, 1) if kind == "full_attention"]
    n = full[0] if full else 0
    if full != (list(range(n, len(layer_types) + 1, n)) if n else []):
        raise ExportError("A .gguf cannot describe this model: its layers of full attention do not come at equal distances.")
    return n


def load(path: Path) -> Any:
    """The model in a .gguf as a `pipeline.model.Loaded` in float32, read by transformers. Raises ExportError."""
    values = containers.gguf(containers.opened(path))["values"]
    if values.get("general.architecture") != "gemma3":
        raise ExportError(f"{path.name} holds a model of type {values.get('general.architecture')}; expected gemma3, FunctionGemma's.")

    import torch
    from transformers import AutoConfig, Gemma3ForCausalLM

    from pipeline.model import Loaded, cpu_threads, quiet

    quiet()
    torch.set_num_threads(cpu_threads())
    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        config.query_pre_attn_scalar = config.head_dim  # as llama.cpp does; the file cannot say otherwise
        if n := values.get(PATTERN):  # transformers takes every sixth layer for granted
            config.layer_types = ["sliding_attention" if i % n else "full_attention" for i in range(1, config.num_hidden_layers + 1)]
        model = Gemma3ForCausalLM.from_pretrained(path.parent, gguf_file=path.name, config=config, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise ExportError(f"{path.name} cannot be read by transformers ({error}).") from error
    return Loaded(model.eval(), Pieces(_pieces(values).SerializeToString()), "cpu", "float32")


class Pieces:
    """A .gguf's own vocabulary with what `pipeline.model.generate` asks of a tokenizer."""

    def __init__(self, model: bytes):
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pad_token_id = self._processor.pad_id()

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        body = self._processor.encode(text.removeprefix(BOS))
        return [self._processor.bos_id(), *body] if text.startswith(BOS) else body

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return self._processor.decode(list(ids))

    def convert_tokens_to_ids(self, token: str) -> int:
        return self._processor.piece_to_id(token)


def _pieces(values: dict[str, Any]) -> Any:
    """The SentencePiece model that a .gguf's vocabulary spells."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    pieces, scores, types = (values.get(f"tokenizer.ggml.{name}") or [] for name in ("tokens", "scores", "token_type"))
    if not len(pieces) == len(scores) == len(types) > 0:
        raise ExportError(f"The .gguf's vocabulary is damaged: {len(pieces)} tokens, {len(scores)} scores, {len(types)} types.")
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        marked = kind == 3 and piece not in tokenizer.MARKS
        text = piece.replace(" ", "\u2581") if kind == 4 else piece
        model.pieces.add(piece=text, score=score, type=kinds.USER_DEFINED if marked else kind)
    trainer = model.trainer_spec
    trainer.model_type, trainer.vocab_size, trainer.byte_fallback = 2, len(pieces), 6 in types
    ids = (values.get(f"tokenizer.ggml.{name}_token_id", -1) for name in ("padding", "eos", "bos", "unknown"))
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = ids
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = tokenizer.MARKS
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.escape_whitespaces = "identity", True
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    return model


# The child's side: python -m pipeline.export.gguf


def write(checkpoint: Path, pieces: Path, out: Path, quantize: str, name: str, template: str) -> None:
    """The .gguf at `out`. Raises ExportError."""
    import json

    import gguf

    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    kinds = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0, "float16": gguf.GGMLQuantizationType.F16}
    files = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0, "float16": gguf.LlamaFileType.MOSTLY_F16}
    writer = gguf.GGUFWriter(str(out), "gemma3")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(int(files[quantize]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _architecture(writer, config)
    _vocabulary(writer, pieces, config["vocab_size"])
    writer.add_chat_template(template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config["num_hidden_layers"])
    for key, array in _tensors(checkpoint):
        place = names.get_name(key, try_suffixes=(".weight",))
        if place is None:
            raise ExportError(f"The checkpoint has a tensor {key} that a gemma3 .gguf has no place for.")
        if array.ndim == 1:
            writer.add_tensor(place, array + 1.0 if key.endswith("norm.weight") else array)  # Gemma multiplies by 1 + weight
        elif quantize == "float16":
            writer.add_tensor(place, array.astype("float16"))
        elif array.shape[-1] % BLOCK:
            raise ExportError(f"{quantize} needs rows of a multiple of {BLOCK}, {key} has {array.shape[-1]}; choose float16.")
        else:
            writer.add_tensor(place, gguf.quants.quantize(array, kinds[quantize]), raw_dtype=kinds[quantize])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(checkpoint: Path) -> Any:
    """(name, float32 array) of every tensor but the tied output layer, one at a time."""
    import torch
    from safetensors import safe_open

    for file in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                if key != "lm_head.weight":
                    yield key, tensors.get_tensor(key).to(torch.float32).numpy()


def _architecture(writer: Any, config: dict[str, Any]) -> None:
    if config["query_pre_attn_scalar"] != config["head_dim"]:
        raise ExportError(
            f"A .gguf cannot describe this model: its queries are scaled by {config['query_pre_attn_scalar']}, llama.cpp takes the size of "
            f"a head, {config['head_dim']}."
        )
    rope = config["rope_parameters"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_uint32(PATTERN, period(config["layer_types"]))


def _vocabulary(writer: Any, pieces: Path, count: int) -> None:
    """Tokens, scores and types as llama.cpp wants them. Control tokens get the type of their own that its converter forgets."""
    from gguf import TokenType
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(pieces.read_bytes())
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    types = {
        kinds.NORMAL: TokenType.NORMAL, kinds.UNKNOWN: TokenType.UNKNOWN, kinds.CONTROL: TokenType.CONTROL,
        kinds.USER_DEFINED: TokenType.USER_DEFINED, kinds.UNUSED: TokenType.UNUSED, kinds.BYTE: TokenType.BYTE,
    }  # fmt: skip
    # What ends or frames a turn is control; the marks inside a call stay visible in the text that llama.cpp gives back.
    control = {BOS, EOS, "<pad>", "<mask>", "<start_of_turn>", *STOP_TOKENS}
    tokens, scores, kept = [], [], []
    for i in range(count):
        piece = model.pieces[i] if i < len(model.pieces) else None  # the embedding may have rows that no token uses
        kind = types[piece.type] if piece else TokenType.UNUSED
        text = piece.piece if piece else f"[PAD{i}]"
        if text in control or text.startswith("<unused"):
            kind = TokenType.CONTROL
        tokens.append(text.replace("\u2581", " ") if kind == TokenType.USER_DEFINED else text)
        scores.append(-1000.0 if kind in (TokenType.USER_DEFINED, TokenType.CONTROL) else piece.score if piece else -10000.0)
        kept.append(int(kind))
    ids = {text: i for i, text in enumerate(tokens)}
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kept)
    writer.add_bos_token_id(ids[BOS])
    writer.add_eos_token_id(ids[EOS])
    writer.add_unk_token_id(ids["<unk>"])
    writer.add_pad_token_id(ids["<pad>"])
    writer.add_eot_token_id(ids[END_OF_TURN])
    writer.add_eom_token_id(ids[START_RESPONSE])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def work(job: dict[str, Any], progress: child.Progress) -> dict[str, Any]:
    """The child's job: the arguments of `write`."""
    progress(0.0, "Writing the weights")
    write(Path(job["checkpoint"]), Path(job["tokenizer"]), Path(job["out"]), job["quantize"], job["name"], job["template"])
    return {}


if __name__ == "__main__":
    child.serve(work)
