"""What a training loop may hand to the instruments, in which shapes, and what it is told when something does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from foreshock.measure.assembly import FRAMES
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import features, logged, policy, views
from foreshock.measure.sites import SITES

torch.set_num_threads(1)
N, T, V = 6, 5, 11
AGAIN = {"entropy_change_measured"}  # differs from one showing to the next by its definition


class Watching(Instruments):
    """Instruments that return a step's readings by series key."""

    def __init__(self, **every: int) -> None:
        self.rows: list[StepRow] = []
        super().__init__(every=every or None, on_row=self.rows.append)

    def readings(self) -> dict[str, float]:
        self.rows.clear()
        self.step(0, 0.0)
        return {
            spec.key: value
            for row in self.rows
            for spec, value in zip(row.frame.series, row.completed().tolist(), strict=True)
        }


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    monkeypatch.setenv("FORESHOCK_STRICT", "1")
    made = Watching()
    yield made
    made.close(0)


def batch() -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    return {
        "logits": torch.randn(N, T, V, generator=g),
        "mask": torch.rand(N, T, generator=g) > 0.3,
        "actions": torch.randint(0, V, (N, T), generator=g),
        "old_logprobs": -torch.rand(N, T, generator=g),
        "ref_logprobs": -torch.rand(N, T, generator=g),
        "advantages": torch.randn(N, generator=g),
        "rewards": torch.randint(0, 2, (N,), generator=g).float(),
        "groups": torch.tensor([5, 5, 9, 9, 7, 7]),
    }


def read(instruments: Watching, given: dict[str, Any]) -> dict[str, float]:
    policy.show(instruments.sites, given.pop("logits"), **given)
    return instruments.readings()


def test_shapes_that_mean_the_same_read_the_same(instruments: Watching) -> None:
    first = read(instruments, batch())
    variants: list[dict[str, Any]] = [
        {"mask": batch()["mask"].long()},
        {"mask": batch()["mask"].double()},
        {"advantages": batch()["advantages"].unsqueeze(1).expand(N, T)},
        {"groups": 2},
        {"actions": batch()["actions"].to(torch.int32)},
        {"logits": batch()["logits"].requires_grad_()},
        {"logits": batch()["logits"].transpose(0, 1).contiguous().transpose(0, 1)},
        {"logprobs": batch()["logits"].log_softmax(-1).gather(2, batch()["actions"].unsqueeze(2)).squeeze(2)},
    ]
    for variant in variants:
        second = read(instruments, {**batch(), **variant})
        for key in first.keys() & second.keys() - AGAIN:
            assert second[key] == pytest.approx(first[key], rel=1e-5, abs=1e-6, nan_ok=True), (
                variant.keys(),
                key,
            )


def test_flat_tokens_read_as_sequences_do(instruments: Watching) -> None:
    given = batch()
    first = read(instruments, {**given})
    flat = {
        name: value.reshape(N * T, *value.shape[2:]) for name, value in batch().items() if value.dim() > 1
    }
    flat["advantages"] = given["advantages"].repeat_interleave(T)
    second = read(instruments, flat)
    assert {"sequence_ratio_mean", "policy_entropy_part{outcome=right}"} <= first.keys() - second.keys()
    for key in first.keys() & second.keys() - AGAIN:
        assert second[key] == pytest.approx(first[key], rel=1e-5, abs=1e-6, nan_ok=True), key


def test_without_a_mask_every_token_counts(instruments: Watching) -> None:
    given = {name: value for name, value in batch().items() if name != "mask"}
    everyone = read(instruments, {**given, "mask": torch.ones(N, T, dtype=torch.bool)})
    again = read(instruments, given)
    assert {key: again[key] for key in again.keys() - AGAIN} == pytest.approx(
        {key: everyone[key] for key in again.keys() - AGAIN}, nan_ok=True
    )


