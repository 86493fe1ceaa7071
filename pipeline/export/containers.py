"""What lies inside a .litertlm, .task, .tflite or .gguf, read without trusting a byte of it.

Every count and offset is checked against the file before it is followed, and counts add up against a limit for the whole file, because
entries may point at the same bytes again and again. Nothing is unpacked, models are looked at in place (mmap). Says what is there, not
what is wrong with it: that is inspect.py. The zip of a .task is read by archive.py.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError
from pipeline.export import archive

MAX_HEADER = 256 << 10  # ours have 700 bytes
MAX_METADATA = 1 << 20  # the chat template and a few tokens; FunctionGemma's is 14 kB
MAX_TOKENIZER = 12 << 20  # Gemma's own has 5 MB
MAX_ITEMS = 100_000  # tensors of all graphs: the 270M shape has some 3,000
MAX_PARAMETERS = 10_000  # of all signatures: the 270M shape has 115
MAX_VOCABULARY = 1_000_000
MAX_TEXT = 8 << 20  # of a .gguf's values: the longest is a chat template
MAX_VALUES = 2_000_000  # numbers and texts in all lists of a .gguf: Gemma's vocabulary takes 3 x 262,144
BROKEN = (struct.error, IndexError, ValueError, TypeError, AttributeError, ArithmeticError, KeyError, MemoryError, RecursionError)
"""What the generated flatbuffers code raises when it follows an offset of a damaged file. UnicodeDecodeError is a ValueError."""


def opened(path: Path) -> memoryview:
    """The bytes of a file, mapped, not read. Raises ExportError if it is missing, empty or no file."""
    try:
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no file" if path.exists() else "missing"
            raise ExportError(f"{path} is {kind}: a .litertlm, .task, .tflite or .gguf file is needed.")
        if not path.stat().st_size:
            raise ExportError(f"{path.name} is empty (0 bytes).")
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed when the last view of it is gone
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte, or a file that was emptied meanwhile
        raise ExportError(f"{str(path)[:200]!r} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    return memoryview(mapped)


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turns whatever a parser trips over into one sentence."""
    try:
        yield
    except BROKEN as error:
        raise ExportError(f"{what} is damaged and cannot be read ({type(error).__name__}); make or download the file again.") from error


def small(size: int, limit: int, what: str) -> None:
    """Raises ExportError if a part of the file claims more bytes than such a part ever has."""
    if size > limit:
        raise ExportError(f"{what} has {size} bytes, more than {limit} is not plausible: the file is damaged.")


def at_most(number: int, limit: int, what: str) -> int:
    """`number`, if a file can hold so many of something. Raises ExportError."""
    if not 0 <= number <= limit:
        raise ExportError(f"{what}: {number} entries are more than such a file can hold ({limit}); it is damaged.")
    return number


def _name(table: Any, slot: int, limit: int = 1000) -> str:
    """The text in a field of a flatbuffers table, "" where there is none; `slot` is the offset in its vtable, 4 for the first field."""
    tab = table._tab
    offset = tab.Offset(slot)
    if not offset:
        return ""
    at_most(tab.VectorLen(offset), limit, "A name")
    return tab.String(offset + tab.Pos).decode()


# .litertlm: magic, version, header (flatbuffers) with the sections' places, sections on 16 KiB blocks


