"""Experts, codebooks, latents, generated samples and text."""

from __future__ import annotations

import math

import torch
from tests.sdk.scenarios.scenario import Scenario, filled, first, none, repeated, shown
from tests.sdk.subjects.codebook import SIZE
from tests.sdk.subjects.subject import Readings, row_of
from torch import Tensor

from foreshock.measure.statistics import codebook, experts, pathways


def _one_expert() -> Readings:
    given = {"logits": torch.randn(20, 1), "limits": torch.tensor(experts.limits(1))}
    return row_of(experts.series("moe", 1), experts.measure(given, torch.zeros(1), 1)[0])


def _all_to_one(chosen: Tensor) -> Tensor:
    return torch.zeros_like(chosen[:, :1])


def _one_layer() -> Readings:
    given = {"chosen": torch.zeros(1, 9, 2, dtype=torch.long), "embeddings": torch.randn(1, 4, 3)}
    return row_of(pathways.series("moe", given), pathways.measure(given))


def _codes(index: Tensor) -> Readings:
    row, _ = codebook.measure({"index": index}, codebook.fresh(SIZE, torch.device("cpu")))
    return row_of(codebook.series("vq"), row)


ROUTER, CODES = "router, all that is known", "codebook"
OF_ONE = {"dropped": lambda x: x[:, 0], "chosen": _all_to_one}  # each token makes one choice

SCENARIOS = [
    Scenario(
        "router without valid tokens",
        shown(ROUTER, valid=none),
        "^NaN without valid tokens|^0 without valid tokens|fewer than two tasks",
    ),
    Scenario("router of one expert", _one_expert, "with one expert$"),
    Scenario(
        "router, one expert takes all",
        shown(ROUTER, valid=filled(1), **OF_ONE),
        "^0 when one expert takes every choice",
    ),
    Scenario(
        "router, one expert takes all: violation",
        shown(ROUTER, valid=filled(1), **OF_ONE),
        "at most E − 1, when one expert takes every choice",
        expected=5.0,
    ),
    Scenario("router, one task", shown(ROUTER, tasks=filled(3)), "fewer than two tasks"),
    Scenario(
        "router, tasks without tokens",
        shown(ROUTER, tasks=filled(3)),
        "where the task has none",
        only=lambda labels: labels.get("task", "3") != "3",
    ),
    Scenario(
        "router, few choices per expert",
        shown(ROUTER, 15),
        "no expert has 32 choices|until ten choices per expert",
    ),
    Scenario("pathways of one token", shown("pathways", valid=first(1)), "fewer than two tokens"),
    Scenario(
        "pathways all alike",
        shown("pathways", chosen=lambda x: x[:, :1].expand_as(x)),
        "^0 when all take the same way",
    ),
    Scenario("pathways of one layer", _one_layer, "NaN with one layer"),
    Scenario("few indices", lambda: _codes(torch.arange(4 * SIZE - 1) % SIZE), "until 4 K indices"),
    Scenario(
        "one code takes all",
        lambda: _codes(torch.zeros(4 * SIZE, dtype=torch.long)),
        "when one code takes all",
    ),
    Scenario(
        "all codes alike", lambda: _codes(torch.arange(100 * SIZE) % SIZE), "^at most K", expected=float(SIZE)
    ),
    Scenario("no index", lambda: _codes(torch.zeros(0, dtype=torch.long)), "before the first index"),
    Scenario(
        "a gradient of zeros", shown(CODES, gradient=torch.zeros(SIZE, 3)), "^0 for a gradient of zeros"
    ),
    Scenario(
        "the prior",
        shown("latents", mean=filled(0), log_variance=filled(0)),
        "posterior is the prior|posteriors are equal|means do not depend",
    ),
    Scenario(
        "equal posteriors",
        shown("latents", mean=repeated, log_variance=repeated),
        "posteriors are equal|means do not depend",
    ),
    Scenario(
        "no row of a posterior", shown("latents", valid=none), "without valid rows|fewer than two valid rows"
    ),
    Scenario("one row of a posterior", shown("latents", valid=first(1)), "fewer than two valid rows"),
    Scenario("samples of zeros", shown("samples", x=filled(0)), "^0 when all rows are zero|rows are equal"),
    Scenario("equal samples", shown("samples", x=repeated), "rows are equal|all point the same way"),
    Scenario(
        "samples in one direction",
        shown("samples", x=lambda x: x[:1] * torch.arange(1, 25).unsqueeze(1)),
        "all point the same way",
    ),
    Scenario(
        "one sample", shown("samples beside a reference", x=lambda x: x[:1]), "fewer than two valid rows$"
    ),
    Scenario(
        "a reference of zeros",
        shown("samples beside a reference", reference=filled(0)),
        "rows of the reference are zero|those are all equal",
    ),
    Scenario(
        "few samples of a reference",
        shown("samples beside a reference", reference=lambda x: x[:5]),
        "fewer than six valid rows",
    ),
    Scenario(
        "equal tokens",
        shown("text", tokens=filled(7), valid=filled(1), rows=1),
        "^1 / N when all tokens are equal",
        expected=1 / 12,
        names=("distinct_ngrams",),
        only=lambda labels: labels["n"] == "1",
    ),
    Scenario(
        "text without valid tokens",
        shown("text", valid=none),
        "without valid|when nothing is valid|without a",
    ),
    Scenario("one sequence", shown("text", rows=1), "^0 for one sequence"),
    Scenario(
        "text that never repeats",
        shown("text", tokens=lambda x: torch.arange(x.numel()).view(x.shape)),
        "no 4-gram comes twice",
    ),
    Scenario(
        "text that ended",
        shown("text", finished=filled(1), invalid=filled(0)),
        "^0 when all finished|^0 when all are valid",
    ),
    Scenario("responses all alike", shown("responses", states=filled(1)), "^0 when all states are equal"),
    Scenario("responses to one prompt", shown("responses", groups=filled(1)), "fewer than two prompts"),
    Scenario(
        "scores that are all alike",
        shown("cross scores", scores=filled(-7.0)),
        "^0 when every response is as likely",
    ),
    Scenario(
        "scores under one prompt",
        shown("cross scores", scores=lambda x: x[:, :1], own=none),
        "fewer than two prompts",
    ),
    Scenario("scores of no response", shown("cross scores", scores=filled(math.nan)), "without responses"),
    Scenario(
        "one response each",
        shown("responses", groups=lambda x: torch.arange(len(x))),
        "without a prompt that has two responses",
    ),
]
