"""Lines, areas and words on white -> a small PNG, by Pillow (`foreshock[images]`). Knows nothing of what they mean.

Pillow rather than matplotlib: a download of 7 MB instead of 25, a fifth of the time, and the font is in it.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

SCALE = 2  # pixels per unit of length: telephones have three where a screen has one
FINE = 2  # lines are drawn so many times larger and made smaller, which smooths them; words are smooth by themselves
COLOURS = 48  # of the file; what is drawn here has a dozen, and their mixtures with white

Point = tuple[float, float]

_SAID = str.maketrans({"×": "x", "–": "-", "—": "-", "−": "-", "’": "'", "‘": "'", "“": '"', "”": '"'})


class Canvas:
    """A white picture of `width` by `height` units, measured from its upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * SCALE * FINE, height * SCALE * FINE), "#ffffff")
        self._draw = ImageDraw.Draw(self._image)
        self._words: list[tuple[Point, str, str, float, str]] = []

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        """Through the points; of one alone nothing is seen."""
        if len(points) > 1:
            self._draw.line(list(map(_fine, points)), colour, round(width * SCALE * FINE), "curve")

    def dashes(self, begin: Point, end: Point, colour: str, width: float, on: float, off: float) -> None:
        """A straight line in pieces."""
        (x0, y0), (x1, y1) = begin, end
        length = max(abs(x1 - x0), abs(y1 - y0))
        at = 0.0
        while at < length:
            to = min(at + on, length)
            piece = [(x0 + (x1 - x0) * part / length, y0 + (y1 - y0) * part / length) for part in (at, to)]
            self.line(piece, colour, width)
            at += on + off

    def area(self, points: Sequence[Point], colour: str) -> None:
        """Filled, over what is there."""
        self._draw.polygon(list(map(_fine, points)), fill=colour)

    def dot(self, at: Point, colour: str, radius: float) -> None:
        """With a white rim, so that it is seen on a line."""
        (x, y), rim = _fine(at), (radius + 1) * SCALE * FINE
        self._draw.ellipse((x - rim, y - rim, x + rim, y + rim), fill="#ffffff")
        rim = radius * SCALE * FINE
        self._draw.ellipse((x - rim, y - rim, x + rim, y + rim), fill=colour)

    def cross(self, at: Point, colour: str, radius: float) -> None:
        """An x."""
        x, y = at
        for slope in (-1, 1):
            self.line([(x - radius, y - slope * radius), (x + radius, y + slope * radius)], colour, 1.5)

    def words(self, at: Point, words: str, colour: str, size: float, anchor: str = "ls") -> None:
        """On one line, over everything; `anchor` as Pillow has it: l, m or r for left, middle and right, then s, m or a for its foot,
        its middle and its head."""
        self._words.append((at, _drawable(words), colour, size, anchor))

    def png(self) -> bytes:
        """The picture."""
        image = self._image.reduce(FINE)
        draw = ImageDraw.Draw(image)
        for (x, y), words, colour, size, anchor in self._words:
            draw.text(
                (x * SCALE, y * SCALE), words, colour, _font(size), anchor, stroke_width=2 * SCALE, stroke_fill="#ffffff"
            )  # fmt: skip
        file = io.BytesIO()
        small = image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        small.save(file, "PNG", compress_level=4)  # 9 takes longer than all the rest, for a sixth less
        return file.getvalue()


def width_of(words: str, size: float) -> float:
    """In units."""
    return _font(size).getlength(_drawable(words)) / SCALE


def fitted(words: str, size: float, width: float) -> str:
    """On one line of that width, the cut marked."""
    words = " ".join(words.split())[:500]
    if width_of(words, size) <= width:
        return words
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(words[:middle] + "...", size) <= width:
            low = middle
        else:
            high = middle - 1
    return words[:low].rstrip() + "..."


def _drawable(words: str) -> str:
    """The font has ASCII and little more: letters lose their accents, and what is in no Latin script becomes a question mark."""
    if words.isascii():
        return words
    told = unicodedata.normalize("NFKD", words.translate(_SAID))
    kept = (one for one in told if not unicodedata.combining(one))
    return "".join(one if one.isascii() or one == "·" else "?" for one in kept)


@lru_cache(maxsize=16)
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size * SCALE)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 (Pillow's wheels have FreeType; without it there is no size)
    return font


def _fine(point: Point) -> Point:
    return point[0] * SCALE * FINE, point[1] * SCALE * FINE
