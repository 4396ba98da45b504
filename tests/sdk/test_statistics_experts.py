"""Load, indecision and pathways of experts against their definitions, written as loops in float64."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.sdk.device_functions import experts as device_functions
from torch import Tensor

from foreshock.measure.statistics import experts, pathways
from foreshock.testing import recording

torch.set_num_threads(1)


def read(
    logits: Tensor, top_k: int = 2, running: Tensor | None = None, **given: Tensor
) -> tuple[dict[str, float], Tensor]:
    """The readings by name, windows after a slash, loads after a colon; and the running counts."""
    count = logits.shape[1]
    before = torch.zeros(count) if running is None else running
    given = {"logits": logits, "limits": torch.tensor(experts.limits(count)), **given}
    row, after = experts.measure(given, before, top_k)
    specs = experts.series("", count, given)
    assert len(row) == len(specs)
    names = [
        spec.statistic + "".join(f":{value}" for name, value in spec.labels if name != "tensor")
        for spec in specs
    ]
    return dict(zip(names, row.tolist(), strict=True)), after


def draw(tokens: int, count: int, seed: int = 0) -> Tensor:
    return torch.randn(tokens, count, generator=torch.Generator().manual_seed(seed)) * 2


def softmax(row: list[float]) -> tuple[list[float], float]:
    peak = max(row)
    weights = [math.exp(z - peak) for z in row]
    return [w / sum(weights) for w in weights], peak + math.log(sum(weights))


def entropy(shares: list[float]) -> float:
    return -math.fsum(p * math.log(p) for p in shares if p > 0)


def by_hand(logits: Tensor, top_k: int, mask: list[bool] | None = None) -> dict[str, float]:
    """The definitions, token by token."""
    rows = logits.double().tolist()
    kept = [row for i, row in enumerate(rows) if mask is None or mask[i]]
    count = len(rows[0])
    counts = [0] * count
    entropies, squares = [], []
    for row in kept:
        for expert in sorted(range(count), key=lambda e: -row[e])[:top_k]:
            counts[expert] += 1
        p, lse = softmax(row)
        entropies.append(entropy(p))
        squares.append(lse**2)
    load = [c / sum(counts) for c in counts]
    mean = math.fsum(entropies) / len(kept)
    return {
        **{f"expert_load:{e}": f for e, f in enumerate(load)},
        "expert_max_violation:batch": max(load) / (sum(load) / count) - 1,
        "expert_load_entropy:batch": entropy(load) / math.log(count),
        "expert_idle": sum(c == 0 for c in counts) / count,
        "router_entropy": mean,
        "router_entropy_normalized": mean / math.log(count),
        "router_z": math.fsum(squares) / len(kept),
        "n_eff": len(kept),
        "nonfinite_count": 0,
    }


@pytest.mark.parametrize(("tokens", "count", "top_k"), [(1, 4, 1), (50, 8, 2), (700, 5, 5), (300, 60, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_readings_agree_with_their_definitions(
    tokens: int, count: int, top_k: int, dtype: torch.dtype
) -> None:
    logits = draw(tokens, count)
    if (
        dtype == torch.bfloat16
    ):  # of rounded logits many are equal, and either of two equal ones may be chosen
        logits = (logits.argsort(1) / 4).to(dtype)
    readings, _ = read(logits, top_k)
    for name, value in by_hand(logits, top_k).items():
        assert readings[name] == pytest.approx(value, rel=2e-6, abs=2e-6), name
    assert readings["expert_max_violation:running"] == readings["expert_max_violation:batch"]


def test_masked_tokens_do_not_count_whatever_they_hold() -> None:
    logits, mask = draw(200, 6), torch.rand(200, generator=torch.Generator().manual_seed(1)) > 0.4
    logits[(mask.logical_not()).nonzero()[:5]] = math.nan
    readings, _ = read(logits, valid=mask)
    for name, value in by_hand(logits, 2, mask.tolist()).items():
        assert readings[name] == pytest.approx(value, rel=2e-6, abs=2e-6), name


def test_tokens_whose_logits_are_not_finite_are_left_out_and_counted() -> None:
    logits = draw(100, 6)
    clean, _ = read(logits[3:])
    logits[0, 2], logits[1, 0], logits[2] = math.nan, math.inf, -math.inf
    readings, after = read(logits)
    assert readings.pop("nonfinite_count") == 3
    clean.pop("nonfinite_count")
    assert readings == pytest.approx(clean, rel=1e-6)
    assert after.sum() == 2 * 97
    logits[:60] = math.nan
    readings, _ = read(logits)
    assert (readings.pop("n_eff"), readings.pop("nonfinite_count")) == (40, 60)
    assert all(math.isnan(value) for value in readings.values())


def test_an_expert_that_cannot_be_chosen_is_no_fault() -> None:
    logits = draw(300, 8)
    logits[:, 5] = -math.inf
    readings, _ = read(logits)
    assert readings["nonfinite_count"] == 0
    assert readings["expert_load:5"] == 0
    assert readings["expert_idle"] == 1 / 8
    without, _ = read(torch.cat([logits[:, :5], logits[:, 6:]], 1))
    assert readings["router_entropy"] == pytest.approx(without["router_entropy"], rel=1e-6)
    assert readings["router_z"] == pytest.approx(without["router_z"], rel=1e-6)


def test_collapse_to_one_expert_reads_as_such() -> None:
    logits = torch.zeros(500, 4)
    logits[:, 1] = 200.0
    readings, _ = read(logits, top_k=1)
    assert readings["expert_load:1"] == 1
    assert readings["expert_max_violation:batch"] == 3
    assert readings["expert_load_entropy:batch"] == 0
    assert readings["expert_idle"] == readings["expert_dead"] == 0.75
    assert readings["router_entropy"] == 0
    assert readings["router_z"] == 200**2


def test_equal_logits_are_an_undecided_router() -> None:
    readings, _ = read(torch.full((64, 8), 1e4))
    assert readings["router_entropy_normalized"] == pytest.approx(1, abs=1e-6)
    assert readings["router_z"] == pytest.approx((1e4 + math.log(8)) ** 2, rel=1e-6)


def test_without_tokens_there_is_nothing_to_say() -> None:
    for logits, valid in ((torch.zeros(0, 4), torch.zeros(0)), (draw(5, 4), torch.zeros(5))):
        readings, after = read(logits, valid=valid)
        assert readings.pop("n_eff") == readings.pop("nonfinite_count") == 0
        assert all(math.isnan(value) for value in readings.values())
        assert after.sum() == 0


def test_one_expert_alone_has_no_entropy() -> None:
    readings, _ = read(draw(20, 1), top_k=2)
    assert readings["expert_load:0"] == 1
    assert readings["expert_max_violation:batch"] == 0
    assert math.isnan(readings["expert_load_entropy:batch"])
    assert math.isnan(readings["router_entropy_normalized"])


def test_the_order_of_the_tokens_does_not_matter() -> None:
    logits = draw(400, 6)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(2))
    assert read(logits)[0] == pytest.approx(read(logits[order])[0], rel=1e-6)


def test_running_counts_forget_a_hundredth_per_record_and_say_who_is_dead() -> None:
    logits, count = draw(200, 5), 5
    logits[:, 4] -= 100  # never chosen
    running = torch.zeros(count)
    by_loop = np.zeros(count)
    for _ in range(3):
        readings, running = read(logits, running=running)
        chosen = Counter(
            e for row in logits.tolist() for e in sorted(range(count), key=lambda i: -row[i])[:2]
        )
        by_loop = 0.99 * by_loop + np.array([chosen[e] for e in range(count)])
    assert running.tolist() == pytest.approx(by_loop.tolist(), rel=1e-6)
    assert readings["expert_max_violation:running"] == pytest.approx(
        count * by_loop.max() / by_loop.sum() - 1, rel=1e-5
    )
    assert readings["expert_dead"] == pytest.approx(1 / 5)


def test_an_expert_deserted_at_once_is_dead_some_460_records_later() -> None:
    running, batch = torch.full((4,), 2500.0), torch.full((100, 4), -50.0)  # what batches of 100 add up to
    batch[:, :3] = torch.eye(3).repeat(34, 1)[:100]
    dead = []
    for _ in range(470):
        readings, running = read(batch, 1, running)
        dead.append(readings["expert_dead"])
    assert dead.index(0.25) == math.ceil(math.log(0.01) / math.log(0.99)) - 1


def test_too_few_choices_call_no_expert_dead() -> None:
    readings, _ = read(draw(19, 4), top_k=2)
    assert math.isnan(readings["expert_dead"])
    readings, _ = read(draw(20, 4), top_k=2)
    assert readings["expert_dead"] == 0


def test_the_choices_that_a_router_reports_count_instead_of_its_largest_logits() -> None:
    logits = draw(100, 4)
    chosen = torch.full((100, 2), 3)
    chosen[:50, 1] = 0
    chosen[:10] = torch.tensor([-1, 4])  # nowhere
    readings, _ = read(logits, chosen=chosen)
    assert readings["expert_load:0"] == pytest.approx(40 / 180)
    assert readings["expert_load:3"] == pytest.approx(140 / 180)
    assert readings["router_entropy"] == pytest.approx(by_hand(logits, 2)["router_entropy"], rel=1e-6)


def test_more_tokens_than_are_sampled_are_still_all_counted() -> None:
    logits = draw(experts.TOKENS + 3000, 6)
    uniform = torch.rand(len(logits), generator=torch.Generator().manual_seed(3))
    readings, _ = read(logits, uniform=uniform)
    exact = by_hand(logits, 2)
    for name in (f"expert_load:{e}" for e in range(6)):
        assert readings[name] == pytest.approx(exact[name], rel=1e-6)
    assert readings["router_entropy"] == pytest.approx(exact["router_entropy"], rel=0.02)
    taken = uniform.topk(experts.TOKENS).indices
    assert readings["router_entropy"] == pytest.approx(by_hand(logits[taken], 2)["router_entropy"], rel=1e-5)


def test_dropped_tokens_and_choices() -> None:
    logits = draw(40, 4)
    lost = torch.zeros(40, 2, dtype=torch.bool)
    lost[:10, 0] = True
    valid = torch.ones(40)
    valid[0] = 0
    assert read(logits, dropped=lost)[0]["expert_dropped"] == pytest.approx(10 / 80)
    assert read(logits, dropped=lost, valid=valid)[0]["expert_dropped"] == pytest.approx(9 / 78)
    assert read(logits, dropped=lost[:, 0])[0]["expert_dropped"] == pytest.approx(10 / 40)
    assert read(logits, dropped=torch.tensor([6.0]))[0]["expert_dropped"] == pytest.approx(6 / 40)
    load = [round(80 * by_hand(logits, 2)[f"expert_load:{e}"]) for e in range(4)]
    beyond = sum(max(0, c - 15) for c in load) / 80
    assert beyond > 0
    assert read(logits, capacity=torch.tensor([15.0]))[0]["expert_dropped"] == pytest.approx(beyond)


def information_by_hand(pairs: list[tuple[int, int]]) -> float:
    """Miller and Madow's mutual information over the smaller plug-in entropy."""
    n = len(pairs)
    tables = [Counter(t for t, _ in pairs), Counter(e for _, e in pairs), Counter(pairs)]
    plain = [entropy([c / n for c in table.values()]) for table in tables]
    full = [h + (len(table) - 1) / (2 * n) for h, table in zip(plain, tables, strict=True)]
    return min(1.0, max(0.0, (full[0] + full[1] - full[2]) / min(plain[:2])))


