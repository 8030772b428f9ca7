"""Makes a screenshot small: at most 256 colours, which is what a plain page has but for the edges of its letters.

https://www.w3.org/TR/png-3/: eight bits a sample, not interlaced, as browsers write them.
"""

import struct
import zlib
from collections import Counter
from itertools import batched

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {2: 3, 6: 4}  # by colour type: with or without an alpha sample
_PALETTE = 3


def with_palette(image: bytes) -> bytes:
    """The same picture with indexed colours; the rarest become their nearest among the 256 commonest."""
    width, height, samples, data = _read(image)
    pixels = [
        bytes(pixel[:3])
        for line in _lines(data, width * samples, samples)
        for pixel in batched(line, samples, strict=True)
    ]
    palette = [colour for colour, _ in Counter(pixels).most_common(256)]
    index = {colour: position for position, colour in enumerate(palette)}
    for colour in set(pixels) - index.keys():
        index[colour] = min(range(len(palette)), key=lambda at: _distance(palette[at], colour))
    lines = batched((index[pixel] for pixel in pixels), width, strict=True)
    return _SIGNATURE + b"".join(
        _chunk(kind, content)
        for kind, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(b"".join(b"\0" + bytes(line) for line in lines), 9)),
            (b"IEND", b""),
        )
    )


def _read(image: bytes) -> tuple[int, int, int, bytes]:
    """Width, height, samples a pixel, and the filtered lines."""
    width = height = samples = 0
    packed, at = b"", len(_SIGNATURE)
    while at < len(image):
        length, kind = struct.unpack_from(">I4s", image, at)
        content = image[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, _, colour_type, *_ = struct.unpack(">IIBBBBB", content)
            samples = _SAMPLES[colour_type]
        elif kind == b"IDAT":
            packed += content
        at += 12 + length
    return width, height, samples, zlib.decompress(packed)


def _lines(data: bytes, size: int, samples: int) -> list[bytearray]:
    """The lines as they were before they were filtered."""
    lines: list[bytearray] = []
    above = bytearray(size)
    for start in range(0, len(data), size + 1):
        method, line = data[start], bytearray(data[start + 1 : start + 1 + size])
        for at in range(size):
            left, corner = (line[at - samples], above[at - samples]) if at >= samples else (0, 0)
            predicted = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[method]
            line[at] = (line[at] + predicted) & 0xFF
        lines.append(line)
        above = line
    return lines


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
