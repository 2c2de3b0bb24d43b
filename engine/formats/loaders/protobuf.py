"""The wire format of protocol buffers, enough to walk a message field by field without a library.

Source: the encoding guide of Protocol Buffers (varints of seven bits a byte; tag = field number << 3 | wire type).
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message; the text says where."""


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, content) in order; a varint's content is its bytes. Raises Malformed."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind, start = tag & 7, place
        if kind == VARINT:
            _, place = _varint(data, place)
        elif kind in (FIXED64, FIXED32):
            place += 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            length, start = _varint(data, place)
            place = start + length
        else:
            raise Malformed(f"a field of unknown kind at byte {start}")
        if place > len(data):
            raise Malformed(f"a field is longer than the message at byte {start}")
        yield tag >> 3, data[start:place]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise Malformed("the message ends within a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    raise Malformed(f"a number of more than 64 bits at byte {place}")