def litertlm(data: memoryview) -> dict[str, Any]:
    """{"version", "system", "sections": [{"type", "begin", "end", "items"}]}. Raises ExportError."""
    from litert_lm_builder import litertlm_header_schema_py_generated as schema

    if len(data) < 32 or bytes(data[:8]) != b"LITERTLM":
        raise ExportError("This is no .litertlm file: it does not begin with LITERTLM.")
    major, minor, patch = struct.unpack_from("<III", data, 8)
    (header_end,) = struct.unpack_from("<Q", data, 24)
    if not 32 < header_end <= min(len(data), MAX_HEADER):
        raise ExportError(f"The .litertlm header should end at byte {header_end}, the file has {len(data)}: it is damaged or cut short.")
    kinds = {number: name for name, number in vars(schema.AnySectionDataType).items() if isinstance(number, int)}
    sections = []
    with damage("The .litertlm header"):
        root = schema.LiteRTLMMetaData.GetRootAs(bytes(data[32:header_end]), 0)
        system = root.SystemMetadata()
        entries = _pairs(schema, system.Entries, system.EntriesLength()) if system else {}
        table = root.SectionMetadata()
        for i in range(at_most(table.ObjectsLength() if table else 0, 64, "The .litertlm header")):
            section = table.Objects(i)
            begin, end = section.BeginOffset(), section.EndOffset()
            kind = kinds.get(section.DataType(), f"type {section.DataType()}")
            if not header_end <= begin <= end:
                raise ExportError(f"Section {i} ({kind}) of the .litertlm has an impossible place ({begin} to {end}): it is damaged.")
            if end > len(data):
                raise ExportError(f"The .litertlm is cut short: section {i} ({kind}) ends at byte {end}, the file has {len(data)}.")
            sections.append({"type": kind, "begin": begin, "end": end, "items": _pairs(schema, section.Items, section.ItemsLength())})
    places = sorted((one["begin"], one["end"]) for one in sections)
    if any(end > begin for (_, end), (begin, _) in zip(places, places[1:], strict=False)):
        raise ExportError("Two sections of the .litertlm lie over each other: it is damaged.")
    return {"version": f"{major}.{minor}.{patch}", "system": entries, "sections": sections}


def _pairs(schema: Any, item: Any, length: int) -> dict[str, Any]:
    found = {}
    names = {number: name for name, number in vars(schema.VData).items() if isinstance(number, int)}
    for i in range(at_most(length, 100, "The .litertlm header")):
        pair = item(i)
        kind, union = names.get(pair.ValueType(), "NONE"), pair.Value()
        value = None
        if union is not None and kind != "NONE":
            typed = getattr(schema, kind)()
            typed.Init(union.Bytes, union.Pos)
            value = _name(typed, 4, 10_000) if kind == "StringValue" else typed.Value()
        found[_name(pair, 4)] = value
    return found


def llm_metadata(data: bytes) -> Any:
    """The LlmMetadata message of a .litertlm section. Raises ExportError."""
    from google.protobuf.message import DecodeError
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    message = llm_metadata_pb2.LlmMetadata()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ExportError("The metadata section of the .litertlm cannot be parsed; make or download the file again.") from error
    return message


# .task: a zip of stored entries, so that they can be mapped


def task(data: memoryview) -> dict[str, archive.Entry]:
    """The entries of a .task by name. Raises ExportError."""
    with damage("The .task archive"):
        return {entry.name: entry for entry in archive.entries(data)}


def sentencepiece(path: Path) -> bytes:
    """The SentencePiece model inside a .litertlm or .task. Raises ExportError if there is none."""
    data = opened(path)
    if bytes(data[:8]) == b"LITERTLM":
        places = [(one["begin"], one["end"]) for one in litertlm(data)["sections"] if one["type"] == "SP_Tokenizer"]
    else:
        places = [(one.begin, one.end) for name, one in task(data).items() if name == "TOKENIZER_MODEL" and one.stored]
    if not places:
        raise ExportError(f"{path.name} holds no SentencePiece tokenizer.")
    begin, end = places[0]
    small(end - begin, MAX_TOKENIZER, "The tokenizer")
    return bytes(data[begin:end])


