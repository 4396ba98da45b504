"""Generated tokens in; how varied the text is, how much of it repeats, how long it is, out. Whole numbers, sorted.

Shape suffixes: B sequences, T tokens of each, R sequences read for n-grams, N n-grams, 4 their lengths.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import masked
from .table import STATISTICS

READ = (
    1 << 14
)  # tokens read for n-grams: part of the definition, as the share of distinct ones falls with their number
LONGEST = 4
LOOP = 32  # 4-grams in a row that have been there before
FACTOR = -7046029254386353131  # odd, its bits without pattern: the base of a polynomial hash modulo 2⁶⁴
NOTHING = torch.iinfo(torch.int64).max  # the hash of what is no n-gram; sorts last
PERCENTILES = (50, 95, 99)
TOLD = {"finished": "truncated_share", "invalid": "invalid_share"}


def series(place: str, given: Collection[str] = ()) -> list[SeriesSpec]:
    """What `measure` yields, in order, for inputs of these names."""
    return [
        *(STATISTICS["distinct_ngrams"].series(place, {"n": str(n)}) for n in range(1, LONGEST + 1)),
        *(
            STATISTICS[name].series(place)
            for name in ("shared_ngrams", "repeat_run", "loop_share", "response_length")
        ),
        *(STATISTICS[f"response_length_p{percent}"].series(place) for percent in PERCENTILES),
        *(STATISTICS[name].series(place) for told, name in TOLD.items() if told in given),
    ]


def measure(given: Mapping[str, Tensor]) -> Tensor:
    """The readings of `series`, float32: ``tokens`` [B, T], any integers; ``valid`` [B, T]; ``finished`` and ``invalid`` [B];
    ``levels``, PERCENTILES as shares."""
    tokens_BT, valid_BT = given["tokens"], given["valid"]
    sequences, length = tokens_BT.shape
    rows = min(sequences, max(1, READ // length))
    if rows < sequences:
        at_R = torch.div(torch.arange(rows, device=tokens_BT.device) * sequences, rows, rounding_mode="floor")
        tokens_BT, read_BT = tokens_BT.index_select(0, at_R), valid_BT.index_select(0, at_R)
    else:
        read_BT = valid_BT
    size = min(length, READ)
    hash_4RT = hashes(tokens_BT.narrow(1, 0, size).long(), read_BT.narrow(1, 0, size))
    length_B = valid_BT.sum(1, dtype=torch.float32)
    ordered_B, levels_K = length_B.sort().values, given["levels"]
    rank_K = levels_K * (sequences - 1)
    parts = [
        distinct(hash_4RT),
        shared(hash_4RT.select(0, LONGEST - 1)),
        repeated(hash_4RT.select(0, LONGEST - 1), hash_4RT.select(0, 0)),
        length_B.mean(0, keepdim=True),
        masked.between(ordered_B.take(masked.neighbours(rank_K)), rank_K),
    ]
    if "finished" in given:
        parts.append(1.0 - given["finished"].float().mean(0, keepdim=True))
    if "invalid" in given:
        parts.append(given["invalid"].float().mean(0, keepdim=True))
    return torch.cat(parts)


def hashes(token_RT: Tensor, valid_RT: Tensor) -> Tensor:
    """A number for the n-gram that begins at each place, n = 1 to 4, [4, R, T]; NOTHING where one of its tokens is not valid
    or beyond the end."""
    size = token_RT.shape[1]
    padded_RT = torch.nn.functional.pad(token_RT, (0, LONGEST - 1))
    inside_RT = torch.nn.functional.pad(valid_RT, (0, LONGEST - 1))
    hash_RT, whole_RT = token_RT, valid_RT
    found = [hash_RT.masked_fill(whole_RT.logical_not(), NOTHING)]
    for ahead in range(1, LONGEST):
        hash_RT = hash_RT * FACTOR + padded_RT.narrow(1, ahead, size)
        whole_RT = whole_RT & inside_RT.narrow(1, ahead, size)
        found.append(hash_RT.masked_fill(whole_RT.logical_not(), NOTHING))
    return torch.stack(found)


def distinct(hash_4RT: Tensor) -> Tensor:
    """Different n-grams over all n-grams, for each length, [4]."""
    ordered_4N = hash_4RT.reshape(hash_4RT.shape[0], -1).sort(1).values
    there_4N = ordered_4N != NOTHING
    before_4N = torch.nn.functional.pad(
        ordered_4N.narrow(1, 0, ordered_4N.shape[1] - 1), (1, 0), value=NOTHING
    )
    new_4N = there_4N & (ordered_4N != before_4N)
    return new_4N.sum(1).float() / there_4N.sum(1)


def shared(hash_RT: Tensor) -> Tensor:
    """How many of the n-grams occur in more than one sequence, as a share, [1]."""
    hash_N = hash_RT.reshape(-1)
    ordered_N, at_N = hash_N.sort(stable=True)
    row_N = torch.div(at_N, hash_RT.shape[1], rounding_mode="floor")
    first_N = torch.searchsorted(ordered_N, ordered_N)
    last_N = torch.searchsorted(ordered_N, ordered_N, right=True) - 1
    there_N = ordered_N != NOTHING
    several_N = there_N & (
        row_N.take(first_N) != row_N.take(last_N)
    )  # in order of the text where hashes are equal
    return (several_N.sum().float() / there_N.sum()).unsqueeze(0)


def repeated(hash_RT: Tensor, token_RT: Tensor) -> Tensor:
    """Over the sequences with a valid token: the mean of the longest run of n-grams that have been there before, and the share
    of those whose longest is at least LOOP, [2]."""
    ordered_RT, at_RT = hash_RT.sort(dim=1, stable=True)
    before_RT = torch.nn.functional.pad(
        ordered_RT.narrow(1, 0, ordered_RT.shape[1] - 1), (1, 0), value=NOTHING
    )
    again_RT = (ordered_RT == before_RT) & (ordered_RT != NOTHING)
    again_RT = torch.zeros_like(again_RT).scatter(1, at_RT, again_RT)
    place_T = torch.arange(hash_RT.shape[1], device=hash_RT.device)
    new_RT = place_T.masked_fill(again_RT, -1).cummax(1).values  # the last place that was new
    longest_R = (place_T - new_RT).amax(1)
    there_R = (token_RT != NOTHING).any(1)
    count = there_R.sum()
    both_2R = torch.stack([longest_R, longest_R >= LOOP]) * there_R
    return (both_2R.sum(1).float() / count).masked_fill(count == 0, math.nan)