def test_what_tasks_tell_of_experts_agrees_with_its_definition() -> None:
    generator = torch.Generator().manual_seed(4)
    tasks = torch.randint(0, 5, (800,), generator=generator)
    logits = draw(800, 6) + 2 * torch.randn(5, 6, generator=generator)[tasks]
    chosen = logits.topk(2).indices
    pairs = [(int(t), int(e)) for t, row in zip(tasks, chosen, strict=True) for e in row]
    readings, _ = read(logits, tasks=tasks)
    assert readings["expert_task_information"] == pytest.approx(information_by_hand(pairs), rel=1e-4)
    of = Counter(e for _, e in pairs)
    largest = max(Counter(t for t, e in pairs if e == one).most_common(1)[0][1] / of[one] for one in of)
    assert readings["expert_task_max_share"] == pytest.approx(largest, rel=1e-6)


def occupancy_by_hand(tasks: list[int], chosen: list[list[int]], count: int) -> dict[str, float]:
    """The row of each of the first eight tasks, and how many choices it rests on; choices that went nowhere do not count."""
    found = {}
    for task in range(experts.ROWS):
        taken = [e for t, row in zip(tasks, chosen, strict=True) if t == task for e in row if 0 <= e < count]
        for e in range(count):
            found[f"expert_task_load:{e}:{task}"] = taken.count(e) / len(taken) if taken else math.nan
        found[f"expert_task_choices:{task}"] = len(taken)
    return found


