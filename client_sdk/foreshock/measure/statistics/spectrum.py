"""Prepared rows in; participation ratios, and the Gram matrix whose eigenvalues the host takes, out.

Shape suffixes: S rows, D width (at most COLUMNS), M the smaller of the two.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.measure.eigenvalues import Shape

from . import masked
from .rows import Rows

COLUMNS = 4096  # wider matrices are measured on this many columns, evenly spaced and always the same
YIELDS = ("participation_ratio", "participation_ratio")  # uncentred, centred
CONSTANT = 1e-10  # share of the energy below which centred rows are rounding
ROUNDING = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}  # unit round-off; the arithmetic is float32
FLOAT32 = 2.0**-25

_half_product = getattr(torch.ops.aten.mm, "dtype", None)  # (half, half) -> float32 on CUDA, newer torch only


def gram(rows: Rows, dtype: torch.dtype) -> tuple[Tensor, Tensor, Shape]:
    """Participation ratios uncentred and centred, the payload for `eigenvalues.Spectrum`, and the payload's shape.

    The Gram is taken of the centred rows, so a large mean costs no digits, and the uncentred one is that plus what the
    mean contributes. Half-precision rows on CUDA are multiplied as they are, exactly and with float32 sums, and the
    centred Gram is that less the contribution.
    """
    x_SD, native_SD, mean_D, square_S = rows.x, rows.native, rows.mean, rows.square
    if x_SD.shape[1] > COLUMNS:
        kept = torch.arange(COLUMNS, device=x_SD.device).mul(x_SD.shape[1] / COLUMNS).long()
        x_SD, mean_D = x_SD.index_select(1, kept), mean_D.index_select(0, kept)
        native_SD = None if native_SD is None else native_SD.index_select(1, kept)
        square_S = torch.linalg.vector_norm(x_SD, dim=1).square()
    height, width = x_SD.shape
    dual = height < width
    centred_SD = (x_SD - mean_D).mul_(rows.good.unsqueeze(1))
    exact = native_SD is not None and _half_product is not None
    shape = Shape(height, width, centred=not exact, rounding=ROUNDING.get(dtype, FLOAT32))
    factor_SD = native_SD if native_SD is not None and exact else centred_SD
    left, right = (factor_SD, factor_SD.t()) if dual else (factor_SD.t(), factor_SD)
    matrix_MM = (
        _half_product(left, right, torch.float32) if exact and _half_product is not None else left @ right
    )

    along_S = centred_SD @ mean_D  # what each centred row has of the mean
    mean_square = mean_D.square().sum()
    if dual:
        first, second, third = along_S, rows.good, mean_square
    else:
        first, second, third = mean_D, mean_D, rows.count
    own = matrix_MM.square().sum()
    if shape.centred:
        uncentred = own + 2.0 * rows.count * along_S.square().sum() + (rows.count * mean_square).square()
        centred = own
    else:
        uncentred = own
        centred = (matrix_MM - _of_mean(first, second, third, dual)).square().sum()
    energy = square_S.sum()
    remaining_S = torch.linalg.vector_norm(centred_SD, dim=1).square()
    remaining = remaining_S.sum()
    ratios = torch.stack(
        [
            _participation(uncentred, square_S, rows.count, width).masked_fill(energy <= 0, 0.0),
            _participation_centred(centred, remaining_S, rows.count, width).masked_fill(
                remaining <= CONSTANT * energy, 0.0
            ),
        ]
    )
    enough = torch.stack([rows.count < 2, rows.count < 4])
    ratios = masked.unless_mostly_bad(ratios.masked_fill(enough, math.nan), rows.asked, rows.count)
    usable = masked.unless_mostly_bad(rows.count, rows.asked, rows.count)
    scalars = torch.stack([usable, energy, remaining, third])
    return ratios, torch.cat([matrix_MM.reshape(-1), first, second, scalars]), shape


def _of_mean(first: Tensor, second: Tensor, third: Tensor, dual: bool) -> Tensor:
    if not dual:
        return third * first.unsqueeze(1) * second
    cross = first.unsqueeze(1) * second
    return cross + cross.t() + third * second.unsqueeze(1) * second


def _participation(frobenius: Tensor, square_S: Tensor, count: Tensor, width: int) -> Tensor:
    trace, fourth = square_S.sum(), square_S.square().sum()
    return _ratio(trace * trace - fourth, frobenius - fourth, width)


def _participation_centred(frobenius: Tensor, square_S: Tensor, n: Tensor, width: int) -> Tensor:
    # Himeno & Yamada 2014 with S = Gram/(n−1) and Q = Σ‖x_i − x̄‖⁴/(n−1); the factor that both share cancels.
    tr_s, tr_s2 = square_S.sum() / (n - 1), frobenius / (n - 1).square()
    q = square_S.square().sum() / (n - 1)
    squared_trace = 2 * tr_s2 + (n * n - 3 * n + 1) * tr_s * tr_s - n * q
    trace_of_square = (n - 1) * (n - 2) * tr_s2 + tr_s * tr_s - n * q
    return _ratio(squared_trace, trace_of_square, width)


def _ratio(upper: Tensor, lower: Tensor, width: int) -> Tensor:
    # Rows all but orthogonal: the estimate below is zero or, by chance, less, and the width is the best that is left.
    return (upper / lower).masked_fill(lower <= 0, width).clamp(1.0, width)
