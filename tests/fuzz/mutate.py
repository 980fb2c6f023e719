"""Damage bytes in the ways that disks, networks and hostile people do, the same way for the same seed."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_WRITTEN = (
    "0",
    "-1",
    "1",
    "0.5",
    "1e999",
    "NaN",
    "null",
    "[]",
    "{}",
    '""',
    "true",
    "99999999999999999999",
    "2147483648",
)
_MOST_STEPS = 4

Step = Callable[[bytes, random.Random, bytes], bytes]


def mutated(data: bytes, rng: random.Random, other: bytes = b"") -> tuple[bytes, str]:
    """`data` after one to four random steps of damage, never the same bytes again, and the names of the steps.

    other: a second good input, of which parts are spliced in.
    """
    names: list[str] = []
    changed = data
    while changed == data or (len(names) < _MOST_STEPS and rng.random() < 0.35):
        step = rng.choice(STEPS)
        changed = step(changed, rng, other or data)
        names.append(step.__name__.strip("_"))
    return changed, "+".join(names[-_MOST_STEPS:])


def _flip_bits(data: bytes, rng: random.Random, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(2 ** rng.randrange(7) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _random_bytes(data: bytes, rng: random.Random, other: bytes) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + rng.randbytes(end - begin) + data[end:]


def _zeros(data: bytes, rng: random.Random, other: bytes) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + bytes(end - begin) + data[end:]


def _insert(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(2 ** rng.randrange(10)) + data[at:]


def _truncate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.choice((0, 1, len(data) - 1, rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))]


def _drop_block(data: bytes, rng: random.Random, other: bytes) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + data[end:]


def _double_block(data: bytes, rng: random.Random, other: bytes) -> bytes:
    begin, end = _span(data, rng)
    return data[:end] + data[begin:end] + data[end:]


def _swap_blocks(data: bytes, rng: random.Random, other: bytes) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(data) + 1) for _ in range(4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _edit_number(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """What may be a length, a size or an offset becomes a telling number: in the first bytes, where headers are, or
    anywhere."""
    if len(data) < 8:
        return data
    width, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    number = rng.choice((*_NUMBERS, len(data), len(data) - 1, 2 * len(data))) % 2 ** (8 * width)
    at = rng.randrange(min(len(data), rng.choice((64, 1024, len(data)))) - width + 1) if len(data) > width else 0
    return data[:at] + struct.pack(order + " BH I   Q"[width], number) + data[at + width :]


def _edit_written_number(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """The same for numbers that are written in digits, as in JSON, YAML and tar headers."""
    places = [match.span() for match in re.finditer(rb"\d+(\.\d+)?", data[: 2**20])]
    if not places:
        return data
    begin, end = rng.choice(places)
    nearby = str(int(float(data[begin:end]) % 2**53) + rng.choice((-1, 1, 512)))
    return data[:begin] + rng.choice((*_WRITTEN, nearby, nearby)).encode() + data[end:]


def _splice(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _paste(data: bytes, rng: random.Random, other: bytes) -> bytes:
    begin, end = _span(other, rng)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[begin:end] + data[at + end - begin :]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    """A random part: often short, now and then most of it."""
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + 2 ** rng.randrange(max(1, len(data).bit_length())))


STEPS: tuple[Step, ...] = (
    _flip_bits,
    _flip_bits,
    _random_bytes,
    _zeros,
    _insert,
    _truncate,
    _drop_block,
    _double_block,
    _swap_blocks,
    _edit_number,
    _edit_number,
    _edit_written_number,
    _splice,
    _paste,
)
