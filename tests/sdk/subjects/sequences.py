"""Generated text, and the states of responses: the rows are sequences."""

from __future__ import annotations

import torch
from tests.sdk.subjects.subject import Given, Readings, Subject, integers, mask, normal, row_of

from foreshock.measure.statistics import distinction, sequences

TOKENS, GROUP = 12, 3
LEVELS = torch.tensor([percent / 100 for percent in sequences.PERCENTILES])


def _text(rows: int, g: torch.Generator) -> Given:
    ends = torch.randint(1, TOKENS + 1, (rows, 1), generator=g)
    return {
        "tokens": integers(3, rows, TOKENS, generator=g),
        "valid": torch.arange(TOKENS) < ends,
        "finished": torch.rand(rows, generator=g) > 0.3,
        "invalid": torch.rand(rows, generator=g) > 0.8,
    }


def _read_text(given: Given) -> Readings:
    return row_of(sequences.series("text", given), sequences.measure({**given, "levels": LEVELS}))


def _states(rows: int, g: torch.Generator) -> Given:
    prompts = normal(rows // GROUP, 1, 4, generator=g).repeat_interleave(GROUP, 0)
    valid = mask(rows, 5, generator=g)
    valid[:, 0] = True  # a response without a token has no state
    return {
        "states": prompts + normal(rows, 5, 4, generator=g),
        "tokens": valid,
        "groups": 10 * (torch.arange(rows) // GROUP) - 20,
    }


def _scores(rows: int, g: torch.Generator) -> Given:
    own = integers(4, rows, generator=g)
    scores = 3.0 * normal(rows, 4, generator=g) - 40.0
    return {"scores": scores + 4.0 * torch.nn.functional.one_hot(own, 4), "own": own}


def _read_scores(given: Given) -> Readings:
    return row_of(
        distinction.scored_series("answers"), distinction.information(given["scores"], given["own"])
    )


def _read_states(given: Given) -> Readings:
    pooled = distinction.pooled(given["states"], given["tokens"])
    return row_of(distinction.series("responses"), distinction.measure(pooled, given["groups"]))


SUBJECTS = [
    Subject(
        "text",
        _text,
        _read_text,
        {"tokens": 0, "valid": 0, "finished": 0, "invalid": 0},
        unmasked=True,
        even=True,  # nothing counts the sequences of a rank
    ),
    Subject(
        "responses",
        _states,
        _read_states,
        {"states": 0, "tokens": 0, "groups": 0},
        block=GROUP,
        scaled=("states",),
        halved=("states",),
        rounded=("response_distinction",),  # the mean over tokens is rounded too
        averaged=("response_distinction",),
    ),
    Subject(
        "cross scores",
        _scores,
        _read_scores,
        {"scores": 0, "own": 0},
        shifted=("scores",),
        unmasked=True,
        even=True,
    ),
]
