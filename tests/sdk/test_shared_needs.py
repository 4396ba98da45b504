"""Needs are shared: however many statistics read a tensor, it is read once."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest
import torch
from tests.sdk.device_functions.policy import everything

from foreshock.config import EVERY
from foreshock.measure.statistics import spectrum, tokens
from foreshock.testing import Recording, recording

torch.set_num_threads(1)
SEQUENCES, LENGTH = 16, 8
PER_TOKEN = ("valid", "actions", "old_logprobs", "ref_logprobs", "rollout_logprobs", "turns")
PER_SEQUENCE = ("advantages", "sources", "rewards", "correct", "answers", "groups")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the shared passes is made."""
    counted: Counter[str] = Counter()

    def count(module: ModuleType, name: str) -> None:
        made = getattr(module, name)

        def noted(*args: object, **kwargs: object) -> object:
            counted[name] += 1
            return made(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)

    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    count(tokens, "scan")
    count(spectrum, "gram")
    return counted


def names(recorded: Recording) -> set[str]:
    """Of the statistics that it has."""
    return {key.partition("{")[0] for key in recorded.series()}


def test_a_shown_policy_batch_with_everything_given_is_scanned_once(calls: Counter[str]) -> None:
    given = everything(SEQUENCES, LENGTH)
    of_tokens = {name: given[name].view(SEQUENCES, LENGTH) for name in PER_TOKEN}
    with recording(every=dict.fromkeys(EVERY, 1)) as recorded:
        recorded.run.observe.policy(
            given["logits"],
            ref_logits=given["ref_logits"],
            mask=of_tokens.pop("valid"),
            source_names=("math", "code"),
            **of_tokens,
            **{name: given[name] for name in PER_SEQUENCE},
        )
        recorded.run.step()
    read = names(recorded)
    assert {"policy_entropy", "entropy_change_predicted", "policy_nucleus_entropy", "pass_at"} <= read
    assert calls == {"scan": 1}


def test_of_a_shown_feature_matrix_with_everything_given_one_gram_is_taken(calls: Counter[str]) -> None:
    x, labels = torch.randn(48, 6), torch.arange(48) // 2 % 3
    with recording(every=dict.fromkeys(EVERY, 1)) as recorded:
        recorded.run.observe.features(
            "h", x, labels=labels, classifier=torch.randn(3, 6), bias=torch.randn(3), views=2, teacher=x[:, :4], previous=x[:, 1:]
        )  # fmt: skip
        recorded.run.step()
    read = names(recorded)
    assert {"participation_ratio", "effective_rank", "vendi_score", "lidar", "nc1", "cka"} <= read
    assert calls == {"gram": 1}