def test_a_fully_masked_batch_reads_nan_and_not_zero(instruments: Watching) -> None:
    values = read(instruments, {**batch(), "mask": torch.zeros(N, T)})
    for key in ("policy_entropy", "policy_entropy_p50", "policy_cov", "kl_ref_k3"):
        assert values[key] != values[key], key
    assert values["nonfinite_count{place=policy,tensor=logits}"] == 0
    assert values["policy_tokens"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {"logits": torch.empty(0, T, V), "rewards": torch.empty(0), "groups": 1},
        {"logits": torch.zeros(N, T, V), "rewards": torch.empty(0), "groups": 1},
    ],
)
def test_of_an_empty_batch_nothing_is_recorded(instruments: Watching, given: dict[str, Any]) -> None:
    assert read(instruments, given) == {}
    assert "policy_entropy" in read(instruments, batch())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"logits": torch.zeros(3)}, r"logits has shape \[3\]; pass \[sequences, tokens, vocabulary\] or"),
        ({"logits": torch.zeros(N, T, V).long()}, "the model's scores before softmax, not token ids"),
        ({"logits": [[1.0]]}, r"logits is a list; pass a torch tensor: torch\.as_tensor\(logits\)"),
        ({"mask": torch.ones(N)}, rf"mask has shape \[{N}\], but the logits cover \[{N}, {T}\] tokens"),
        (
            {"actions": torch.zeros(N, T - 1).long()},
            r"pass logits\[\.\.\., :-1, :\] with tokens\[\.\.\., 1:\]",
        ),
        ({"actions": torch.zeros(N, T)}, "pass the ids of the tokens taken, as integers"),
        (
            {"advantages": torch.zeros(T)},
            rf"pass \[{N}, {T}\] \(one per token\) or \[{N}\] \(one per sequence\)",
        ),
        ({"rewards": torch.zeros(N, T)}, r"pass one number per sequence, \[sequences\]"),
        ({"groups": 4}, f"groups=4 does not divide the {N} rewards; pass the size of a group"),
        (
            {"groups": torch.zeros(N)},
            rf"pass one integer for each of the rewards, \[{N}\], equal for those of one prompt",
        ),
        ({"rewards": None}, r"pass rewards=\[sequences\] with it, or correct= or answers="),
        ({"logits": None}, r"pass either logits=, or hidden= with head="),
        ({"hidden": torch.zeros(N, T, 4)}, r"pass logits= or hidden=, not both"),
        ({"head": torch.zeros(V, 4)}, r"head belongs to hidden=; the logits have been through it"),
        ({"bias": torch.zeros(V)}, r"bias belongs to hidden="),
        ({"temperature": 0.7}, r"temperature belongs to hidden=; pass logits / temperature"),
        ({"softcap": 0.0}, r"softcap is 0.0; pass the cap of the logits, above 0, or None"),
        (
            {"ref_logits": torch.zeros(N, T, V + 1)},
            rf"pass the reference's scores of the same tokens, \[{N}, {T}, {V}\]",
        ),
        ({"ref_logits": torch.zeros(N, T, V).long()}, "pass the reference's scores"),
        ({"rollout_logprobs": torch.zeros(N)}, rf"but the logits cover \[{N}, {T}\] tokens"),
        ({"turns": torch.zeros(N, T)}, "pass the turn of each token, as integers"),
        ({"turns": torch.zeros(N).long()}, rf"turns has shape \[{N}\], but the logits cover"),
        (
            {"correct": torch.zeros(N + 1)},
            rf"correct has shape \[{N + 1}\], but rewards \[{N}\]; pass both of the same",
        ),
        ({"answers": torch.zeros(N)}, "pass one number per answer, equal for equal answers, as integers"),
        (
            {"answers": torch.zeros(N).long(), "groups": None},
            "answers are compared within groups; pass groups= with it",
        ),
        (
            {"sources": torch.zeros(N).long()},
            "pass the names that the numbers in sources count from 0, 1 to 16 of them",
        ),
        ({"source_names": ("a",)}, "sources and source_names come together, with advantages="),
        (
            {"sources": torch.zeros(N).long(), "source_names": ("a", "a")},
            "pass the names that the numbers in sources count from 0",
        ),
        (
            {"sources": torch.zeros(N).long(), "source_names": "math"},
            "pass the names that the numbers in sources count from 0",
        ),
        ({"eps_low": 1.5}, "pass the bounds of the loss: eps_low between 0 and 1"),
        ({"dual_clip": 0.5}, "dual_clip above 1"),
    ],
)
def test_what_does_not_fit_is_answered_with_what_to_pass(
    instruments: Watching, change: dict[str, Any], told: str
) -> None:
    given = {**batch(), **change}
    with pytest.raises(ValueError, match=told):
        policy.show(instruments.sites, given.pop("logits"), **given)
    assert "policy_entropy" in read(instruments, batch())  # and the next batch is measured


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"head": None},
            r"hidden needs head= beside it: the weight of the output layer, \[vocabulary, width\]",
        ),
        (
            {"head": torch.zeros(4, V)},
            rf"head has shape \[4, {V}\].*pass the weight of the output layer, \[vocabulary, 4\]",
        ),
        ({"bias": torch.zeros(4)}, rf"bias has shape \[4\]; pass one number per row of head, \[{V}\]"),
        ({"hidden": torch.zeros(N, T, 4).long()}, "pass the input of the output layer"),
        ({"hidden": torch.zeros(4)}, r"pass \[sequences, tokens, width\] or \[tokens, width\]"),
        ({"ref_logits": torch.zeros(N, T, V)}, "with hidden= pass ref_logprobs instead"),
        ({"temperature": 0.0}, "temperature is 0.0; pass the sampler's, above 0"),
    ],
)
def test_hidden_states_that_do_not_fit_are_answered_with_what_to_pass(
    instruments: Watching, change: dict[str, Any], told: str
) -> None:
    given = {**batch(), "logits": None, "hidden": torch.zeros(N, T, 4), "head": torch.zeros(V, 4), **change}
    with pytest.raises(ValueError, match=told):
        policy.show(instruments.sites, given.pop("logits"), **given)


