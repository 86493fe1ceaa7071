"""What is inside an exported file, and what is wrong with it, in sentences. For files of ours and of anybody else.

The bytes are read by containers.py, which trusts none of them. Knows nothing of the model that a file was made from: whether it answers
as it should is verify.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError
from pipeline.export import containers, tokenizer
from pipeline.functiongemma import BOS, END_CALL, END_OF_TURN, EOS, START_RESPONSE

QUANTIZATION = {"FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "INT4": "int4", "BFLOAT16": "bfloat16", "INT2": "int2"}
SAMPLERS = {1: "TOP_K", 2: "TOP_P", 3: "GREEDY"}
"""SamplerParameters.Type of LiteRT-LM."""
GEMMA_IDS = dict(zip((*tokenizer.MARKS[:3], *tokenizer.WIRE_TOKENS), (0, 1, 2, 46, 47, 48, 49, 50, 51, 52, 105, 106), strict=True))
"""Where every Gemma 3 tokenizer has them; used to name ids of a file whose own tokenizer is not read."""
MAX_SUMMED = 8 << 30
MAX_STOPS = 100
MAX_LINE = 500


def inspect(path: str | Path) -> dict[str, Any]:
    """The file's `format`, `size`, `sha256`, `sections`, `metadata`, `tokenizer`, `start_token`, `stop_tokens`, `template`, `model`
    (signatures, lengths, quantisation) and `problems`: sentences, the gravest first; [] means that nothing is wrong.

    What a format does not have is None; the sum is, for a file of more than MAX_SUMMED bytes. Raises ExportError for a file that is
    missing, damaged, or of another kind.
    """
    path = Path(path)
    data = containers.opened(path)
    reader = _reader(data)
    report: dict[str, Any] = {
        "path": str(path), "format": reader.__name__.removeprefix("_"), "size": len(data), "sha256": None, "sections": [],
        "metadata": {}, "tokenizer": None, "start_token": None, "stop_tokens": None, "template": None, "model": None,
    }  # fmt: skip
    with containers.damage(f"The .{report['format']}"):
        report["problems"] = reader(data, report)
    if len(data) <= MAX_SUMMED:
        report["sha256"] = hashlib.sha256(data).hexdigest()
    suffix = path.suffix.lower().removeprefix(".")
    if suffix != report["format"]:
        report["problems"].append(f"The name ends in .{suffix}, the content is a .{report['format']}: rename it, or apps will not find it.")
    return report


def _reader(data: memoryview) -> Callable[[memoryview, dict[str, Any]], list[str]]:
    """By what the file begins with, never by its name."""
    head = bytes(data[:8])
    if head == b"LITERTLM":
        return _litertlm
    if head[4:] == b"TFL3":
        return _tflite
    if head[:4] == b"GGUF":
        return _gguf
    if b"PK\x03\x04" in head:  # MediaPipe aligns its entries: up to four zeros stand before the first
        return _task
    raise ExportError(f"This is none of .litertlm, .task, .tflite and .gguf: it begins with {head.hex(' ')}.")


def _litertlm(data: memoryview, report: dict[str, Any]) -> list[str]:
    header = containers.litertlm(data)
    report["metadata"] = {"version": header["version"], **header["system"]}
    problems: list[str] = []
    kinds: set[str] = set()
    message = model = None
    for section in header["sections"]:
        size = section["end"] - section["begin"]
        report["sections"].append({"name": section["type"], "size": size, **section["items"]})
        body = data[section["begin"] : section["end"]]
        if section["type"] in ("LlmMetadataProto", "SP_Tokenizer") and section["type"] in kinds:
            problems.append(f"It has two sections of the kind {section['type']}: which one is read depends on the runtime.")
        elif section["type"] == "LlmMetadataProto":
            containers.small(size, containers.MAX_METADATA, "The metadata section")
            message = containers.llm_metadata(bytes(body))
        elif section["type"] == "SP_Tokenizer":
            containers.small(size, containers.MAX_TOKENIZER, "The tokenizer section")
            problems += _tokenizer(bytes(body), report)
        elif section["type"] == "HF_Tokenizer_Zlib":
            report["tokenizer"] = {"kind": "Hugging Face tokenizer.json, compressed (not unpacked)", "control_tokens": GEMMA_IDS}
        elif section["type"] == "TFLiteModel" and section["items"].get("model_type", "tf_lite_prefill_decode") == "tf_lite_prefill_decode":
            model = body
        kinds.add(section["type"])
    if message is None:
        problems.append("It has no LLM metadata: LiteRT-LM cannot know where an answer ends.")
    else:
        containers.at_most(len(message.stop_tokens), MAX_STOPS, "The list of stop tokens")
        report["start_token"] = _token(message.start_token, report)
        report["stop_tokens"] = [_token(token, report) for token in message.stop_tokens]
        report["template"] = message.jinja_prompt_template or None
        kind = message.llm_model_type.WhichOneof("model_type")
        report["metadata"] |= {"model_type": kind, "max_num_tokens": message.max_num_tokens}
        report["metadata"]["sampler"] = SAMPLERS.get(message.sampler_params.type, "not set")
        report["metadata"]["function_calling"] = message.supports_function_calling
        problems += _tokens(report, (EOS, END_OF_TURN, START_RESPONSE))
        if kind != "function_gemma":
            problems.append(f"The model type is {kind or 'not set'}, not function_gemma: LiteRT-LM will hand over calls as plain text.")
        if report["template"] is None:
            problems.append("It has no chat template: LiteRT-LM writes tools in an order and with newlines that the model never saw.")
        elif kind == "function_gemma" and not message.llm_model_type.function_gemma.use_template_for_fc_format:
            problems.append("The chat template is not used for tools (use_template_for_fc_format is off): LiteRT-LM writes them otherwise.")
        if report["metadata"]["sampler"] in ("TOP_K", "GREEDY"):
            problems.append("The sampler is TOP_K or GREEDY, which LiteRT-LM's CPU runtime refuses; TOP_P with k = 1 is greedy everywhere.")
    if report["tokenizer"] is None:
        problems.append("It has no tokenizer: it cannot start.")
    problems += _model(model, report)
    cache = (report["model"] or {}).get("cache_length")
    if message is not None and cache and message.max_num_tokens > cache:
        problems.append(f"It announces {message.max_num_tokens} tokens, the model's cache holds {cache}: longer conversations will fail.")
    return problems


def _task(data: memoryview, report: dict[str, Any]) -> list[str]:
    entries = containers.task(data)
    report["sections"] = [{"name": name, "size": entry.size, "stored": entry.stored} for name, entry in entries.items()]
    problems = [
        f"Entry {name} is compressed: MediaPipe maps entries into memory and needs them stored. It was not unpacked."
        for name, entry in entries.items() if not entry.stored
    ]  # fmt: skip

    def body(name: str, limit: int) -> memoryview | None:
        entry = entries.get(name)
        if entry is None:
            problems.append(f"It has no entry {name}: MediaPipe cannot open it.")
        elif entry.stored:
            containers.small(entry.size, limit, f"Entry {name}")
            return data[entry.begin : entry.end]
        return None

    if (pieces := body("TOKENIZER_MODEL", containers.MAX_TOKENIZER)) is not None:
        problems += _tokenizer(bytes(pieces), report)
    if (metadata := body("METADATA", containers.MAX_METADATA)) is not None:
        # mediapipe/tasks/cc/genai/inference/proto/llm_params.proto: 5 stop tokens, 6 start token, 8 and 17 text put around prompts
        fields = containers.protobuf_fields(bytes(metadata))
        with containers.damage("The METADATA entry"):
            texts = [(number, value.decode()) for number, value in fields if number in (5, 6)]
        containers.at_most(len(texts), MAX_STOPS, "The list of stop tokens")
        report["start_token"] = next((text for number, text in texts if number == 6), None)
        report["stop_tokens"] = [text for number, text in texts if number == 5]
        report["metadata"]["wraps_turns"] = any(number in (8, 17) for number, _ in fields)
        problems += _tokens(report, (END_OF_TURN, START_RESPONSE))
        if report["metadata"]["wraps_turns"]:
            problems.append(
                "It puts turns around every prompt, for the plain MediaPipe API: flutter_gemma writes turns itself, they would be doubled."
            )
    return problems + _model(body("TF_LITE_PREFILL_DECODE", len(data)), report)


def _tflite(data: memoryview, report: dict[str, Any]) -> list[str]:
    return _model(data, report)


def _gguf(data: memoryview, report: dict[str, Any]) -> list[str]:
    file = containers.gguf(data)
    values, problems = file["values"], []
    report["metadata"] = {k: v for k, v in values.items() if not isinstance(v, list) and k != "tokenizer.chat_template"}
    report["sections"] = [{"name": "tensors", "count": len(file["tensors"]), "size": len(data) - file["data"]}]
    pieces, kinds = _list_of(str, values.get("tokenizer.ggml.tokens")), _list_of(int, values.get("tokenizer.ggml.token_type"))
    places = {piece: i for i, piece in enumerate(pieces)}
    control = {token: places.get(token) for token in (*tokenizer.MARKS, *tokenizer.WIRE_TOKENS)}
    report["tokenizer"] = {"kind": _text(values.get("tokenizer.ggml.model")), "pieces": len(pieces), "control_tokens": control}
    named = {mark: _piece(pieces, values.get(f"tokenizer.ggml.{mark}_token_id")) for mark in ("bos", "eos", "eot", "eom")}
    report["start_token"] = named.pop("bos")
    report["stop_tokens"] = [token for token in named.values() if token]
    report["template"] = _text(values.get("tokenizer.chat_template"))
    missing = [token for token in tokenizer.WIRE_TOKENS if control[token] is None]
    if missing:
        problems.append(f"The vocabulary has no {', '.join(missing)}: calls cannot be read or written.")
    # 3 is CONTROL, 4 USER_DEFINED in llama.cpp; any other type is split like ordinary text
    plain = [t for t in tokenizer.WIRE_TOKENS if control[t] is not None and (kinds[control[t] : control[t] + 1] or [0])[0] not in (3, 4)]
    if plain:
        problems.append(f"{', '.join(plain)} are typed as ordinary text: llama.cpp splits them, and the model reads a prompt it never saw.")
    problems += _tokens(report, (EOS, END_OF_TURN, START_RESPONSE))
    if not report["template"]:
        problems.append("It has no chat template: llama.cpp guesses one.")
    rows = next((shape[1] for name, shape, *_ in file["tensors"] if name == "token_embd.weight" and len(shape) == 2), len(pieces))
    if rows != len(pieces):
        problems.append(f"The vocabulary has {len(pieces)} tokens, the model {rows} rows: llama.cpp refuses it.")
    tensors = [kind for _, shape, kind, _ in file["tensors"] if len(shape) > 1]
    names = {0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 12: "Q4_K", 14: "Q6_K", 30: "BF16"}
    common = max(set(tensors), key=tensors.count) if tensors else None
    context = values.get(f"{values.get('general.architecture')}.context_length")
    report["model"] = {"quantization": names.get(common, f"type {common}"), "cache_length": context}
    return problems


def _list_of(kind: type, value: Any) -> list[Any]:
    """`value` if it is a list of such, else none at all: a file may hold anything under any name."""
    return value if isinstance(value, list) and all(type(one) is kind for one in value) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _piece(pieces: Sequence[str], i: Any) -> str | None:
    return pieces[i] if isinstance(i, int) and 0 <= i < len(pieces) else None


def _token(union: Any, report: dict[str, Any]) -> str:
    """A token of the metadata as text; ids are looked up among the control tokens of the tokenizer."""
    if union.WhichOneof("token_union") == "token_str":
        return union.token_str
    ids = list(union.token_ids.ids)
    known = {i: token for token, i in ((report["tokenizer"] or {}).get("control_tokens") or {}).items()}
    return "".join(known.get(i, f"[{i}]") for i in ids)


def _tokenizer(data: bytes, report: dict[str, Any]) -> list[str]:
    try:
        report["tokenizer"] = tokenizer.describe(data)
    except ExportError as error:
        report["tokenizer"] = {"kind": "unreadable"}
        return [f"{error} The file will not start on any phone."]
    missing = [token for token in tokenizer.WIRE_TOKENS if report["tokenizer"]["control_tokens"][token] is None]
    return [f"The tokenizer has no piece {', '.join(missing)}: calls cannot be read or written."] if missing else []


def _tokens(report: dict[str, Any], wanted: Sequence[str]) -> list[str]:
    """What is wrong with the start and the stops."""
    why = {
        EOS: "a model that ends with it writes on",
        END_OF_TURN: "an answer in words goes on with invented turns",
        START_RESPONSE: "after a call the model invents the function's answer",
    }
    stops = report["stop_tokens"]
    problems = [f"It does not stop at {token}: {why[token]}." for token in wanted if token not in stops]
    if END_CALL in stops:
        problems.insert(0, f"It stops at {END_CALL}: parallel calls will be cut after the first.")
    if report["start_token"] != BOS:
        problems.append(f"It starts with {report['start_token'] or 'nothing'} instead of {BOS}, which the model was trained with.")
    return problems


def _model(data: memoryview | None, report: dict[str, Any]) -> list[str]:
    if data is None:
        return [] if report["format"] == "task" else ["It has no model with prefill and decode: it cannot answer."]
    found = containers.tflite(data)
    prefill, cache = containers.lengths(found["signatures"])
    common = next(iter(found["weights"]), None)
    report["model"] = found | {"prefill_lengths": prefill, "cache_length": cache, "quantization": QUANTIZATION.get(common, common)}
    if not prefill or not any(name.startswith("decode") for name in found["signatures"]):
        return ["The model has no prefill and decode signatures: LiteRT-LM and MediaPipe cannot run it as a language model."]
    shapes = [signature["outputs"]["logits"]["shape"] for signature in found["signatures"].values() if "logits" in signature["outputs"]]
    logits = shapes[0][-1] if shapes and shapes[0] else None
    pieces = (report["tokenizer"] or {}).get("pieces")
    if logits and pieces and pieces > logits:
        return [f"The tokenizer has {pieces} pieces, the model only {logits} rows: some tokens have no meaning for it."]
    return []


def as_text(report: dict[str, Any]) -> str:
    """The report for a terminal: a line a fact, problems last; what could steer a terminal is spelled out."""
    model, tokens = report["model"] or {}, report["tokenizer"] or {}
    lines = [
        f"{Path(report['path']).name}: .{report['format']}, {report['size']:,} bytes",
        f"sha256       {report['sha256'] or 'not computed: the file is too large'}",
        *(f"section      {s['name']}, {s['size']:,} bytes" for s in report["sections"]),
        *(f"metadata     {key}: {value}" for key, value in report["metadata"].items()),
        f"tokenizer    {tokens.get('kind', 'none')}, {tokens.get('pieces', 0):,} pieces",
        f"start        {report['start_token'] or 'none'}",
        f"stops        {' '.join(report['stop_tokens'] or ['none'])}",
        f"template     {len(report['template'] or ''):,} characters",
        f"weights      {model.get('quantization', 'unknown')}",
        f"prefill      {', '.join(map(str, model.get('prefill_lengths') or [])) or 'unknown'} tokens",
        f"cache        {model.get('cache_length') or 'unknown'} tokens",
        *(f"signature    {n}: {len(s['inputs'])} inputs, {len(s['outputs'])} outputs" for n, s in model.get("signatures", {}).items()),
    ]
    problems = report["problems"]
    lines += [f"problem      {problem}" for problem in problems] or ["problems     none found"]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """The line, cut after MAX_LINE characters, without line breaks and escape sequences of a file that somebody else made."""
    shown = line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}... ({len(line):,} characters)"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
