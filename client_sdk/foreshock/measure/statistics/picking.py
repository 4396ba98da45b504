"""A tensor with any leading dimensions in; its rows, all or some, out. The tensor is never copied as a whole.

Shape suffixes: V the last dimension, S picked rows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def count(x: Tensor) -> int:
    """How many rows a tensor has: all its dimensions but the last, together."""
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return rows


def matrix(x: Tensor) -> Tensor | None:
    """The tensor as [rows, V] where that is a view of it; a slice such as ``logits[:, 1:]`` has none."""
    for outer in range(x.dim() - 2):
        if x.shape[outer] > 1 and x.stride(outer) != x.stride(outer + 1) * x.shape[outer + 1]:
            return None
    return x.view(-1, x.shape[-1]) if x.numel() else x.reshape(count(x), x.shape[-1])


def pick(x: Tensor, rows_S: Tensor) -> Tensor:
    """These rows, copied: [S, V]."""
    if x.dim() == 2:
        return x.index_select(0, rows_S)
    index = []
    for size in reversed(x.shape[:-1]):
        index.append(rows_S % size)
        rows_S = torch.div(rows_S, size, rounding_mode="floor")
    picked: Tensor = torch.ops.aten.index.Tensor(x, index[::-1])
    return picked


def entry(x: Tensor, rows_S: Tensor | None, columns_S: Tensor) -> Tensor:
    """One number of each of these rows, or of all, in float32, [S]; NaN for a column that is not there."""
    column_S = columns_S.clamp(0, x.shape[-1] - 1).long()
    if rows_S is None:
        value_S = x.gather(-1, column_S.view(x.shape[:-1]).unsqueeze(-1)).reshape(-1)
    else:
        index = [column_S]
        for size in reversed(x.shape[:-1]):
            index.append(rows_S % size)
            rows_S = torch.div(rows_S, size, rounding_mode="floor")
        value_S = torch.ops.aten.index.Tensor(x, index[::-1])
    return value_S.float().masked_fill(column_S != columns_S, math.nan)


def rows(x: Tensor) -> Tensor:
    """All rows, [rows, V]: a view where there is one."""
    return x.reshape(count(x), x.shape[-1])
