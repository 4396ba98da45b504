"""Normalisation layers, value heads, and the units behind a nonlinearity."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, normal, row_of

from foreshock.measure.probes.units import series as units_series
from foreshock.measure.statistics import heads, norms, units
from foreshock.measure.statistics.table import STATISTICS

WIDTH = 6


def _stream(rows: int, g: torch.Generator) -> Given:
    return {"x": normal(rows, WIDTH, generator=g), "gain": normal(WIDTH, generator=g)}


def _read_stream(given: Given) -> Readings:
    values = torch.cat([norms.stream(given["x"], 1), norms.gains(given["gain"])])
    return row_of(norms.series("norm", gained=True, tracked=False), values)


def _head(rows: int, g: torch.Generator) -> Given:
    return {"v": normal(rows, 1, generator=g)}


def _read_head(given: Given) -> Readings:
    return row_of([STATISTICS[name].series("v") for name in heads.YIELDS], heads.values(given["v"]))


def _activations(rows: int, g: torch.Generator) -> Given:
    size = torch.tensor([1.0, 1.0, 0.05, 0.01, 0.0, 1.0])
    return {"h": (normal(rows, WIDTH, generator=g) * size - 0.01).relu()}


def _read_units(given: Given) -> Readings:
    values = units.shares(*units.joined([units.activity(given["h"])]))
    return row_of(units_series("mlp", {}), values)


SUBJECTS = [
    Subject(
        "normalisation layer",
        _stream,
        _read_stream,
        {"x": 0},
        spoiled=("x",),
        scaled=("x", "gain"),
        degrees={"stream_rms": 1, "gain_rms": 1},
        halved=("x", "gain"),
        averaged=("stream_rms",),
    ),
    Subject(
        "value head",
        _head,
        _read_head,
        {"v": 0},
        spoiled=("v",),
        scaled=("v",),
        degrees={"value_mean": 1, "value_spread": 1},
        halved=("v",),
        averaged=("value_mean", "value_spread"),
    ),
    Subject(
        "units",
        _activations,
        _read_units,
        {"h": 0},
        spoiled=("h",),
        scaled=("h",),
        halved=("h",),
        averaged=("dormant_unit_share",),
        bounded=("dead_unit_share",),
    ),
]
