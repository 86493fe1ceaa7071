"""No damage of a file, and no malice, makes inspection say anything but a report or a sentence, soon and in little memory."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ExportError, PipelineError
from pipeline.export import apart, containers
from pipeline.export.inspect import as_text, inspect
from tests import export_files
from tests.export_files import KINDS, gguf_bytes, whole_file

fuzz = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(path: Path, must_fail: bool = False) -> None:
    try:
        report = inspect(path)
    except PipelineError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert not must_fail
        assert as_text(report) and json.dumps(report)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {kind: whole_file(kind, folder).read_bytes() for kind in KINDS}


# Not a file, not of a kind


@pytest.mark.parametrize("name", ["a.litertlm", "a.task", "a.tflite", "a.gguf", "a", "a.txt"])
def test_random_bytes_are_a_sentence(tmp_path, name):
    for size in (0, 1, 7, 31, 5000):
        (tmp_path / name).write_bytes(random.Random(size).randbytes(size))
        with pytest.raises(PipelineError):
            inspect(tmp_path / name)


def test_what_is_no_file_is_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.task")
    (tmp_path / "loop.task").symlink_to(tmp_path / "loop.task")
    (tmp_path / "nowhere.task").symlink_to(tmp_path / "gone")
    (tmp_path / "device.task").symlink_to("/dev/zero")
    for name, sentence in (
        ("none.task", "is missing"), ("", "is a folder"), ("pipe.task", "is no file"), ("loop.task", "is missing|cannot be opened"),
        ("nowhere.task", "is missing"), ("device.task", "is no file"), ("x" * 300, "cannot be opened: File name too long"), ("a\0b", "a.b"),
    ):  # fmt: skip
        with pytest.raises(ExportError, match=sentence):
            inspect(tmp_path / name)


def test_a_link_is_followed(tmp_path, whole):
    (tmp_path / "real").write_bytes(whole["task"])
    (tmp_path / "link.task").symlink_to(tmp_path / "real")
    assert inspect(tmp_path / "link.task")["problems"] == []


# Damaged


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_a_sentence(kind, whole, tmp_path):
    """Only behind the last content of a .tflite, where there are some bytes of padding, is nothing missing."""
    data, file = whole[kind], tmp_path / f"cut.{kind}"
    draw = random.Random(1)
    for end in [*range(1, 64), *(draw.randrange(64, len(data)) for _ in range(60)), len(data) - 1]:
        file.write_bytes(data[:end])
        survives(file, must_fail=kind != "tflite" or end < len(data) - 400)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_other_bytes_in_it_is_a_report_or_a_sentence(kind, whole, tmp_path):
    data, file = whole[kind], tmp_path / f"broken.{kind}"
    near = [i for i in range(len(data)) if i < 2500 or i > len(data) - 600]

    @fuzz
    @given(st.lists(st.tuples(st.sampled_from(near), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
    def check(changes):
        broken = bytearray(data)
        for at, written in changes:
            broken[at : at + len(written)] = written
        file.write_bytes(broken)
        survives(file)

    check()


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 70) | st.booleans() | st.floats()
VALUES = st.text(max_size=20) | NUMBERS | st.lists(st.text(max_size=8), max_size=60) | st.lists(st.integers(-9, 90), max_size=60)
KEYS = (
    "general.architecture", "general.alignment", "tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.chat_template",
    "gemma3.context_length",
)  # fmt: skip


@fuzz
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), VALUES, max_size=9), st.integers(0, 40), st.integers(0, 9))
def test_a_gguf_may_hold_anything_under_any_name(tmp_path, values, kind, rows):
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(values, [("token_embd.weight", (rows, rows), kind)]))
    survives(tmp_path / "a.gguf")


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL", "METADATA"]) | st.text(max_size=9), st.binary(max_size=200), st.booleans()
    ),
    max_size=70,
)


@fuzz
@given(ENTRIES, st.binary(max_size=4))
def test_a_task_may_hold_anything_under_any_name(tmp_path, entries, before):
    with open(tmp_path / "a.task", "wb") as stream:
        stream.write(before)
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content, packed in entries:
                if name and "\0" not in name and name not in archive.namelist():
                    archive.writestr(name, content, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
    survives(tmp_path / "a.task")


# Made to take long, to take much, or to mislead


def zip_with(**changes: Any) -> bytes:
    """An archive of two stored entries, METADATA and B, of which the first one's records say what `changes` say."""
    says = {"size": 4, "packed": 4, "local": 0, "name": b"METADATA", "method": 0, "flags": 0, "count": 2} | changes
    out, directory = b"", b""
    for name in (b"METADATA", b"B"):
        mine = says if name == b"METADATA" else {"size": 4, "packed": 4, "local": len(out), "name": name, "method": 0, "flags": 0}
        place = len(out)
        out += b"PK\x03\x04" + struct.pack("<5H3L2H", 20, mine["flags"], mine["method"], 0, 0, 0, 4, 4, len(name), 0) + name + b"abcd"
        head = struct.pack("<6H3L", 20, 20, mine["flags"], mine["method"], 0, 0, 0, mine["packed"], mine["size"])
        rest = struct.pack("<5H2L", len(mine["name"]), 0, 0, 0, 0, 0, mine["local"] if mine is says else place)
        directory += b"PK\x01\x02" + head + rest + mine["name"]
    return out + directory + b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 2, says["count"], len(directory), len(out), 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 400, "packed": 400}, "goes beyond its place"),
        ({"size": 2**31, "packed": 4}, "goes beyond its place, with 2147483648 bytes"),
        ({"local": 5}, "is not where the archive says"),
        ({"local": 2**31}, "is not where the archive says"),
        ({"name": b"METADATB"}, "has another name in front of its content"),
        ({"size": 38, "packed": 38}, "lie over each other"),
        ({"count": 3}, "its directory ends before entry 3 of 3"),
        ({"count": 60_000}, "60000 entries .* not plausible"),
    ],
)
def test_an_archive_that_lies_is_a_sentence(tmp_path, changes, sentence):
    (tmp_path / "a.task").write_bytes(zip_with())
    assert list(containers.task(containers.opened(tmp_path / "a.task"))) == ["METADATA", "B"]
    (tmp_path / "a.task").write_bytes(zip_with(**changes))
    with pytest.raises(ExportError, match=sentence):
        inspect(tmp_path / "a.task")


