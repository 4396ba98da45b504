"""What measurements of one place leave to the host in; offered to the worker, each part under a turn of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foreshock.series import FrameSpec, SeriesSpec

from .spectra import Source, Spectra
from .statistics.part import Part

Named = Callable[[Sequence[SeriesSpec]], list[SeriesSpec]]


class Offers:
    """Of one place: a source per part, made when it is first offered."""

    def __init__(self, kind: str, spectra: Spectra, named: Named, *, guest: bool = False) -> None:
        self._kind = kind
        self._guest = guest
        self._spectra = spectra
        self._named = named
        self._known: dict[str, tuple[Source, FrameSpec]] = {}

    def offer(self, part: Part, *, alone: bool = False) -> bool:
        """Leave it to the host, if it is its turn; ``alone`` where no other rank has such columns."""
        known = self._known.get(part.name)
        if known is None:
            frame = FrameSpec(tuple(self._named(part.series())))
            known = self._known[part.name] = self._spectra.source(self._kind, guest=self._guest), frame
        source, frame = known
        return self._spectra.offer(source, part.problem, frame, part.payload, alone=alone)

    def every(self, kind: str) -> int:
        """Steps between readings of a kind that goes with another; 0: never."""
        return self._spectra.clock.every[kind]

    @property
    def opened(self) -> int:
        """Steps since the start."""
        return self._spectra.clock.opened


class Sometimes:
    """A kind that goes with another: due with the first record after so many steps."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._last: int | None = None

    def due(self, offers: Offers) -> bool:
        """True when this record is one of those; it is taken as made."""
        every = offers.every(self._kind)
        if not every or (self._last is not None and offers.opened - self._last < every):
            return False
        self._last = offers.opened
        return True