def protobuf_fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a message whose description nobody ships, in order. Raises ExportError."""
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet

    message = Empty()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ExportError("The METADATA entry of the .task cannot be parsed; make or download the file again.") from error
    return [(field.field_number, field.data) for field in UnknownFieldSet(message)]


# .tflite: flatbuffers


def tflite(data: memoryview) -> dict[str, Any]:
    """{"signatures": {name: {"inputs", "outputs"}} of shapes, "weights": {type: {"tensors", "bytes"}}, "operators", "description"}."""
    import ai_edge_litert.schema_py_generated as schema

    if len(data) < 16 or bytes(data[4:8]) != b"TFL3":
        raise ExportError("The model is no .tflite: it does not carry the mark TFL3.")
    kinds = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    with damage("The .tflite model"):
        left, parameters = Left(MAX_ITEMS), Left(MAX_PARAMETERS)
        model = schema.Model.GetRootAs(data, 0)
        graphs = [model.Subgraphs(i) for i in range(left.take(model.SubgraphsLength()))]
        signatures = {}
        for i in range(at_most(model.SignatureDefsLength(), 64, "The model")):
            signature = model.SignatureDefs(i)
            graph = graphs[signature.SubgraphIndex()]
            signatures[_name(signature, 8)] = {
                "inputs": _shapes(graph, signature.Inputs, parameters.take(signature.InputsLength()), kinds),
                "outputs": _shapes(graph, signature.Outputs, parameters.take(signature.OutputsLength()), kinds),
            }
        weights, operators, seen = Counter(), 0, set()
        count = Counter()
        for graph in graphs:
            operators += at_most(graph.OperatorsLength(), MAX_ITEMS, "The model")
            for i in range(left.take(graph.TensorsLength())):
                tensor = graph.Tensors(i)
                if tensor.Buffer() in seen:
                    continue
                seen.add(tensor.Buffer())
                begin, size = _place(model.Buffers(tensor.Buffer()))
                if begin + size > len(data):
                    raise ExportError(f"The model is cut short: a weight ends at byte {begin + size}, the model has {len(data)}.")
                if size >= 64:  # less is a shape or a constant
                    kind = kinds.get(tensor.Type(), "unknown")
                    weights[kind] += size
                    count[kind] += 1
        description = _name(model, 10)
    return {
        "signatures": signatures,
        "weights": {kind: {"tensors": count[kind], "bytes": size} for kind, size in weights.most_common()},
        "operators": operators,
        "description": description,
    }


class Left:
    """How many more items of a file will be looked at: the same one may be listed any number of times."""

    def __init__(self, limit: int):
        self._limit = self._left = limit

    def take(self, number: int) -> int:
        """`number`, if so many are left. Raises ExportError."""
        if not 0 <= number <= self._left:
            raise ExportError(f"The file lists more than {self._limit} items of a kind: it is damaged, or made to take long.")
        self._left -= number
        return number


def _place(buffer: Any) -> tuple[int, int]:
    """Where the bytes of a buffer begin, and how many there are: within the flatbuffer, or behind it where that is larger than 2 GB."""
    offset = buffer._tab.Offset(4)
    if offset and (length := buffer._tab.VectorLen(offset)):
        return buffer._tab.Vector(offset), length
    return buffer.Offset(), buffer.Size()


def _shapes(graph: Any, item: Any, length: int, kinds: dict[int, str]) -> dict[str, Any]:
    found = {}
    for i in range(length):
        entry = item(i)
        tensor = graph.Tensors(entry.TensorIndex())
        shape = [int(tensor.Shape(d)) for d in range(at_most(tensor.ShapeLength(), 8, "A shape"))]
        found[_name(entry, 4)] = {"shape": shape, "type": kinds.get(tensor.Type(), "unknown")}
    return found


def lengths(signatures: dict[str, Any]) -> tuple[list[int], int | None]:
    """Prefill lengths and the cache length, in tokens, from the shapes of a model's signatures."""
    prefill, cache = [], None
    for name, signature in signatures.items():
        inputs = signature["inputs"]
        if name.startswith("prefill") and (shape := inputs.get("tokens", {}).get("shape")):
            prefill.append(shape[-1])
        mask = inputs.get("mask") or next((tensor for key, tensor in inputs.items() if key.startswith("kv_cache_k")), None)
        if mask and mask["shape"]:
            cache = max(cache or 0, mask["shape"][-1] if "mask" in inputs else max(mask["shape"]))
    return sorted(prefill), cache


