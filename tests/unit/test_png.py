"""Screenshots made small are the same pictures."""

import struct
import zlib

import pytest

from scripts.png import with_palette

WIDTH = 4


def predicted(method: int, left: int, above: int, corner: int) -> int:
    """https://www.w3.org/TR/png-3/#9Filters, as it stands there."""
    if method == 3:
        return (left + above) // 2
    if method == 4:
        p = left + above - corner
        pa, pb, pc = abs(p - left), abs(p - above), abs(p - corner)
        return left if pa <= pb and pa <= pc else above if pb <= pc else corner
    return (0, left, above)[method]


def image(rows: list[bytes], samples: int) -> bytes:
    """A PNG whose lines are filtered in turn by each of the five methods."""
    data, above = b"", bytes(WIDTH * samples)
    for number, row in enumerate(rows):
        shifted, corners = bytes(samples) + row, bytes(samples) + above
        method = number % 5
        filtered = [
            (value - predicted(method, left, up, corner)) & 0xFF
            for value, left, up, corner in zip(row, shifted, above, corners, strict=False)
        ]
        data, above = data + bytes([method, *filtered]), row
    header = struct.pack(">IIBBBBB", WIDTH, len(rows), 8, {3: 2, 4: 6}[samples], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@pytest.mark.parametrize("samples", [3, 4])
def test_every_pixel_keeps_its_colour(samples: int) -> None:
    """Whatever filter a browser has chosen for its line, with transparency or without."""
    rows = [bytes((7 * number + 31 * at) % 256 for at in range(WIDTH * samples)) for number in range(10)]
    small = with_palette(image(rows, samples))
    palette, lines = (small.partition(kind)[2] for kind in (b"PLTE", b"IDAT"))
    pixels = zlib.decompressobj().decompress(lines)
    seen = [pixels[start + 1 : start + 1 + WIDTH] for start in range(0, len(pixels), WIDTH + 1)]
    colours = [b"".join(palette[3 * index : 3 * index + 3] for index in line) for line in seen]
    assert colours == [b"".join(row[at : at + 3] for at in range(0, len(row), samples)) for row in rows]
