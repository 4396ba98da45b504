"""What a person with curl writes: addresses, openings and blocks as the wire contract has them."""

from __future__ import annotations

from .subject import Subject


def address_of(subject: Subject, name: str) -> str:
    """Where a run of this pass is."""
    return f"/api/v1/runs/{subject.named(name)}"


def opening_of(writer: str) -> dict[str, object]:
    """What opens a run by hand."""
    return {
        "project": "conformance",
        "name": "by hand",
        "config": {},
        "started_at": 1.79e9,
        "attempt": 1,
        "writer": writer,
        "info": {},
    }


def series_of(name: str) -> dict[str, object]:
    """A float64 series on the wire."""
    said = {"key": name, "statistic": name, "family": "training", "place": "", "labels": {}, "unit": ""}
    return {**said, "dtype": "f64"}


def block_of(
    writer: str, seq: int, rows: list[object], frames: list[object] | None = None
) -> dict[str, object]:
    """A block on the wire, of attempt 1."""
    return {
        "v": 1,
        "attempt": 1,
        "writer": writer,
        "seq": seq,
        "frames": frames or [],
        "rows": rows,
        "dropped": 0,
    }
