"""Means and log-variances of a Gaussian posterior in; how many of its dimensions say anything out.

Shape suffixes: N rows, S sampled rows, D dimensions, M rows whose densities are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked, picking
from .table import STATISTICS

VALUES = 1 << 22  # per tensor, that are copied as float32
FEWEST_ROWS = 512
ACTIVE = 0.01  # variance of a dimension's mean over the data: Burda et al.
PAIRED = 256  # rows whose densities are compared with one another
NARROWEST, WIDEST = (
    -30.0,
    30.0,
)  # log-variances, beyond which float64 would lose the distance that they divide

YIELDS = (
    "latent_kl",
    "latent_kl_max",
    "latent_kl_min_share",
    "latent_kl_dimensions",
    "latent_active",
    "latent_active_share",
    "latent_information",
    "n_eff",
)


def rows_at_most(width: int) -> int:
    """How many rows one record measures."""
    return max(FEWEST_ROWS, VALUES // max(width, 1))


def series(place: str) -> list[SeriesSpec]:
    """What `measure` yields, in order."""
    return [
        *(STATISTICS[name].series(place) for name in YIELDS),
        STATISTICS["nonfinite_count"].series(place, {"tensor": "latents"}),
    ]


def measure(given: Mapping[str, Tensor]) -> Tensor:
    """The readings of `series`.

    ``mean`` and ``log_variance`` […, D], N rows of all leading dimensions together; ``valid`` [N]; ``noise`` [M, D], standard
    normal, M at most PAIRED and at most the rows measured; ``uniform`` [N] random numbers, needed beyond `rows_at_most`.
    """
    weight_S, most = given["valid"].float(), rows_at_most(given["mean"].shape[-1])
    if len(weight_S) > most:
        rows_S = masked.sample(weight_S, given["uniform"], most)
        weight_S = weight_S.index_select(0, rows_S)
        mean_SD, log_SD = (picking.pick(given[name], rows_S).float() for name in ("mean", "log_variance"))
    else:
        mean_SD, log_SD = (picking.rows(given[name]).float() for name in ("mean", "log_variance"))
    kl_SD = (mean_SD.square() + torch.expm1(log_SD) - log_SD).mul_(
        0.5
    )  # expm1: exact where it is almost zero
    good_S = weight_S * masked.finite(kl_SD.sum(1))
    asked, count = weight_S.sum(), good_S.sum()
    column_S1, dropped_S1 = good_S.unsqueeze(1), good_S.unsqueeze(1) == 0
    kl_D = (kl_SD.masked_fill_(dropped_S1, 0.0).sum(0) / count).clamp_min(0.0)  # rounding may pass zero
    mean_SD = mean_SD.masked_fill(dropped_S1, 0.0)
    log_SD = log_SD.masked_fill(dropped_S1, 0.0)

    total = kl_D.sum()
    share_D = kl_D / total
    centred_SD = (mean_SD - mean_SD.sum(0) / count).mul_(column_S1)
    active = (centred_SD.square().sum(0) / (count - 1.0) > ACTIVE).sum()
    spread = torch.stack([share_D.amin(), torch.special.entr(share_D).sum().exp()])
    units = torch.stack([active, active / kl_D.shape[0]])
    values = torch.cat(
        [
            torch.stack([total, kl_D.amax()]),
            spread.masked_fill(total <= 0, 0.0),
            units.masked_fill(count < 2, math.nan),
            _information(centred_SD, log_SD, good_S, given["noise"]),
        ]
    )
    values = masked.unless_mostly_bad(values, asked, count)
    return torch.cat([values, torch.stack([count, asked - count])])


def _information(mean_SD: Tensor, log_SD: Tensor, good_S: Tensor, noise_MD: Tensor) -> Tensor:
    """Mean of ln q(z|x) − ln (1/M) Σ q(z|x′) for one z of each of M rows, [1]: at most ln M. NaN with fewer than two.

    ‖(z − μ)/σ‖² of every z under every posterior is expanded into one product, in float64, as it is small beside its terms.
    """
    paired = noise_MD.shape[0]
    mean_MD = mean_SD.narrow(0, 0, paired).double()
    log_MD = log_SD.narrow(0, 0, paired).double().clamp_(NARROWEST, WIDEST)
    good_M = good_S.narrow(0, 0, paired)
    count = good_M.sum()
    precision_MD = torch.exp(-log_MD)
    z_MD = torch.addcmul(mean_MD, noise_MD, precision_MD.rsqrt())
    scaled_MD = mean_MD * precision_MD
    far_MM = torch.addmm(
        (mean_MD * scaled_MD).sum(1),
        torch.cat([z_MD.square(), z_MD], 1),
        torch.cat([precision_MD, scaled_MD.mul(-2.0)], 1).t(),
    )
    density_MM = far_MM.clamp_min_(0.0).add_(log_MD.sum(1)).mul_(-0.5).masked_fill_(good_M == 0, -math.inf)
    gain_M = (density_MM.diagonal() - density_MM.logsumexp(1) + count.log()).float()
    return masked.mean(gain_M.unsqueeze(0), good_M, count).masked_fill(count < 2, math.nan)