def test_hidden_states_read_as_their_logits_do() -> None:
    instruments = Watching(diversity=1)
    g = torch.Generator().manual_seed(1)
    given = batch()
    hidden, head = torch.randn(N, T, 4, generator=g), torch.nn.Parameter(torch.randn(V, 4, generator=g))
    bias = torch.randn(V, generator=g)
    logits = torch.tanh((hidden @ head.T + bias) / 5) * 5 / 0.7
    first = read(instruments, {**given, "logits": logits})
    del given["logits"]
    policy.show(instruments.sites, hidden=hidden, head=head, bias=bias, softcap=5.0, temperature=0.7, **given)
    second = instruments.readings()
    assert second.keys() == first.keys()
    for key in first.keys() - AGAIN:
        assert second[key] == pytest.approx(first[key], rel=1e-4, abs=1e-5, nan_ok=True), key


def test_the_entropy_of_the_last_record_is_remembered(instruments: Watching) -> None:
    logits = batch()["logits"]
    first = read(instruments, {"logits": logits})
    second = read(instruments, {"logits": 3 * logits})
    assert first["entropy_change_measured"] != first["entropy_change_measured"]
    assert second["entropy_change_measured"] == pytest.approx(
        second["policy_entropy"] - first["policy_entropy"], rel=1e-5
    )


def test_what_the_mean_hides_is_read_at_a_cadence_of_its_own() -> None:
    instruments = Watching(diversity=2)
    seen = []
    for _ in range(4):
        values = read(instruments, batch())
        seen.append(("policy_entropy" in values, "policy_nucleus_entropy" in values))
    assert seen == [(True, True), (True, False), (True, True), (True, False)]
    hidden = {"hidden": torch.randn(40, 4), "head": torch.randn(V, 4), "logits": None}
    assert "policy_nucleus_entropy" in read(instruments, hidden)


def test_a_batch_larger_than_the_sample_is_sampled(instruments: Watching) -> None:
    values = read(instruments, {"logits": torch.zeros(100, 100, 7), "mask": torch.ones(100, 100)})
    assert values["policy_entropy"] == pytest.approx(1.9459101, abs=1e-6)
    assert values["policy_entropy_per_sequence"] == pytest.approx(1.9459101, abs=1e-5)
    assert values["policy_tokens"] == 8192