def test_an_encrypted_entry_is_not_read(tmp_path):
    (tmp_path / "a.task").write_bytes(zip_with(flags=1))
    assert any("METADATA is compressed" in problem for problem in inspect(tmp_path / "a.task")["problems"])


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = tmp_path / "bomb.task"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        with archive.open("TOKENIZER_MODEL", "w") as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
    found = inspect(bomb)
    assert found["sections"] == [{"name": "TOKENIZER_MODEL", "size": 100 << 20, "stored": False}]
    assert any("is compressed" in problem for problem in found["problems"])


@pytest.mark.parametrize("at", [8, 16])
def test_absurd_counts_are_not_followed(tmp_path, at):
    data = bytearray(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    struct.pack_into("<Q", data, at, 2**60)
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(ExportError, match="more than such a file can hold"):
        inspect(tmp_path / "a.gguf")


def large(path: Path, head: bytes, size: int) -> None:
    """A file of `size` bytes that takes no room on the disk: `head`, then nothing."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def same_again(path: Path, what: str) -> None:
    """A .tflite whose lists name the same graph, tensor or signature again and again."""
    builder = flatbuffers.Builder(1024)
    name = builder.CreateString("n" * (1 << 20 if what == "names" else 3))
    shape = builder.CreateNumpyVector(np.ones(3, "int32"))
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, shape, 0)
    tensor = builder.EndObject()

    def many(place: int, number: int) -> int:
        builder.StartVector(4, number, 4)
        for _ in range(number):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()

    tensors = many(tensor, 150_000 if what == "tensors" else 1)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    graphs = many(builder.EndObject(), 4000)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    inputs = many(builder.EndObject(), 4000)
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, inputs, 0)
    builder.PrependUOffsetTRelativeSlot(2, name, 0)
    signatures = many(builder.EndObject(), 60)
    builder.StartObject(3)
    buffers = many(builder.EndObject(), 1)
    builder.StartObject(8)
    for slot, field in ((2, graphs), (4, buffers), (7, signatures if what != "tensors" else 0)):
        builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def with_tokenizer(folder: Path, tokenizer: bytes) -> Path:
    inside = export_files.parts(folder)
    inside["tokenizer"].write_bytes(tokenizer)
    return export_files.litertlm_file(folder / "a.litertlm", inside)


def metadata_of(folder: Path, metadata: bytes) -> Path:
    with zipfile.ZipFile(folder / "a.task", "w") as archive:
        archive.writestr("METADATA", metadata)
    return folder / "a.task"


def gguf_lists(path: Path, inner: int, length: int, lists: int) -> None:
    """A .gguf of `lists` lists of `length` values of type `inner`, all zero; a zero of type 8 is an empty text."""
    size = {0: 1, 8: 8, 10: 8}[inner]
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, lists))
        for number in range(lists):
            file.write(export_files.text(f"k{number}") + struct.pack("<IIQ", 9, inner, length))
            file.seek(size * length, 1)
        file.truncate()


def make_bomb(kind: str, folder: Path) -> Path:
    """A file that would take minutes, or gigabytes, if it were believed."""
    path = folder / f"a.{kind.split('-')[0]}"
    match kind:
        case "gguf-sparse":
            large(path, gguf_bytes({}), 40 << 30)
        case "gguf-numbers":
            gguf_lists(path, 10, 900_000, 500)
        case "gguf-texts":
            gguf_lists(path, 8, 900_000, 50)
        case "gguf-bytes":
            gguf_lists(path, 0, 1_000_000, 9000)
        case "gguf-long":
            with open(path, "wb") as file:
                file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + export_files.text("k") + struct.pack("<IQ", 8, 3 << 30))
                file.truncate(4 << 30)
        case "litertlm-sparse":
            large(path, b"LITERTLM" + struct.pack("<IIIIQ", 1, 7, 0, 0, 30 << 30), 40 << 30)
        case "litertlm-pieces":
            return with_tokenizer(folder, b"\x0a\x00" * (6 << 20))
        case "litertlm-nested":
            return with_tokenizer(folder, b"\x0a\x80\x80\x01" * (1 << 20))
        case "litertlm-large":
            return with_tokenizer(folder, bytes(17 << 20))
        case "task-sparse":
            large(path, b"PK\x03\x04", 40 << 30)
        case "task-directory":
            entry = b"PK\x01\x02" + bytes(42)
            end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, len(entry) * 2_000_000, 8, 0)
            path.write_bytes(b"PK\x03\x04" + bytes(4) + entry * 2_000_000 + end)
        case "task-stops":
            return metadata_of(folder, b"\x2a\x00" * (1 << 19))
        case "tflite-sparse":
            large(path, struct.pack("<I", 16) + b"TFL3", 40 << 30)
        case _:
            same_again(path, kind.split("-")[1])
    return path


BOMBS = (
    "gguf-sparse", "gguf-numbers", "gguf-texts", "gguf-bytes", "gguf-long", "litertlm-sparse", "litertlm-pieces", "litertlm-nested",
    "litertlm-large", "task-sparse", "task-directory", "task-stops", "tflite-sparse", "tflite-tensors", "tflite-signatures", "tflite-names",
)  # fmt: skip
MEASURED = """
import resource, sys, time
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.export.inspect import as_text, inspect
import ai_edge_litert.schema_py_generated, litert_lm_builder.runtime.proto.llm_metadata_pb2, google.protobuf.unknown_fields
import litert_lm_builder.litertlm_header_schema_py_generated, sentencepiece.sentencepiece_model_pb2
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    said = as_text(inspect(Path(sys.argv[1])))
except PipelineError as error:
    said = str(error)
print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, said[:200].replace("\\n", " "))
"""


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_made_to_take_long_or_much_takes_neither(kind, tmp_path, root):
    """Most need milliseconds, the slowest under a second of computing; `apart` would end it after 20. And under 500 MB."""
    path = make_bomb(kind, tmp_path)
    ran = subprocess.run([sys.executable, "-c", MEASURED, str(path)], cwd=root, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    seconds, megabytes, said = ran.stdout.split(" ", 2)
    assert float(seconds) < apart.SECONDS / 2 and float(megabytes) < 500, ran.stdout
    assert said.strip()


# Apart


def test_a_strangers_file_is_read_in_a_process_of_its_own(tmp_path, whole):
    (tmp_path / "a.task").write_bytes(whole["task"])
    assert apart.inspect(tmp_path / "a.task") == inspect(tmp_path / "a.task")
    (tmp_path / "a.task").write_bytes(b"nothing of the kind")
    with pytest.raises(ExportError, match="This is none of .litertlm, .task, .tflite and .gguf"):
        apart.inspect(tmp_path / "a.task")


@pytest.mark.parametrize(
    ("reads", "sentence"),
    [("bytearray(2 << 30)", "takes more than 1024 MB to read"), ("[0 for _ in iter(int, 1)]", "takes more than 1 seconds to read")],
)
def test_its_limits_hold_whatever_the_reader_does(root, reads, sentence):
    code = (
        "import sys\nfrom pipeline.errors import ExportError\nfrom pipeline.export import apart\nimport pipeline.export.inspect\n"
        f"sys.modules['pipeline.export.inspect'].inspect = lambda path: {reads}\napart.SECONDS = 1\n"
        "try:\n    apart.work({'path': 'a'}, None)\nexcept ExportError as error:\n    print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=240)
    assert sentence in ran.stdout, ran.stderr