def test_the_rows_of_tasks_agree_with_their_definition() -> None:
    generator = torch.Generator().manual_seed(5)
    tasks = torch.randint(-1, 10, (600,), generator=generator)
    tasks[tasks == 2] = 3  # none of task 2
    logits = draw(600, 5) + 2 * torch.randn(11, 5, generator=generator)[tasks + 1]
    chosen = torch.randint(-1, 6, (600, 3), generator=generator)
    valid = torch.rand(600, generator=generator) > 0.3
    for given, taken in (({}, logits.topk(2).indices), ({"chosen": chosen}, chosen)):
        readings, _ = read(logits, tasks=tasks, valid=valid, **given)
        expected = occupancy_by_hand(tasks[valid].tolist(), taken[valid].tolist(), 5)
        found = {name: value for name, value in readings.items() if name in expected}
        assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
        assert math.isnan(found["expert_task_load:0:2"])
        assert found["expert_task_choices:2"] == 0
    logits[:400] = math.nan
    readings, _ = read(logits, tasks=tasks)
    assert all(math.isnan(readings[name]) for name in expected if name.startswith("expert_task_load"))
    assert readings["expert_task_choices:3"] == 2 * int((tasks[400:] == 3).sum())


def test_tasks_that_own_their_experts_read_one_and_strangers_zero() -> None:
    tasks = torch.arange(4).repeat(200)
    own = torch.full((800, 4), -50.0).scatter_(1, tasks.unsqueeze(1), 50.0)
    readings, _ = read(own, 1, tasks=tasks + 640)  # task numbers are any integers
    assert readings["expert_task_information"] == pytest.approx(1, abs=1e-5)
    assert readings["expert_task_max_share"] == 1
    assert [readings[f"expert_task_load:{e}:{t}"] for t in range(4) for e in range(4)] == [
        float(e == t) for t in range(4) for e in range(4)
    ]
    readings, _ = read(draw(800, 4), 1, tasks=tasks)
    assert readings["expert_task_information"] < 0.01
    assert readings["expert_task_max_share"] < 0.4


