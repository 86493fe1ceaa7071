"""The directory of a zip archive, read without trusting a byte of it and without unpacking anything.

Python's own zipfile reads a directory of any size into memory before one can ask how large it is. Structures: APPNOTE.TXT of PKWARE,
4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end record). Knows nothing of what the entries are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.errors import ExportError

MAX_ENTRIES = 64
MAX_DIRECTORY = 64 << 10
_END, _FILE, _LOCAL = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_LONGEST_COMMENT = 0xFFFF


@dataclass(frozen=True)
class Entry:
    """`size` is that of the content, `begin` the place of its first byte; what is not `stored` is packed, and its content is elsewhere."""

    name: str
    size: int
    stored: bool
    begin: int
    end: int


def entries(data: memoryview) -> list[Entry]:
    """What the archive says it holds, in the order of its directory. Raises ExportError for one that is damaged, or larger than 4 GB."""
    at, count, length, offset = _end(data)
    if at - length - offset < 0 or count > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise ExportError(f"The archive is damaged: a directory of {count} entries and {length} bytes at {offset} is not plausible.")
    before = at - length - offset  # bytes in front of the archive, which offsets do not count
    found, here = [], at - length
    for number in range(count):
        if here + 46 > at or bytes(data[here : here + 4]) != _FILE:
            raise ExportError(f"The archive is damaged: its directory ends before entry {number + 1} of {count}.")
        flags, method = struct.unpack_from("<HH", data, here + 8)
        packed, size, name, extra, comment = struct.unpack_from("<IIHHH", data, here + 20)
        (local,) = struct.unpack_from("<I", data, here + 42)
        spelled = bytes(data[here + 46 : here + 46 + name])
        found.append(_entry(data, spelled, before + local, packed, size, method == 0 and not flags & 1, at - length))
        here += 46 + name + extra + comment
    for one, following in zip(ordered := sorted(found, key=lambda entry: entry.begin), ordered[1:], strict=False):
        if following.begin < one.end:
            raise ExportError(f"The archive is damaged: its entries {one.name!r} and {following.name!r} lie over each other.")
    if len({entry.name for entry in found}) < len(found):
        raise ExportError("The archive is damaged: two of its entries have the same name.")
    return found


def _end(data: memoryview) -> tuple[int, int, int, int]:
    """Where the end record is, and what it says: entries, bytes of the directory, its offset."""
    tail = bytes(data[-(_LONGEST_COMMENT + 22) :])
    place = tail.rfind(_END, 0, len(tail) - 18)
    if place < 0:
        raise ExportError("The archive is cut short: it has no directory.")
    count, length, offset = struct.unpack_from("<HII", tail, place + 10)
    if offset == 0xFFFFFFFF or length == 0xFFFFFFFF:
        raise ExportError("The archive is larger than 4 GB: no phone could open it.")
    return len(data) - len(tail) + place, count, length, offset


def _entry(data: memoryview, spelled: bytes, local: int, packed: int, size: int, stored: bool, limit: int) -> Entry:
    name = spelled.decode("utf-8", "replace")
    if not 0 <= local <= limit - 30 or bytes(data[local : local + 4]) != _LOCAL:
        raise ExportError(f"Entry {name!r} is not where the archive says: the archive is damaged.")
    length, extra = struct.unpack_from("<HH", data, local + 26)
    begin = local + 30 + length + extra
    if bytes(data[local + 30 : local + 30 + length]) != spelled:
        raise ExportError(f"Entry {name!r} has another name in front of its content: the archive is damaged.")
    if begin + packed > limit or (stored and packed != size):
        raise ExportError(f"Entry {name!r} goes beyond its place, with {max(size, packed)} bytes: the archive is damaged or cut short.")
    return Entry(name, size, stored, begin, begin + packed)
