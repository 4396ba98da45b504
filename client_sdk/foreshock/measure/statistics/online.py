"""Chunks of logits in, one after another; what the softmax of their rows amounts to out: max-centred sums, kept as they come.

Shape suffixes: R the rows and C the columns of one chunk.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NOTHING = -200.0  # exp() of it is 0 in float32, and 0 times it is 0: the same as -inf without 0 · inf
EXCLUDED = (
    -1e30
)  # a logit no larger is -inf by another name: some mask with the most negative number there is
LOG2E = math.log2(math.e)  # torch has a faster exp2 than exp on some processors, and as exact


EMPTY = "logits have an empty last dimension; pass [tokens, vocabulary]"


class Rooms:
    """Memory that one chunk after another is worked on in: asking the allocator each time can cost more than the work."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, like_RC: Tensor) -> Tensor:
        """Float32 memory of that shape; what it held under this name is gone."""
        count = like_RC.numel()
        held = self._held.get(name)
        if held is None or held.numel() < count:
            held = self._held[name] = torch.empty(count, dtype=torch.float32, device=like_RC.device)
        return held.narrow(0, 0, count).view(like_RC.shape)

    def copy(self, name: str, x_RC: Tensor) -> Tensor:
        """The same numbers in such memory."""
        copied: Tensor = torch.ops.aten.copy_.default(
            self.take(name, x_RC), x_RC
        )  # its method enters a device guard
        return copied


class Softmax:
    """Of R rows: the maximum, Σw, Σwy and Σwy² with y = logit − maximum and w = exp(y); Σw² and Σw²y where asked for."""

    def __init__(self, rooms: Rooms, *, squares: bool = False) -> None:
        self._rooms = rooms
        self._squares = squares
        self._so_far: tuple[Tensor, list[Tensor]] | None = None  # the maximum, and the sums about it

    def add(self, x_RC: Tensor, *, owned: bool) -> None:
        """Take in these columns, in float32. If they are ``owned`` they may be written over: nobody reads them again."""
        top_R = x_RC.amax(1)
        if self._so_far is not None:
            top_R = torch.maximum(self._so_far[0], top_R)
        centre_R = _centre(top_R)
        column = centre_R.unsqueeze(1)
        y_RC = torch.sub(x_RC, column, out=x_RC if owned else self._rooms.take("y", x_RC)).clamp_min_(NOTHING)
        w_RC = torch.mul(y_RC, LOG2E, out=self._rooms.take("w", x_RC)).exp2_()
        sums, squared = [w_RC.sum(1)], []
        if self._squares:
            square_RC = torch.mul(w_RC, w_RC, out=self._rooms.take("w²", x_RC))
            squared = [square_RC.sum(1), square_RC.mul_(y_RC).sum(1)]
        sums += [w_RC.mul_(y_RC).sum(1), w_RC.mul_(y_RC).sum(1), *squared]
        if self._so_far is not None:
            before = _about(centre_R, *self._so_far)
            sums = [old + new for old, new in zip(before, sums, strict=True)]
        self._so_far = top_R, sums

    def finish(self) -> Tensor:
        """Entropy, varentropy, top probability, log-sum-exp; Σp² and Σp² ln p where asked for, [4 or 6, R].

        All NaN for a row with a NaN or +inf, or with nothing but -inf.
        """
        if self._so_far is None:
            raise ValueError(EMPTY)
        peak_R, (total_R, first_R, second_R, *squared) = self._so_far
        log_total_R = total_R.log()
        mean_R = first_R / total_R
        top_R = total_R.reciprocal()
        found = [
            log_total_R - mean_R,
            (second_R / total_R - mean_R * mean_R).clamp_min(0.0),
            top_R,
            peak_R + log_total_R,
        ]
        if squared:
            scale_R = top_R * top_R
            square_R = squared[0] * scale_R
            found += [square_R, squared[1] * scale_R - square_R * log_total_R]
        return torch.stack(found).masked_fill(mean_R != mean_R, math.nan)


