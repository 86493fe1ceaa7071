"""What lies inside a .litertlm, .task, .tflite or .gguf, read without trusting a byte of it.

Every count and offset is checked against the file before it is followed; nothing is unpacked, no native code sees the file, and models
are looked at in place (mmap). Says what is there, not what is wrong with it: that is
inspect.py.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ExportError

MAX_HEADER = 16 << 20
MAX_METADATA = 8 << 20  # the chat template and a few tokens; FunctionGemma's is 14 kB
MAX_TOKENIZER = 128 << 20  # Gemma's own tokenizer.json has 33 MB, its tokenizer.model 5 MB
MAX_ITEMS = 200_000  # tensors, sections, entries: the 270M shape has some 3,000 tensors
MAX_VOCABULARY = 2_000_000
BROKEN = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError, MemoryError)
"""What the generated flatbuffers code raises when it follows an offset of a damaged file. UnicodeDecodeError is a ValueError."""


def opened(path: Path) -> memoryview:
    """The bytes of a file, mapped, not read. Raises ExportError if it is missing, empty or no file."""
    if not path.is_file():
        raise ExportError(f"{path} is {'a folder' if path.is_dir() else 'missing'}: a .litertlm, .task, .tflite or .gguf file is needed.")
    if not path.stat().st_size:
        raise ExportError(f"{path.name} is empty (0 bytes).")
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed when the last view of it is gone
    except PermissionError as error:
        raise ExportError(f"{path} cannot be opened: {error.strerror}.") from error
    return memoryview(mapped)


@contextmanager
def damage(what: str) -> Iterator[None]:
    """Turns whatever a parser trips over into one sentence."""
    try:
        yield
    except BROKEN as error:
        raise ExportError(f"{what} is damaged and cannot be read ({type(error).__name__}); make or download the file again.") from error


def _count(number: int, limit: int, what: str) -> int:
    if not 0 <= number <= limit:
        raise ExportError(f"{what}: {number} entries are more than such a file can hold ({limit}); it is damaged.")
    return number


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
        for i in range(_count(table.ObjectsLength() if table else 0, 64, "The .litertlm header")):
            section = table.Objects(i)
            begin, end = section.BeginOffset(), section.EndOffset()
            kind = kinds.get(section.DataType(), f"type {section.DataType()}")
            if not header_end <= begin <= end:
                raise ExportError(f"Section {i} ({kind}) of the .litertlm has an impossible place ({begin} to {end}): it is damaged.")
            if end > len(data):
                raise ExportError(f"The .litertlm is cut short: section {i} ({kind}) ends at byte {end}, the file has {len(data)}.")
            sections.append({"type": kind, "begin": begin, "end": end, "items": _pairs(schema, section.Items, section.ItemsLength())})
    return {"version": f"{major}.{minor}.{patch}", "system": entries, "sections": sections}


def _pairs(schema: Any, item: Any, length: int) -> dict[str, Any]:
    found = {}
    names = {number: name for name, number in vars(schema.VData).items() if isinstance(number, int)}
    for i in range(_count(length, 1000, "The .litertlm header")):
        pair = item(i)
        kind, union = names.get(pair.ValueType(), "NONE"), pair.Value()
        value = None
        if union is not None and kind != "NONE":
            typed = getattr(schema, kind)()
            typed.Init(union.Bytes, union.Pos)
            value = typed.Value()
        found[pair.Key().decode()] = value.decode() if isinstance(value, bytes) else value
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


def task(path: Path) -> dict[str, dict[str, Any]]:
    """Each entry of a .task: {"size", "stored", "begin"}; `begin` is the offset of a stored entry's first byte. Raises ExportError."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            _count(len(archive.infolist()), 64, "The .task archive")
            entries = {}
            for info in archive.infolist():
                file.seek(info.header_offset)
                header = file.read(30)
                if len(header) < 30 or header[:4] != b"PK\x03\x04":
                    raise ExportError(f"Entry {info.filename!r} of the .task is not where the archive says: it is damaged.")
                name, extra = struct.unpack_from("<HH", header, 26)
                begin = info.header_offset + 30 + name + extra
                if begin + info.compress_size > size:
                    raise ExportError(f"Entry {info.filename!r} of the .task goes beyond the end of the file: it is cut short.")
                entries[info.filename] = {"size": info.file_size, "stored": info.compress_type == zipfile.ZIP_STORED, "begin": begin}
            return entries
    except (zipfile.BadZipFile, *BROKEN, OSError, NotImplementedError) as error:
        raise ExportError(f"This is no .task file, or it is damaged: {error}.") from error


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
        model = schema.Model.GetRootAs(data, 0)
        graphs = [model.Subgraphs(i) for i in range(_count(model.SubgraphsLength(), 4096, "The model"))]
        signatures = {}
        for i in range(_count(model.SignatureDefsLength(), 256, "The model")):
            signature = model.SignatureDefs(i)
            graph = graphs[signature.SubgraphIndex()]
            signatures[signature.SignatureKey().decode()] = {
                "inputs": _shapes(graph, signature.Inputs, signature.InputsLength(), kinds),
                "outputs": _shapes(graph, signature.Outputs, signature.OutputsLength(), kinds),
            }
        weights, operators, seen = Counter(), 0, set()
        count = Counter()
        for graph in graphs:
            operators += _count(graph.OperatorsLength(), MAX_ITEMS, "The model")
            for i in range(_count(graph.TensorsLength(), MAX_ITEMS, "The model")):
                tensor = graph.Tensors(i)
                buffer = model.Buffers(tensor.Buffer())
                size = buffer.DataLength() or buffer.Size()
                if size >= 64 and tensor.Buffer() not in seen:  # less is a shape or a constant
                    seen.add(tensor.Buffer())
                    kind = kinds.get(tensor.Type(), "unknown")
                    weights[kind] += size
                    count[kind] += 1
        description = (model.Description() or b"").decode()
    return {
        "signatures": signatures,
        "weights": {kind: {"tensors": count[kind], "bytes": size} for kind, size in weights.most_common()},
        "operators": operators,
        "description": description,
    }


