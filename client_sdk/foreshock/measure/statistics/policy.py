"""Everything about one batch of a policy in one row: one logit pass, one product per axis, however many readings there are.

Shape suffixes: N tokens, V vocabulary, S sampled tokens, B sequences, Q quantities, C cells, R readings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foreshock.series import SeriesSpec

from . import groups, linear, masked, signal, tally, tokens
from .policy_readings import REWARDED, SEQUENCES, SOUND, TOKENS, Batch, of_counts, of_entropies, of_tokens
from .reward_readings import of_groups, of_rewards
from .table import STATISTICS
from .tally import Cell, Constant, Layout, Sum

# The given tensors of one number per token (or per sequence, whose tokens it is then of), and what `signal` calls them.
PER_TOKEN = {
    "logprobs": "logp",
    "advantages": "advantages",
    "old_logprobs": "old",
    "ref_logprobs": "ref",
    "rollout_logprobs": "rollout",
    "turns": "turns",
    "outcome": "outcome",
    "sources": "sources",
}
MEASURED, REWARDS = Sum(TOKENS, "asked", SOUND), Sum(SEQUENCES, "asked", REWARDED)  # how many there are


@dataclass(frozen=True)
class Head:
    """How hidden states become logits, but for the tensors."""

    scale: float = 1.0  # one over the temperature
    softcap: float | None = None


@dataclass(frozen=True)
class Inputs:
    """What is given, and how much of it is measured."""

    batch: Batch
    vocabulary: int
    tokens_at_most: int
    head: Head = Head()


@dataclass(frozen=True)
class Plan:
    """What is measured of such a batch, decided once."""

    inputs: Inputs
    layout: Layout
    extremes: tuple[str, ...]
    series: tuple[SeriesSpec, ...]
    constants: Mapping[str, Constant] = field(repr=False)  # to be on the device, by these names
    counts: tuple[int, ...]  # which cells are the number of tokens measured and, where given, of rewards


def plan(inputs: Inputs) -> Plan:
    """The readings of such batches and how to take them."""
    batch = inputs.batch
    wanted = [
        *of_entropies(inputs.vocabulary),
        *of_rewards(batch),
        *of_tokens(batch),
        *of_groups(batch),
        *of_counts(batch),
    ]
    terms = {term for reading in wanted for term in reading.terms()}
    extremes = tuple(name for name in signal.EXTREME if Cell(f"{name}_top") in terms)
    layout = tally.layout(wanted, [(TOKENS, name) for name in ("valid", *extremes)] if extremes else ())
    levels = [(percent / 100, 0) for percent in tokens.PERCENTILES]
    levels += [(percent / 100, 1) for percent in groups.PERCENTILES if batch.has("rewards")]
    counts = (-1.0, *(k - 1.0 for k in groups.samples(batch.group)))
    constants: dict[str, Constant] = {
        **layout.constants,
        "levels": (tuple(level for level, _ in levels), (len(levels),), torch.float64),
        "of": (tuple(of for _, of in levels), (len(levels),), torch.int64),
        "samples": (counts, (len(counts),), torch.float64),
        "one": ((1.0,), (1,), torch.float64),
    }
    moved = STATISTICS["entropy_change_measured"].series()
    counted = tuple(layout.where[one] for one in (MEASURED, REWARDS) if one in layout.where)
    return Plan(inputs, layout, extremes, (*layout.series, moved), constants, counted)


@dataclass(frozen=True)
class Seen:
    """What is known of the tokens measured: `signal.quantities` by name; and which tokens these are, None: all of them."""

    tokens: Mapping[str, Tensor]
    rows: Tensor | None


def see(given: Mapping[str, Tensor], plan: Plan) -> Seen:
    """Read the scores.

    ``logits`` [N, V] or [sequences, tokens, V], or ``hidden`` with D in place of V, ``head`` [V, D] and perhaps ``bias`` [V];
    ``ref_logits`` like the logits; ``valid`` [N]; ``actions`` [N]; those of `PER_TOKEN` per token, or per sequence of equal
    length; ``rewards``, ``correct``, ``answers`` and ``groups`` per sequence; ``before`` [1], the last mean entropy. With
    ``uniform`` [N], that many random numbers, no more tokens are measured than the plan allows. None of these is empty.
    """
    names = ["valid", *(name for name in PER_TOKEN if name in given)]
    stacked_QN, rows_S = _per_token([given[name] for name in names]), None
    if "uniform" in given and plan.inputs.tokens_at_most < stacked_QN.shape[1]:
        rows_S = masked.sample(given["valid"], given["uniform"], plan.inputs.tokens_at_most)
        stacked_QN = stacked_QN.index_select(1, rows_S)
    raw = dict(
        zip((PER_TOKEN.get(name, "asked") for name in names), stacked_QN.double().unbind(0), strict=True)
    )
    scanned_FN = _scan(given, plan, rows_S).double()
    if plan.inputs.batch.taken and "logp" not in raw:
        raw["logp"] = scanned_FN.select(0, -1)
    if "ref_logits" in given:
        exact_N = tokens.divergence(given["logits"], given["ref_logits"], rows_S)
        raw["exact"] = exact_N.clamp_max(signal.CLAMP).double()
    if "sources" in raw:
        raw["strength"] = raw["advantages"].abs()
    return Seen(signal.quantities(raw, scanned_FN), rows_S)


def measure(given: Mapping[str, Tensor], plan: Plan, constants: Mapping[str, Tensor], seen: Seen) -> Tensor:
    """The readings of the plan, float32, in order, of what has been seen of these tensors."""
    layout, found = plan.layout, {TOKENS: seen.tokens}
    if SEQUENCES in layout.quantities:
        found[SEQUENCES] = _sequences(given, plan, constants, seen)
    x_QN = tally.rows(layout, found)
    sums_C = tally.sums(layout, x_QN, constants)
    quantiles_K = _quantiles(plan, found, sums_C, constants)
    cells = {"one": constants["one"].select(0, 0), **_extremes(plan, found, x_QN)}
    own = torch.stack([cells[name] for name in layout.cells[len(quantiles_K) :]])
    row_R = tally.read(torch.cat([sums_C, quantiles_K, own]), constants)
    return torch.cat([row_R, row_R.narrow(0, 0, 1) - given["before"]])


def _per_token(rows: list[Tensor]) -> Tensor:
    """What is given per token, or per sequence for each of its tokens, one row each: [Q, N]."""
    count, sequences = len(rows[0]), min(len(row) for row in rows)
    if sequences < count:
        shape = (sequences, count // sequences)
        rows = [row.view(shape) if len(row) == count else row.unsqueeze(1).expand(shape) for row in rows]
    return torch.stack(rows).view(len(rows), count)


def _scan(given: Mapping[str, Tensor], plan: Plan, rows_S: Tensor | None) -> Tensor:
    """What `tokens.scan` finds, with the squares where a signal is to be had of them, and last ln π where it has to be."""
    actions = given.get("actions") if "logprobs" not in given else None
    if actions is not None and rows_S is not None:
        actions = actions.index_select(0, rows_S)
    squares, head = plan.inputs.batch.judged, plan.inputs.head
    if "hidden" not in given:
        return tokens.scan(given["logits"], rows_S, squares=squares, actions=actions)
    return linear.scan(
        given["hidden"],
        given["head"],
        rows_S,
        bias=given.get("bias"),
        scale=head.scale,
        softcap=head.softcap,
        squares=squares,
        actions=actions,
    )


def _sequences(
    given: Mapping[str, Tensor], plan: Plan, constants: Mapping[str, Tensor], seen: Seen
) -> dict[str, Tensor]:
    """What there is to compare and sum of sequences and of groups."""
    batch = plan.inputs.batch
    found = {name: given[name].double() for name in ("correct",) if name in given}
    if batch.ratios:
        shape = given["logits" if "logits" in given else "hidden"].shape[:2]
        found["ratio"] = signal.ratios(seen.tokens["old_k1"], seen.tokens["valid"], seen.rows, shape)
    if "answers" in given:
        found["answer"] = given["answers"]
    high = None
    if "rewards" in given:
        found.update(groups.rewards(given["rewards"].double()))
        if batch.grouped:
            high = groups.middle(found["ordered"])
    found["asked"] = torch.ones_like(next(iter(found.values())), dtype=torch.float64)
    if batch.grouped:
        group = given["groups"] if batch.group is None else batch.group
        levels = constants["levels"]
        levels = levels.narrow(0, len(tokens.PERCENTILES), len(levels) - len(tokens.PERCENTILES))
        found.update(groups.quantities(found, group, high, constants["samples"], levels))
    return found


def _quantiles(
    plan: Plan, found: Mapping[str, Mapping[str, Tensor]], sums_C: Tensor, constants: Mapping[str, Tensor]
) -> Tensor:
    """Quantiles of the entropies, and of the rewards where given, linear between ranks; NaN of none."""
    asked_N, entropy_N = found[TOKENS]["asked"], found[TOKENS]["entropy"]
    ordered_N = entropy_N.masked_fill(asked_N == 0, math.nan).sort().values
    count = sums_C.select(0, plan.counts[0])
    if not plan.inputs.batch.has("rewards"):
        rank_K = constants["levels"] * (count - 1.0)
        return masked.between(ordered_N.take(masked.neighbours(rank_K)), rank_K)
    both_2 = torch.stack([count, sums_C.select(0, plan.counts[1])])
    rank_K = constants["levels"] * (both_2.take(constants["of"]) - 1.0)
    places_2K, first = masked.neighbours(rank_K), len(tokens.PERCENTILES)
    of_entropies, of_rewards = (
        places_2K.narrow(1, 0, first),
        places_2K.narrow(1, first, len(groups.PERCENTILES)),
    )
    ends = [ordered_N.take(of_entropies), found[SEQUENCES]["ordered"].take(of_rewards)]
    return masked.between(torch.cat(ends, 1), rank_K)


def _extremes(plan: Plan, found: Mapping[str, Mapping[str, Tensor]], x_QN: Tensor) -> dict[str, Tensor]:
    """The cells that are a largest value."""
    count = len(found[TOKENS]["asked"])
    largest = signal.extremes(plan.extremes, x_QN.narrow(1, 0, count))
    cells = {f"{name}_top": value for name, value in largest.items()}
    if plan.inputs.batch.ratios:
        cells["sequence_ratio_top"] = found[SEQUENCES]["ratio"].amax()
    return cells