def test_one_task_tells_nothing_and_one_expert_is_told_nothing() -> None:
    logits = draw(100, 4)
    one, _ = read(logits, tasks=torch.full((100,), 7))
    assert math.isnan(one["expert_task_information"])
    assert math.isnan(one["expert_task_max_share"])
    logits[:, 2] += 100
    all_to_one, _ = read(logits, 1, tasks=torch.arange(100) % 2)
    assert all_to_one["expert_task_information"] == 0
    assert all_to_one["expert_task_max_share"] == 0.5


def test_with_many_experts_the_aggregates_alone_are_kept() -> None:
    readings, _ = read(draw(2000, experts.LABELLED + 1), 4, tasks=torch.arange(2000) % 2)
    assert not any(name.startswith(("expert_load:", "expert_task_load:")) for name in readings)
    assert readings["expert_task_choices:1"] == 4000
    assert readings["expert_max_violation:batch"] == pytest.approx(
        by_hand(draw(2000, experts.LABELLED + 1), 4)["expert_max_violation:batch"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("x", "weight"), [(torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.bfloat16,) * 2]
)
def test_logits_are_recomputed_as_the_router_would(
    x: torch.dtype, weight: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, rows, bias = draw(33, 8).to(x), draw(4, 8, 1).to(weight), draw(1, 4, 2)[0].to(weight)
    expected = given.double().numpy() @ rows.double().numpy().T + bias.double().numpy()
    for values in (experts.VALUES, 24):  # in one part, in parts of three rows
        monkeypatch.setattr(experts, "VALUES", values)
        found = experts.scores(given, rows, bias)
        tolerance = 1e-5 if weight == torch.float32 else 0.2
        assert np.abs(found.double().numpy() - expected).max() < tolerance


@pytest.mark.parametrize("name", [one.name for one in device_functions.FUNCTIONS if one.series])
def test_readings_lie_in_their_range(name: str) -> None:
    (function,) = (one for one in device_functions.FUNCTIONS if one.name == name)
    row = function.run(function.inputs())[0].tolist()
    assert len(row) == len(function.series)
    for spec, value in zip(function.series, row, strict=True):
        assert spec.low is None or value >= spec.low - 1e-6, spec.key
        assert spec.high is None or value <= spec.high + 1e-6, spec.key


# -- pathways ---------------------------------------------------------------------------------------------------------


def distance_by_hand(chosen: Tensor) -> float:
    """Between all pairs, layer by layer."""
    layers, tokens, each = chosen.shape
    sets = [[set(chosen[layer, token].tolist()) for token in range(tokens)] for layer in range(layers)]
    shared = [
        len(sets[layer][a] & sets[layer][b]) / each
        for layer in range(layers)
        for a in range(tokens)
        for b in range(tokens)
        if a != b
    ]
    return 1 - math.fsum(shared) / len(shared)


def pathways_of(layers: int, tokens: int, each: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(layers, tokens, count, generator=generator).topk(each, 2).indices


def test_the_distance_between_pathways_agrees_with_all_pairs() -> None:
    chosen = pathways_of(4, 30, 3, 9)
    assert pathways.measure({"chosen": chosen})[0].item() == pytest.approx(distance_by_hand(chosen), rel=1e-6)
    valid = torch.arange(30) % 3 > 0
    row = pathways.measure({"chosen": chosen, "valid": valid})
    assert row.tolist() == pytest.approx([distance_by_hand(chosen[:, valid]), 20], rel=1e-6)


def test_one_way_for_all_is_distance_zero_and_no_expert_in_common_is_one() -> None:
    alike = pathways_of(4, 1, 2, 8).expand(4, 50, 2)
    assert pathways.measure({"chosen": alike})[0] == 0
    apart = torch.arange(40).view(1, 20, 2).expand(3, 20, 2)
    assert pathways.measure({"chosen": apart})[0] == 1
    assert pathways.measure({"chosen": apart[:, :1]})[0].isnan()
    assert pathways.measure({"chosen": apart[:, :0]})[0].isnan()


def test_choices_that_went_nowhere_are_shared_with_nobody() -> None:
    chosen = torch.zeros(2, 10, 1, dtype=torch.int32)
    chosen[1] = -1
    assert pathways.measure({"chosen": chosen})[0] == 0.5


def complexity_by_hand(chosen: Tensor, embeddings: Tensor, weights: Tensor | None) -> float:
    """1 − cosine of the mixtures of consecutive layers, token by token."""
    layers, tokens, each = chosen.shape
    vectors = embeddings.double().numpy()
    cosines = []
    for token in range(tokens):
        mixed = [
            sum(
                (1.0 if weights is None else float(weights[layer, token, k]))
                * vectors[layer, int(chosen[layer, token, k])]
                for k in range(each)
            )
            for layer in range(layers)
        ]
        cosines += [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairwise(mixed)]
    return 1 - math.fsum(cosines) / len(cosines)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_complexity_of_pathways_agrees_with_its_definition(weighted: bool) -> None:
    chosen, generator = pathways_of(4, 30, 3, 9), torch.Generator().manual_seed(6)
    embeddings = torch.randn(4, 9, 5, generator=generator)
    given = {"chosen": chosen, "embeddings": embeddings}
    if weighted:
        given["weights"] = torch.rand(4, 30, 3, generator=generator)
    row = pathways.measure(given)
    assert row[1].item() == pytest.approx(
        complexity_by_hand(chosen, embeddings, given.get("weights")), rel=1e-5
    )
    assert len(row) == len(pathways.series("", given))


def test_a_layer_alone_has_no_complexity_and_bad_vectors_make_none_up() -> None:
    chosen, embeddings = pathways_of(1, 30, 3, 9), torch.randn(1, 9, 5)
    assert pathways.measure({"chosen": chosen, "embeddings": embeddings})[1].isnan()
    chosen, embeddings = pathways_of(3, 30, 1, 9), torch.ones(3, 9, 5)
    assert pathways.measure({"chosen": chosen, "embeddings": embeddings})[1] == pytest.approx(0, abs=1e-6)
    embeddings[1, 0] = math.nan
    assert pathways.measure({"chosen": chosen, "embeddings": embeddings})[1].isnan()


def test_of_many_tokens_the_same_are_followed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, embeddings = pathways_of(3, 60, 2, 9), torch.randn(3, 9, 5)
    monkeypatch.setattr(pathways, "TOKENS", 20)
    found = pathways.measure({"chosen": chosen, "embeddings": embeddings})[1].item()
    assert found == pytest.approx(complexity_by_hand(chosen[:, ::3], embeddings, None), rel=1e-5)


# -- shown by the loop ------------------------------------------------------------------------------------------------


def test_a_loop_shows_its_router_and_its_pathways() -> None:
    with recording() as recorded:
        for seed in range(3):
            logits = draw(60, 4, seed)
            recorded.run.observe.router(
                "moe.0",
                logits.view(3, 20, 4),
                mask=torch.ones(3, 20),
                tasks=torch.arange(3),
                capacity=40,
            )
            recorded.run.observe.router("moe.1", logits, chosen=logits.argmax(1), dropped=3)
            recorded.run.observe.pathways(
                "probe", [logits.topk(2).indices] * 2, embeddings=[torch.eye(4)] * 2
            )
            recorded.run.step()
        expected = [by_hand(draw(60, 4, seed), 2) for seed in range(3)]
        for name, key in (
            ("expert_load:2", "expert_load{expert=2,place=moe.0}"),
            ("router_entropy", "router_entropy{place=moe.0}"),
            ("expert_max_violation:batch", "expert_max_violation{place=moe.0,window=batch}"),
        ):
            values = recorded.columns(key).values
            assert values.tolist() == pytest.approx([one[name] for one in expected], rel=1e-5)
        counts = np.zeros(4)
        for seed in range(3):
            counts = 0.99 * counts + np.bincount(draw(60, 4, seed).argmax(1).numpy(), minlength=4)
        running = recorded.columns("expert_max_violation{place=moe.1,window=running}").values
        assert running[-1] == pytest.approx(4 * counts.max() / counts.sum() - 1, rel=1e-5)
        assert recorded.columns("expert_dropped{place=moe.1}").values.tolist() == pytest.approx([0.05] * 3)
        for task in range(3):  # a task per sequence of twenty tokens
            taken = draw(60, 4, 2)[20 * task : 20 * (task + 1)].topk(2).indices.flatten()
            key = f"expert_task_load{{expert=1,place=moe.0,task={task}}}"
            assert recorded.columns(key).values[-1] == pytest.approx(float((taken == 1).double().mean()))
        assert recorded.columns("expert_task_choices{place=moe.0,task=7}").values.tolist() == [0] * 3
        assert recorded.columns("expert_task_max_share{place=moe.0}").steps.tolist() == [0, 1, 2]
        assert recorded.columns("pathway_complexity{place=probe}").values.tolist() == pytest.approx(
            [0] * 3, abs=1e-6
        )


GOOD = torch.zeros(6, 4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda o: o.router("r", [1.0]), r"logits is a list; pass a torch tensor"),
        (
            lambda o: o.router("r", torch.zeros(6, 4, dtype=torch.long)),
            r"pass a floating tensor \[tokens, ex",
        ),
        (lambda o: o.router("r", torch.zeros(4)), r"logits has shape \[4\]; pass \[tokens, experts\]"),
        (lambda o: o.router("r", GOOD, top_k=5), r"top_k is 5; pass how many of the 4 experts"),
        (lambda o: o.router("r", GOOD, mask=torch.ones(5)), r"mask has shape \[5\]; .* per token: \[6\]"),
        (lambda o: o.router("r", GOOD, chosen=torch.zeros(6, 2)), r"chosen has dtype torch.float32; pass"),
        (lambda o: o.router("r", GOOD, chosen=torch.zeros(5, 2).long()), r"\[6, 2\] or \[6\]"),
        (lambda o: o.router("r", GOOD, tasks=torch.zeros(5).long()), r"tasks has shape \[5\]"),
        (lambda o: o.router("r", GOOD, dropped=-1), r"dropped is -1; pass a number of tokens"),
        (lambda o: o.router("r", GOOD, dropped=1, capacity=2), r"pass one of them"),
        (lambda o: o.pathways("p", torch.zeros(6, 2).long()), r"chosen has shape \[6, 2\]; pass the experts"),
        (lambda o: o.pathways("p", [torch.zeros(6, 2), torch.zeros(5, 2)]), r"pass tensors of one shape"),
        (
            lambda o: o.pathways("p", torch.zeros(3, 6, 2).long(), embeddings=torch.zeros(2, 4, 5)),
            r"a vector per expert of each of the 3 layers",
        ),
        (
            lambda o: o.pathways("p", torch.zeros(3, 6, 2).long(), weights=torch.zeros(3, 6, 1)),
            r"weights has shape \[3, 6, 1\]; pass one entry per choice: \[3, 6, 2\]",
        ),
    ],
)
def test_a_wrong_argument_is_told_what_to_be(call: object, sentence: str) -> None:
    with recording() as recorded, pytest.raises(ValueError, match=sentence):
        call(recorded.run.observe)  # type: ignore[operator]
