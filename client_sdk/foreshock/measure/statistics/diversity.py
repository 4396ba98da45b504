"""Features of generated samples, and of real ones where given, in; how different they are from one another out.

Shape suffixes: S sampled rows, R rows of the reference, D width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import embedding, masked, picking
from .rows import TINY
from .table import STATISTICS

ROWS = 512  # of generated samples, and as many of the reference; part of the definition of a Vendi score
NEAREST = 5  # neighbours whose distance is the radius of a real sample: Naeem et al.
DUPLICATE = 0.01  # of the mean distance
ROUNDING = 1e-24  # of the mean square length: squared distances below it are zero. Float64, as Gram matrices are taken of
# rows whose distances may be small beside them, and the user's TF32 setting would reach float32.

YIELDS = ("sample_vendi", "sample_distance", "sample_std", "sample_duplicates")
AGAINST = ("sample_vendi_ratio", "sample_density", "sample_coverage")


def series(place: str, given: Collection[str] = ()) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    return [
        *(STATISTICS[name].series(place) for name in YIELDS),
        *(STATISTICS[name].series(place) for name in AGAINST if "reference" in given),
        STATISTICS["n_eff"].series(place),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "features"}),
    ]


def measure(given: Mapping[str, Tensor], rows_at_most: int = ROWS) -> Tensor:
    """The readings of `series`.

    ``x`` […, D] and ``reference`` […, D], with ``uniform`` and ``uniform_reference``, random numbers per row, where there are
    more rows than ``rows_at_most``. Of the two as many rows are taken as the smaller has.
    """
    x = given["x"]
    taken = min([rows_at_most, *(picking.count(given[name]) for name in ("x", "reference") if name in given)])
    x_SD, good_S = _rows(x, given.get("uniform"), taken)
    count, asked = good_S.sum(), torch.ones_like(good_S).sum()
    mean_D = x_SD.sum(0) / count
    centred_SD = (x_SD - mean_D).mul_(good_S.unsqueeze(1))
    length = (x_SD.square().sum() / count).sqrt()
    far_SS = _distances(centred_SD, centred_SD, length)
    distance = (far_SS.sqrt() * good_S * good_S.unsqueeze(1)).sum() / (count * (count - 1.0))
    deviation = (centred_SD.square().sum(0) / count).sqrt().mean().float()
    near_S = _others(far_SS, good_S).amin(1)
    alike_S = (near_S <= (DUPLICATE * distance).square()).float()
    vendi = _vendi(x_SD, good_S)
    values = [
        vendi,
        (distance / length.clamp_min(TINY)).float(),
        deviation,
        masked.mean(alike_S, good_S.float(), count.float()),
    ]
    if "reference" in given:
        real_RD, sound_R = _rows(given["reference"], given.get("uniform_reference"), taken)
        values.append(vendi / _vendi(real_RD, sound_R))
        real_RD = (real_RD - mean_D).mul_(sound_R.unsqueeze(1))
        values += _against(centred_SD, good_S, real_RD, sound_R, length)
    row = torch.stack(values).masked_fill(count < 2, math.nan)
    row = masked.unless_mostly_bad(row, asked, count)
    return torch.cat([row, count.float().unsqueeze(0), embedding.nonfinite(x)])


def _rows(x: Tensor, uniform_N: Tensor | None, taken: int) -> tuple[Tensor, Tensor]:
    """So many rows in float64, those that are not finite zero, and 1.0 where they are finite."""
    if uniform_N is not None and picking.count(x) > taken:
        x_SD = picking.pick(x, uniform_N.topk(taken, sorted=False).indices)
    else:
        x_SD = picking.rows(x).narrow(0, 0, taken)
    x_SD = x_SD.double()
    good_S = masked.finite(x_SD.sum(1)).double()
    return x_SD.masked_fill((good_S == 0).unsqueeze(1), 0.0), good_S


def _vendi(x_SD: Tensor, good_S: Tensor) -> Tensor:
    """n² / ‖K‖² with K the cosines of the rows that are not zero; 0 when all are."""
    square_S = x_SD.square().sum(1)
    directed = (good_S * (square_S > 0)).sum()
    unit_SD = x_SD * square_S.clamp_min(TINY).rsqrt().unsqueeze(1)
    cosines = unit_SD @ unit_SD.t() if unit_SD.shape[0] <= unit_SD.shape[1] else unit_SD.t() @ unit_SD
    return (directed.square() / cosines.square().sum()).float().masked_fill(directed == 0, 0.0)


def _distances(a_SD: Tensor, b_RD: Tensor, length: Tensor) -> Tensor:
    """Squared distances, [S, R]."""
    far_SR = a_SD.square().sum(1).unsqueeze(1) + b_RD.square().sum(1) - 2.0 * (a_SD @ b_RD.t())
    return far_SR.masked_fill(far_SR <= ROUNDING * length.square(), 0.0)


def _others(far_SS: Tensor, good_S: Tensor) -> Tensor:
    """Squared distances to other rows that count; to the rest they are infinite."""
    itself_SS = torch.eye(len(good_S), dtype=torch.bool, device=far_SS.device)
    return far_SS.masked_fill(itself_SS | (good_S == 0), math.inf)


def _against(x_SD: Tensor, good_S: Tensor, real_RD: Tensor, sound_R: Tensor, length: Tensor) -> list[Tensor]:
    """Density and coverage: how many samples lie in the neighbourhoods of real ones, and how many of those hold one."""
    count, sound = good_S.sum(), sound_R.sum()
    neighbours = min(NEAREST, len(sound_R))
    nearest_RK = _others(_distances(real_RD, real_RD, length), sound_R).topk(neighbours, largest=False).values
    within_RS = _distances(real_RD, x_SD, length) < nearest_RK.amax(1, keepdim=True)
    within_RS = within_RS * sound_R.unsqueeze(1) * good_S
    few = (sound <= NEAREST) | (2 * sound < len(sound_R))
    density = within_RS.sum() / (NEAREST * count)
    coverage = within_RS.amax(1).sum() / sound
    return [value.float().masked_fill(few, math.nan) for value in (density, coverage)]