class Sizes:
    """Of R rows: the largest and the second largest logit, the largest magnitude, the mean; beyond EXCLUDED is no logit."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._so_far: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None = None

    def add(self, x_RC: Tensor) -> None:
        """Take in these columns, in float32; they are left as they are."""
        top_R = x_RC.amax(1)
        is_RC = torch.eq(
            x_RC, top_R.unsqueeze(1), out=self._rooms.take("y", x_RC)
        )  # 0.0 or 1.0: faster than bool
        ties_R = is_RC.sum(1)
        below_R = torch.sub(x_RC, is_RC, alpha=-EXCLUDED, out=self._rooms.take("w", x_RC)).amax(1)
        below_R = below_R.where(ties_R < 2, top_R)
        is_RC = torch.le(x_RC, EXCLUDED, out=is_RC)
        count_R = x_RC.shape[1] - is_RC.sum(1)
        x_RC = torch.clamp_min(x_RC, EXCLUDED, out=self._rooms.take("w", x_RC)).sub_(is_RC, alpha=EXCLUDED)
        largest_R, sum_R = torch.maximum(x_RC.amax(1), -x_RC.amin(1)), x_RC.sum(1)
        if self._so_far is not None:
            top, below, largest, sums, count = self._so_far
            below_R = torch.maximum(torch.maximum(below, below_R), torch.minimum(top, top_R))
            top_R, largest_R = torch.maximum(top, top_R), torch.maximum(largest, largest_R)
            sum_R, count_R = sums + sum_R, count + count_R
        self._so_far = top_R, below_R, largest_R, sum_R, count_R

    def finish(self) -> Tensor:
        """Largest logit, largest magnitude, mean, and the margin between the largest and the second, [4, R]; the margin is
        inf where there is no second."""
        if self._so_far is None:
            raise ValueError(EMPTY)
        top_R, below_R, largest_R, sum_R, count_R = self._so_far
        below_R = below_R.masked_fill(below_R <= 0.5 * EXCLUDED, -math.inf)
        return torch.stack([top_R, largest_R, sum_R / count_R, top_R - below_R])


class Divergence:
    """Of R pairs of rows, logits of p and of q: the sums of both softmaxes, and Σw(y − z) with z of q as y is of p."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._so_far: tuple[Tensor, Tensor, list[Tensor]] | None = None

    def add(self, p_RC: Tensor, q_RC: Tensor) -> None:
        """Take in these columns of both."""
        y_RC, z_RC = self._rooms.copy("y", p_RC), self._rooms.copy("z", q_RC)
        top_p, top_q = y_RC.amax(1), z_RC.amax(1)
        if self._so_far is not None:
            top_p, top_q = torch.maximum(self._so_far[0], top_p), torch.maximum(self._so_far[1], top_q)
        centre_p, centre_q = _centre(top_p), _centre(top_q)
        y_RC.sub_(centre_p.unsqueeze(1)).clamp_min_(NOTHING)
        z_RC.sub_(centre_q.unsqueeze(1)).clamp_min_(EXCLUDED)
        w_RC = torch.mul(y_RC, LOG2E, out=self._rooms.take("w", y_RC)).exp2_()
        v_RC = torch.mul(z_RC, LOG2E, out=self._rooms.take("v", y_RC)).exp2_()
        work_RC = torch.sub(y_RC, z_RC, out=self._rooms.take("work", y_RC)).mul_(w_RC)
        apart_R = work_RC.sum(1)
        lost_R = (
            torch.le(z_RC, EXCLUDED, out=work_RC).mul_(w_RC).sum(1)
        )  # what p gives to tokens that q excludes
        sums = [w_RC.sum(1), w_RC.mul_(y_RC).sum(1), apart_R, lost_R, v_RC.sum(1), v_RC.mul_(z_RC).sum(1)]
        if self._so_far is not None:
            peak_p, peak_q, (total_p, first_p, apart_R, lost_R, total_q, first_q) = self._so_far
            shift_p, shift_q = _centre(peak_p) - centre_p, _centre(peak_q) - centre_q
            scale_p = shift_p.exp().masked_fill(peak_p == -math.inf, 0.0)
            scale_q = shift_q.exp().masked_fill(peak_q == -math.inf, 0.0)
            before = [
                scale_p * total_p,
                scale_p * (first_p + shift_p * total_p),
                scale_p * (apart_R + (shift_p - shift_q) * total_p),
                scale_p * lost_R,
                scale_q * total_q,
                scale_q * (first_q + shift_q * total_q),
            ]
            sums = [old + new for old, new in zip(before, sums, strict=True)]
        self._so_far = top_p, top_q, sums

    def finish(self) -> Tensor:
        """KL(p‖q), entropy of p, entropy of q, [3, R]: inf where q excludes what p allows, NaN where a row of either is bad."""
        if self._so_far is None:
            raise ValueError(EMPTY)
        total_p, first_p, apart_R, lost_R, total_q, first_q = self._so_far[2]
        log_p, log_q = total_p.log(), total_q.log()
        entropy_p, entropy_q = log_p - first_p / total_p, log_q - first_q / total_q
        divergence_R = (apart_R / total_p - log_p + log_q).clamp_min(0.0).masked_fill(lost_R > 0, math.inf)
        both_R = entropy_p + entropy_q
        return torch.stack([divergence_R, entropy_p, entropy_q]).masked_fill(both_R != both_R, math.nan)


def _centre(peak_R: Tensor) -> Tensor:
    """The maximum, or 0 where all is -inf so far: -inf − (-inf) would be NaN."""
    return peak_R.masked_fill(peak_R == -math.inf, 0.0)


def _about(centre_R: Tensor, peak_R: Tensor, sums: list[Tensor]) -> list[Tensor]:
    """The sums about a higher maximum: of each row w becomes scale · w, and y becomes y + shift."""
    empty_R = peak_R == -math.inf
    shift_R = (peak_R - centre_R).masked_fill(empty_R, 0.0)
    scale_R = shift_R.exp().masked_fill(empty_R, 0.0)
    total_R, first_R, second_R, *squared = sums
    found = [
        scale_R * total_R,
        scale_R * (first_R + shift_R * total_R),
        scale_R * (second_R + 2 * shift_R * first_R + shift_R * shift_R * total_R),
    ]
    if squared:
        square_R = scale_R * scale_R
        found += [square_R * squared[0], square_R * (squared[1] + shift_R * squared[0])]
    return found