def test_a_slice_of_the_logits_reads_as_its_copy_does(instruments: Watching) -> None:
    given = batch()
    longer = torch.cat([torch.full((N, 2, V), 50.0), given["logits"], torch.zeros(N, 1, V)], 1)
    first = read(instruments, {**given})
    second = read(instruments, {**given, "logits": longer[:, 2:-1]})
    for key in first.keys() & second.keys() - AGAIN:
        assert second[key] == pytest.approx(first[key], rel=1e-5, abs=1e-6, nan_ok=True), key


# -- features and views ------------------------------------------------------------------------------------------------


def test_features_of_any_leading_shape_are_rows_and_masks_fit_them(instruments: Watching) -> None:
    h = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(24).reshape(4, 6) % 3 > 0
    features.show(instruments.sites, "h", h, mask=mask)
    first = instruments.readings()
    features.show(instruments.sites, "h", h.reshape(24, 8)[mask.flatten()])
    assert instruments.readings() == pytest.approx(first, rel=1e-4, nan_ok=True)
    assert first["n_eff{place=h}"] == 16


def test_views_read_each_alone_and_the_pair(instruments: Watching) -> None:
    z1 = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    views.show(instruments.sites, z1, 2 * z1)
    values = instruments.readings()
    assert values["alignment{place=views}"] == pytest.approx(0, abs=1e-6)
    assert values["effective_rank{centered=true,place=views.a}"] == pytest.approx(
        values["effective_rank{centered=true,place=views.b}"], rel=1e-5
    )
    views.show(instruments.sites, z1, torch.ones(40, 8), name="ssl")
    assert instruments.readings()["embedding_std{place=ssl.b}"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda i: features.show(i.sites, "h", torch.zeros(3)),
            r"pass \[rows, width\] or \[batch, tokens, width\]",
        ),
        (
            lambda i: features.show(i.sites, "h", torch.zeros(3, 4).long()),
            "features is torch.int64; pass a floating tensor",
        ),
        (
            lambda i: features.show(i.sites, "h", torch.zeros(3, 4), mask=torch.ones(4)),
            r"one entry per row of the features, \[3\]",
        ),
        (
            lambda i: features.show(i.sites, "h", torch.zeros(3, 4), labels=torch.ones(3)),
            "pass class numbers, as integers",
        ),
        (
            lambda i: views.show(i.sites, torch.zeros(3, 4), torch.zeros(2, 4)),
            "the same samples in the same order",
        ),
        (lambda i: views.show(i.sites, torch.zeros(3, 4), None), "z2 is NoneType; pass a floating tensor"),
        (
            lambda i: logged.log(i.sites, "loss", torch.zeros(3, 2)),
            r"loss has shape \[3, 2\]; log one number, such as loss\.mean\(\), or one dimension",
        ),
    ],
)
def test_features_views_and_logs_that_do_not_fit_are_answered(
    instruments: Watching, call: Any, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        call(instruments)


@pytest.mark.parametrize(
    ("every", "told"), [({"policies": 1}, "it can name"), ({"policy": -1}, "use 1 for every step")]
)
def test_a_cadence_that_does_not_exist_is_answered(every: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Instruments(every=every, on_row=lambda row: None)


# -- steps and frames --------------------------------------------------------------------------------------------------


def test_logged_tensors_are_taken_at_once_and_the_last_counts(instruments: Watching) -> None:
    loss = torch.tensor(3.0, requires_grad=True)
    running = torch.tensor([1.0])
    logged.log(instruments.sites, "loss", loss)
    logged.log(instruments.sites, "running", running)
    running.zero_()
    logged.log(instruments.sites, "loss", loss * 2)
    assert instruments.readings() == {"loss": 6.0, "running": 1.0}
    assert instruments.readings() == {}


def test_the_first_batch_of_a_step_counts(instruments: Watching) -> None:
    policy.show(instruments.sites, torch.zeros(2, 3, V))
    policy.show(instruments.sites, torch.eye(V) * 50)
    assert instruments.readings()["policy_top1"] == pytest.approx(1 / V)


def test_the_same_readings_share_one_frame_and_others_get_their_own() -> None:
    instruments = Watching()
    for shown in ("ab", "a", "ab", "b", "a"):
        for name in shown:
            logged.log(instruments.sites, name, torch.zeros(()))
        instruments.step(0, 0.0)
    frames = [row.frame for row in instruments.rows]
    assert frames[0] is frames[2]
    assert frames[1] is frames[4]
    assert len({id(frame) for frame in frames}) == 3


def test_frames_are_bounded_and_nothing_is_lost_beyond_the_bound() -> None:
    instruments = Watching()
    sent = []
    for step in range(300):
        names = [f"n{bit}" for bit in range(9) if (step + 1) >> bit & 1]
        for name in names:
            logged.log(instruments.sites, name, torch.tensor(float(step)))
        instruments.step(step, 0.0)
        sent += [(step, name) for name in names]
    frames = {id(row.frame) for row in instruments.rows}
    assert len(frames) <= FRAMES + 9
    got = [(row.step, spec.statistic) for row in instruments.rows for spec in row.frame.series]
    assert sorted(got) == sorted(sent)
    assert instruments.dropped == 0


def test_a_cadence_leaves_out_steps_evenly() -> None:
    instruments = Watching(policy=3)
    seen = []
    for _ in range(7):
        policy.show(instruments.sites, torch.zeros(2, 3, V))
        seen.append("policy_entropy" in instruments.readings())
    assert seen == [True, False, False, True, False, False, True]


def test_the_cost_is_counted(instruments: Watching) -> None:
    before = instruments.cost
    for _ in range(3):
        policy.show(instruments.sites, torch.zeros(50, 50, V))
        instruments.step(0, 0.0)
    assert 0 < instruments.cost - before < 60


def test_nothing_keeps_the_tensors_shown(instruments: Watching) -> None:
    import weakref

    logits = torch.zeros(2, 3, V)
    alive = weakref.ref(logits)
    policy.show(instruments.sites, logits)
    del logits
    instruments.readings()
    assert alive() is None


def test_names_that_change_with_the_step_do_not_fill_the_memory(instruments: Watching) -> None:
    for number in range(SITES):
        logged.log(instruments.sites, f"step {number}", torch.zeros(()))
    with pytest.raises(ValueError, match="use the same names at every step"):
        logged.log(instruments.sites, "one more", torch.zeros(()))
    logged.log(instruments.sites, "step 0", torch.ones(()))


def test_a_device_that_is_neither_cpu_nor_cuda_is_refused(instruments: Watching) -> None:
    with pytest.raises(ValueError, match="must be on a CPU or a CUDA device"):
        logged.log(instruments.sites, "loss", torch.zeros((), device="meta"))


def test_values_are_those_of_the_definition_through_the_whole_way(instruments: Watching) -> None:
    given = batch()
    logits: Tensor = given["logits"]
    mask: Tensor = given["mask"]
    values = read(instruments, {**given})
    lp = logits.double().log_softmax(-1)
    entropy = -(lp.exp() * lp).sum(-1)[mask]
    assert values["policy_entropy"] == pytest.approx(entropy.mean().item(), abs=2e-6)
    taken = lp.gather(2, given["actions"].unsqueeze(2)).squeeze(2)[mask]
    advantage = given["advantages"].double().unsqueeze(1).expand(N, T)[mask]
    cov = ((taken - taken.mean()) * (advantage - advantage.mean())).mean()
    assert values["policy_cov"] == pytest.approx(cov.item(), rel=1e-4)
    k1 = (taken - given["ref_logprobs"].double()[mask]).mean()
    assert values["kl_ref_k1"] == pytest.approx(k1.item(), rel=1e-5)


def test_a_logged_tensor_named_like_a_statistic_is_told_apart(instruments: Watching) -> None:
    logged.log(instruments.sites, "policy_entropy", torch.tensor(5.0))
    assert instruments.readings()["policy_entropy"] == 5.0  # nothing else is called so yet
    policy.show(instruments.sites, torch.zeros(2, 3, V))
    logged.log(instruments.sites, "policy_entropy", torch.tensor(6.0))
    values = instruments.readings()
    assert values["policy_entropy"] == pytest.approx(math.log(V))
    assert values["policy_entropy{source=log}"] == 6.0