# .gguf: key-value pairs, then tensors (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
    13: (256, 176), 14: (256, 210), 15: (256, 292), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip
"""Type of a tensor -> (numbers in a block, bytes of it), from gguf.constants.GGML_QUANT_SIZES; others are not measured."""


def gguf(data: memoryview) -> dict[str, Any]:
    """{"version", "values": {key: value}, "tensors": [(name, shape, type number, offset)], "data": their offset}. Raises ExportError."""
    if len(data) < 24 or bytes(data[:4]) != b"GGUF":
        raise ExportError("This is no .gguf file: it does not begin with GGUF.")
    version, tensors, pairs = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ExportError(f"The .gguf has version {version}; versions 2 and 3 are known.")
    at_most(tensors, MAX_ITEMS, "The .gguf")
    at_most(pairs, 10_000, "The .gguf")
    with damage("The .gguf"):
        at, values, shapes, left = 24, {}, [], Left(MAX_VALUES)
        for _ in range(pairs):
            key, at = _text(data, at, 65_535)
            (kind,) = struct.unpack_from("<I", data, at)
            values[key], at = _value(data, at + 4, kind, left)
        for _ in range(tensors):
            name, at = _text(data, at, 65_535)
            (rank,) = struct.unpack_from("<I", data, at)
            at_most(rank, 8, "A tensor of the .gguf")
            shape = struct.unpack_from(f"<{rank}Q", data, at + 4)
            kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * rank)
            shapes.append((name, shape, kind, offset))
            at += 16 + 8 * rank
        align = values.get("general.alignment", 32)
        if not isinstance(align, int) or not 0 < align <= 1 << 20:
            raise ExportError(f"The .gguf is damaged: its tensors cannot be aligned to {str(align)[:40]} bytes.")
        start = -(-at // align) * align
    for name, shape, kind, offset in shapes:
        numbers, size = BLOCKS.get(kind, (1, 0))
        if (end := start + offset + math.prod(shape) // numbers * size) > len(data):
            raise ExportError(f"The .gguf is cut short: tensor {name[:80]!r} ends at byte {end}, the file has {len(data)}.")
    return {"version": version, "values": values, "tensors": shapes, "data": start}


def _text(data: memoryview, at: int, limit: int = MAX_TEXT) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    if length > limit or at + 8 + length > len(data):
        raise ExportError(f"The .gguf is cut short or damaged: a text of {length} bytes at byte {at}.")
    return bytes(data[at + 8 : at + 8 + length]).decode("utf-8", "replace"), at + 8 + length


def _value(data: memoryview, at: int, kind: int, left: Left) -> tuple[Any, int]:
    if kind == _STRING:
        text, end = _text(data, at)
        left.take(len(text) // 8)  # so that many long ones are too many as well
        return text, end
    if kind in _SCALARS:
        return struct.unpack_from("<" + _SCALARS[kind], data, at)[0], at + struct.calcsize("<" + _SCALARS[kind])
    if kind != _ARRAY:
        raise ExportError(f"The .gguf is damaged: a value of the unknown type {kind} at byte {at}.")
    inner, length = struct.unpack_from("<IQ", data, at)
    at += 12
    left.take(at_most(length, MAX_VOCABULARY, "A list of the .gguf"))
    if inner in _SCALARS:
        size = struct.calcsize("<" + _SCALARS[inner])
        return list(struct.unpack_from(f"<{length}{_SCALARS[inner]}", data, at)), at + size * length
    if inner != _STRING:
        raise ExportError("The .gguf is damaged: a list of lists.")
    texts = []
    for _ in range(length):
        text, at = _text(data, at, 65_535)
        left.take(len(text) // 8)
        texts.append(text)
    return texts, at
