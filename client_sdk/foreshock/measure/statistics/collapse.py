"""Prepared rows, their class numbers and a classifier in; the signs of neural collapse out.

Shape suffixes: S rows, D width, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foreshock.measure.problems.collapse import Collapse

from .rows import TINY, Rows

YIELDS = (
    "class_distance_variance",
    "nc2_equinorm",
    "nc2_equiangular",
    "class_mean_cosine",
    "nearest_classes_cosine",
    "class_norm_ratio",
    "nearest_mean_accuracy",
    "classes_present",
)
WITH_CLASSIFIER = ("nc3_duality", "nc4_agreement")
CLASSES = 1024  # at most: two matrices of them go to the host


def look(
    rows: Rows, label_S: Tensor, classes: int, weight_CD: Tensor | None = None, bias_C: Tensor | None = None
) -> tuple[Tensor, Tensor, Collapse]:
    """The readings of YIELDS, and of WITH_CLASSIFIER where there is one; the payload for NC1, and its problem.

    Labels outside 0…classes−1 do not count.
    """
    known_S = rows.good * (label_S >= 0) * (label_S < classes)
    label_S = label_S.clamp(0, classes - 1)
    members_C = torch.zeros(classes, device=label_S.device).index_add_(0, label_S, known_S)
    present_C = (members_C > 0).float()
    found, count = torch.stack([present_C, members_C]).sum(1).unbind()
    each_C = members_C.clamp_min(1.0)
    c_SD = rows.centred
    sum_CD = torch.zeros(classes, c_SD.shape[1], device=c_SD.device).index_add_(
        0, label_S, c_SD * known_S.unsqueeze(1)
    )
    mean_CD = sum_CD / each_C.unsqueeze(1)  # from the mean of all rows
    alike_C = present_C / found.clamp_min(1.0)
    m_CD = (mean_CD - alike_C @ mean_CD) * present_C.unsqueeze(1)  # from the mean of the classes
    within_SD = (c_SD - mean_CD.index_select(0, label_S)).mul_(known_S.unsqueeze(1))
    square_S = torch.linalg.vector_norm(within_SD, dim=1).square()
    variance_C = torch.zeros_like(members_C).index_add_(0, label_S, square_S) / each_C

    pairs_CC = (present_C * present_C.unsqueeze(1)).fill_diagonal_(0.0)
    pairs = pairs_CC.sum()
    gram_CC = m_CD @ m_CD.t()
    norm_C = gram_CC.diagonal().clamp_min(0.0).sqrt()
    cosine_CC = gram_CC / (norm_C * norm_C.unsqueeze(1)).clamp_min(TINY)
    whole_CD = mean_CD + rows.mean
    whole_C = torch.linalg.vector_norm(whole_CD, dim=1).clamp_min(TINY)
    angle_CC = (whole_CD @ whole_CD.t()) / (whole_C * whole_C.unsqueeze(1))

    sizes_CC = norm_C.square() + norm_C.square().unsqueeze(1)
    apart_CC = torch.maximum(sizes_CC - 2.0 * gram_CC, 1e-7 * sizes_CC).clamp_min_(TINY)
    spread_CC = (variance_C + variance_C.unsqueeze(1)) / (2.0 * apart_CC)
    mean_norm = norm_C.sum() / found
    uneven = (((norm_C - mean_norm) * present_C).square().sum() / found).sqrt() / mean_norm
    ideal = -1.0 / (found - 1.0)
    smallest = norm_C.masked_fill(present_C == 0, math.inf).amin()
    largest_cosine = cosine_CC.masked_fill(pairs_CC == 0, -math.inf).amax()

    along_SC = within_SD @ mean_CD.t()
    from_mean_SC = (
        along_SC
        + (mean_CD @ mean_CD.t()).index_select(0, label_S)
        - 0.5 * torch.linalg.vector_norm(mean_CD, dim=1).square()
    )
    nearest_S = from_mean_SC.masked_fill_(present_C == 0, -math.inf).argmax(1)
    values = [
        (spread_CC * pairs_CC).sum() / pairs,
        uneven,
        ((cosine_CC - ideal).abs() * pairs_CC).sum() / pairs,
        (angle_CC.abs() * pairs_CC).sum() / pairs,
        largest_cosine,
        smallest / norm_C.amax(),
        (known_S * (nearest_S == label_S)).sum() / count,
    ]
    few = (found < 2).logical_or_(rows.bad)
    nothing = few.logical_or(rows.nothing.select(0, 1))
    head = torch.stack(values).masked_fill_(nothing, math.nan)
    parts = [head, found.unsqueeze(0)]
    if weight_CD is not None:
        parts.append(
            _duality(rows, m_CD, weight_CD, bias_C, nearest_S, known_S).masked_fill_(nothing, math.nan)
        )
    payload = [
        matrix.reshape(-1)
        for class_C in (alike_C, members_C / count.clamp_min(1.0))
        for matrix in _covariances(
            along_SC, mean_CD, class_C, (class_C / each_C).index_select(0, label_S) * known_S
        )
    ]
    usable = found.masked_fill(nothing, math.nan)
    return torch.cat(parts), torch.cat([*payload, usable.unsqueeze(0)]), Collapse(classes)


def _duality(
    rows: Rows, m_CD: Tensor, weight_CD: Tensor, bias_C: Tensor | None, nearest_S: Tensor, known_S: Tensor
) -> Tensor:
    """Distance of the normalised classifier from the normalised class means; how often it says what the nearest mean says."""
    weight_CD = weight_CD.float()
    sizes = torch.linalg.vector_norm(weight_CD) * torch.linalg.vector_norm(m_CD)
    distance = 2.0 - 2.0 * (weight_CD * m_CD).sum() / sizes
    score_SC = rows.x @ weight_CD.t()
    if bias_C is not None:
        score_SC = score_SC + bias_C.float() * rows.shrink
    agreed = (known_S * (score_SC.argmax(1) == nearest_S)).sum() / known_S.sum()
    return torch.stack([distance, agreed])


def _covariances(along_SC: Tensor, mean_CD: Tensor, class_C: Tensor, row_S: Tensor) -> tuple[Tensor, Tensor]:
    """Both [C, C]: the between-class covariance of classes that weigh this much, and the within-class one seen from it."""
    root_C = class_C.sqrt()
    scaled_CD = (mean_CD - class_C @ mean_CD) * root_C.unsqueeze(1)
    seen_SC = (along_SC - (along_SC @ class_C).unsqueeze(1)) * root_C * row_S.sqrt().unsqueeze(1)
    return scaled_CD @ scaled_CD.t(), seen_SC.t() @ seen_SC