def _shapes(graph: Any, item: Any, length: int, kinds: dict[int, str]) -> dict[str, Any]:
    found = {}
    for i in range(_count(length, 4096, "A signature")):
        entry = item(i)
        tensor = graph.Tensors(entry.TensorIndex())
        shape = [int(tensor.Shape(d)) for d in range(_count(tensor.ShapeLength(), 16, "A shape"))]
        found[entry.Name().decode()] = {"shape": shape, "type": kinds.get(tensor.Type(), "unknown")}
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


def gguf(data: memoryview) -> dict[str, Any]:
    """{"version", "values": {key: value}, "tensors": [(name, shape, type number)], "data": offset of the tensors}. Raises ExportError."""
    if len(data) < 24 or bytes(data[:4]) != b"GGUF":
        raise ExportError("This is no .gguf file: it does not begin with GGUF.")
    version, tensors, pairs = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ExportError(f"The .gguf has version {version}; versions 2 and 3 are known.")
    _count(tensors, MAX_ITEMS, "The .gguf")
    _count(pairs, 10_000, "The .gguf")
    with damage("The .gguf"):
        at, values, shapes = 24, {}, []
        for _ in range(pairs):
            key, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            values[key], at = _value(data, at + 4, kind)
        for _ in range(tensors):
            name, at = _text(data, at)
            (rank,) = struct.unpack_from("<I", data, at)
            _count(rank, 8, "A tensor of the .gguf")
            shape = struct.unpack_from(f"<{rank}Q", data, at + 4)
            kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * rank)
            shapes.append((name, shape, kind, offset))
            at += 16 + 8 * rank
        align = values.get("general.alignment", 32)
        start = -(-at // align) * align
    return {"version": version, "values": values, "tensors": shapes, "data": start}


def _text(data: memoryview, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    if at + 8 + length > len(data):
        raise ExportError(f"The .gguf is cut short or damaged: a text at byte {at} would go beyond its end.")
    return bytes(data[at + 8 : at + 8 + length]).decode("utf-8", "replace"), at + 8 + length


def _value(data: memoryview, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _text(data, at)
    if kind in _SCALARS:
        return struct.unpack_from("<" + _SCALARS[kind], data, at)[0], at + struct.calcsize("<" + _SCALARS[kind])
    if kind != _ARRAY:
        raise ExportError(f"The .gguf is damaged: a value of the unknown type {kind} at byte {at}.")
    inner, length = struct.unpack_from("<IQ", data, at)
    at += 12
    _count(length, MAX_VOCABULARY, "A list of the .gguf")
    if inner in _SCALARS:
        size = struct.calcsize("<" + _SCALARS[inner])
        return list(struct.unpack_from(f"<{length}{_SCALARS[inner]}", data, at)), at + size * length
    if inner != _STRING:
        raise ExportError("The .gguf is damaged: a list of lists.")
    texts = []
    for _ in range(length):
        text, at = _text(data, at)
        texts.append(text)
    return texts, at
