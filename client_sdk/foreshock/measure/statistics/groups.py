"""Rewards, verdicts and answers of groups in; of each group, in the place of its first member, what they come to out.

No loop, no unique; groups of any sizes, with any integers for names. Everything is float64.

Shape suffixes: B sequences, P numbers of samples, L levels of quantiles, K quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from . import masked
from .tally import TINY

SAMPLES = (1, 2, 4, 8, 16, 32, 64)  # numbers k for pass@k
SAMPLES_OF_NUMBERED = (1, 2, 4, 8)  # where nobody says how large the groups are
PERCENTILES = (10, 50, 90)  # of rewards, in the batch and in each group


def samples(size: int | None) -> tuple[int, ...]:
    """The numbers k for which pass@k is told of groups of this size."""
    return SAMPLES_OF_NUMBERED if size is None else tuple(k for k in SAMPLES if k <= size)


def rewards(reward_B: Tensor) -> dict[str, Tensor]:
    """``reward``, NaN where it is not finite; ``rewarded``, 1.0 where it is; ``ordered``, all of them, the NaN last, and in
    ``rising`` which sequences these are of."""
    reward_B = reward_B + (reward_B - reward_B)  # an infinity becomes NaN
    rewarded_B = (reward_B == reward_B).double()
    ordered_B, rising_B = reward_B.sort()
    return {"reward": reward_B, "rewarded": rewarded_B, "ordered": ordered_B, "rising": rising_B}


def middle(ordered_B: Tensor) -> Tensor:
    """The least reward that is high: half-way between the lowest and the highest, or if these are equal the least above
    zero."""
    lowest, highest = ordered_B.select(0, 0), ordered_B.nan_to_num(-math.inf).amax()
    return torch.lerp(lowest, highest, 0.5).masked_fill_(lowest == highest, TINY)


def quantities(
    given: Mapping[str, Tensor],
    group: Tensor | int,
    high: Tensor | None,
    samples_P: Tensor,
    levels_L: Tensor,
) -> dict[str, Tensor]:
    """What readings of groups are made of, by name, [B] each; where an entry does not lead its group they mean nothing.

    ``given``: ``asked``, all 1.0; ``reward``, ``ordered`` and ``rising`` as `rewards` has them, with ``high`` the least that
    is; ``correct``, 1.0 or 0.0; ``answer``, an integer per sequence. ``group`` numbers the group of each, by any integers, or
    is the size of groups that follow one another. ``samples_P`` are the numbers of samples less one, after -1; ``levels_L``
    are PERCENTILES as shares.

    Of a group: ``leads``, ``members``; of its rewards ``least``, ``most``, the deviation ``spread``, the quantiles ``at_10``
    and so on, the sum ``differing`` of squared differences from one of them, which is exactly 0 when they are equal, how many
    are high, ``top``, and whether all are ``sound``. Of what is correct, or where that is not given has a high reward: the
    number ``solved``, and for each k the chance that none of k members is, less one, ``pass_k``. Of the answers ``unique``,
    how many differ, and ``undecided``, the entropy of their shares.
    """
    ones_B = given["asked"]
    entries = {name: given[name] for name in ("reward", "correct") if name in given}
    place_B = torch.arange(len(ones_B), device=ones_B.device)
    if isinstance(group, int):
        group_B = torch.div(place_B, group, rounding_mode="floor")
        leader_B = group_B * group
    else:
        group_B = group
        number_B, order_B = group_B.sort()
        leader_B = torch.searchsorted(number_B, number_B)
        entries = {name: x_B.take(order_B) for name, x_B in entries.items()}
    rows = {"members": ones_B}
    reward_B = entries.get("reward")
    if reward_B is not None and high is not None:
        apart_B = reward_B - reward_B.take(leader_B)
        rows.update({"top": (reward_B >= high).double(), "apart": apart_B, "differing": apart_B * apart_B})
    rows.update({name: entries[name] for name in ("correct",) if name in entries})
    stacked_KB = torch.stack(list(rows.values()))
    empty_KB = torch.zeros_like(stacked_KB)
    summed_KB = empty_KB.index_add(1, leader_B, stacked_KB)
    found = dict(zip(rows, summed_KB.unbind(0), strict=True))
    found["leads"] = (leader_B == place_B).double()
    members_B = found["members"]
    if reward_B is not None:
        empty_B, differing_B = empty_KB.select(0, 0), found["differing"]
        found["least"] = empty_B.scatter_reduce(0, leader_B, reward_B, "amin", include_self=False)
        found["most"] = empty_B.scatter_reduce(0, leader_B, reward_B, "amax", include_self=False)
        found["sound"] = (differing_B == differing_B).double()
        mean_B, square_B = (summed_KB.narrow(0, 2, 2) / members_B).unbind(0)
        found["spread"] = torch.addcmul(square_B, mean_B, mean_B, value=-1.0).clamp_min_(0.0).sqrt_()
        ordered_B = given["ordered"].take(group_B.take(given["rising"]).sort(stable=True).indices)
        at_LB = _quantiles(ordered_B, place_B, members_B, levels_L)
        found.update(
            {f"at_{percent}": at_B for percent, at_B in zip(PERCENTILES, at_LB.unbind(0), strict=True)}
        )
    if entries:
        solved_B = found["solved"] = found["correct" if "correct" in found else "top"]
        names = (f"pass_{k}" for k in samples(group if isinstance(group, int) else None))
        found.update(dict(zip(names, _passes(members_B, solved_B, samples_P).unbind(0), strict=True)))
    if "answer" in given:
        found.update(_answers(given["answer"], group_B, leader_B, members_B))
    return found


def _quantiles(ordered_B: Tensor, place_B: Tensor, members_B: Tensor, levels_L: Tensor) -> Tensor:
    """Of rewards that rise within each group, group after group, linear between ranks: [L, B], where a group begins."""
    rank_LB = levels_L.unsqueeze(1) * (members_B - 1.0)
    return masked.between(ordered_B.take(masked.neighbours(rank_LB) + place_B), rank_LB)


def _passes(members_B: Tensor, solved_B: Tensor, samples_P: Tensor) -> Tensor:
    """C(n−c, k)/C(n, k) − 1 by ln Γ, [P − 1, B]; not a number where the group has fewer than k members."""
    count_21B = torch.stack([members_B - solved_B, members_B]).unsqueeze(1)
    ln_2PB = torch.lgamma(count_21B - samples_P.unsqueeze(1))
    ln_2PB = ln_2PB.narrow(1, 0, 1) - ln_2PB.narrow(
        1, 1, len(samples_P) - 1
    )  # ln C(·, k), but for ln k! in both
    return (ln_2PB.select(0, 0) - ln_2PB.select(0, 1)).expm1_()


def _answers(answer_B: Tensor, group_B: Tensor, leader_B: Tensor, members_B: Tensor) -> dict[str, Tensor]:
    """How many answers of a group differ, and the entropy of their shares: ln n − Σ ln c / n, with c how many of the group
    gave the same answer."""
    answer_B, by_answer_B = answer_B.sort()
    number_B, by_group_B = group_B.take(by_answer_B).sort(stable=True)
    answer_B = answer_B.take(by_group_B)
    begins_B = torch.cat([leader_B.new_ones(1), (answer_B.diff() != 0) | (number_B.diff() != 0)])
    crowd_B = begins_B.cumsum(0) - 1
    size_B = torch.zeros_like(members_B).index_add_(0, crowd_B, torch.ones_like(members_B))
    pair_2B = torch.stack([begins_B.double(), size_B.take(crowd_B).log_()])
    unique_B, shared_B = torch.zeros_like(pair_2B).index_add_(1, leader_B, pair_2B).unbind(0)
    return {"unique": unique_B, "undecided": members_B.log() - shared_B / members_B}
