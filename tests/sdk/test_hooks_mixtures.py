"""Routers and codebooks are found, hooked and read right, compiled or not, and training computes what it did."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable

import pytest
import torch
from tests.sdk import recorded
from tests.zoo import feedforward, mixtures, transformers
from tests.zoo.mixtures import CODES, EXPERTS, VQVAE, WIDTH, Mixture, SparseBlock
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F  # noqa: N812 (the field's own name)
from torch.utils.checkpoint import checkpoint

from foreshock.config import EVERY
from foreshock.measure.probes import codebooks, routers
from foreshock.measure.probes.subject import Subject
from foreshock.measure.statistics import codebook, experts

torch.set_num_threads(1)
ALONE = {**dict.fromkeys(EVERY, 0), "router": 1, "codes": 1}  # nothing but routers and codebooks


class Recorded(recorded.Recorded):
    """A model of which nothing but routers and codebooks is watched."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(ALONE)
        self.instruments.watch(model)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def found(model: nn.Module) -> dict[str, routers.Router]:
    return {router.name: router for router in routers.routers(dict(Subject.of(model).modules()))}


# -- who is a router --------------------------------------------------------------------------------------------------


def test_routers_are_found_beside_their_experts_and_nothing_else_is() -> None:
    model = Mixture()
    chosen = found(model)
    assert list(chosen) == ["layers.0.mlp.gate", "layers.1.mlp.router"]
    gate, router = chosen.values()
    assert (gate.experts, gate.top_k, gate.assumed, gate.plain) == (EXPERTS, 2, False, True)
    assert (router.experts, router.top_k, router.assumed, router.plain) == (EXPERTS, 2, False, False)
    for other in (transformers.NanoGPT(), transformers.CausalLM(), feedforward.ResNet(), feedforward.mlp()):
        assert found(other) == {}


def block(**modules: nn.Module) -> nn.Module:
    made = nn.Module()
    for name, module in modules.items():
        setattr(made, name, module)
    return made


def three() -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))


class Inner(nn.Module):
    """A router whose linear layer has another name."""

    def __init__(self, rows: int = 3, norm: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, rows)
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()


class Top1Router(Inner):
    """Sends each token to one expert."""


def test_routers_of_other_libraries_are_found() -> None:
    listed = nn.ModuleDict({str(e): nn.Linear(WIDTH, WIDTH) for e in range(3)})
    for model, name, head, top_k, assumed in (
        (block(router=Inner(), experts=three()), "router", "layer", 2, True),
        (block(router=Inner(norm=True), experts=three()), "router.layer", "", 2, True),
        (block(router=Top1Router(), experts=listed), "router", "layer", 1, False),
        (block(wg=nn.Linear(WIDTH, 3), experts=block(deepspeed_experts=three())), "wg", "", 2, True),
        (block(gates=nn.ModuleList([nn.Linear(WIDTH, 3)]), experts=three()), "gates.0", "", 2, True),
        (block(mixer=Top1Router(6), experts=three()), "mixer", "layer", 1, False),  # half of them elsewhere
    ):
        (router,) = found(model).values()
        assert (router.name, router.head, router.top_k, router.assumed) == (name, head, top_k, assumed)


@pytest.mark.parametrize(
    "model",
    [
        block(gate=nn.Linear(WIDTH, 5), experts=three()),  # not a row per expert
        block(gate=nn.Linear(WIDTH, 3), shared_experts=three()),
        block(gate=nn.Linear(WIDTH, 3), blocks=three()),
        block(projection=nn.Linear(WIDTH, 3), experts=three()),
        block(gate=nn.LazyLinear(3), experts=three()),
    ],
    ids=["other size", "shared experts", "no experts", "other name", "lazy"],
)
def test_what_is_named_like_a_router_need_not_be_one(model: nn.Module) -> None:
    assert found(model) == {}


def test_two_routers_of_a_list_are_two() -> None:
    model = block(
        gates=nn.ModuleList([nn.Linear(WIDTH, 3, bias=False), nn.Linear(WIDTH, 3)]), experts=three()
    )
    assert list(found(model)) == ["gates.0", "gates.1"]


def test_how_many_are_chosen_is_read_from_a_configuration() -> None:
    made = block(gate=nn.Linear(WIDTH, 3), experts=three())
    made.config = type("Config", (), {"num_experts_per_tok": 3})()  # type: ignore[assignment]
    assert next(iter(found(made).values())).top_k == 3


def test_the_table_says_what_is_watched_and_patterns_choose() -> None:
    lines = routers.plan(Subject.of(Mixture()))
    assert [(line.place, line.kind, line.family) for line in lines] == [
        ("layers.0.mlp.gate", "router", "experts"),
        ("layers.1.mlp.router", "router", "experts"),
    ]
    assert lines[0].measured == "router of 4 experts, 2 per token"
    assert lines[0].series == len(experts.series("x", EXPERTS))
    assert lines[1].operations > lines[0].operations > 0
    assert [line.place for line in routers.plan(Subject.of(Mixture(), exclude=["**.gate"]))] == [
        "layers.1.mlp.router"
    ]


def test_a_model_with_too_many_experts_keeps_the_aggregates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "SERIES", 7)
    model = seeded(Mixture)
    recorded = Recorded(model)
    model(mixtures.rows())
    values = recorded.step()
    assert values["expert_max_violation{place=layers.0.mlp.gate,window=batch}"] >= 0
    assert not any(key.startswith("expert_load{") for key in values)


# -- what is read -----------------------------------------------------------------------------------------------------


def seen(module: nn.Module) -> list[tuple[tuple[Tensor, ...], object]]:
    """Arguments and outputs of its calls from now on."""
    calls: list[tuple[tuple[Tensor, ...], object]] = []
    module.register_forward_hook(lambda module, args, output: calls.append((args, output)))
    return calls


def expected(logits: Tensor, top_k: int, chosen: Tensor | None = None) -> list[float]:
    given = {"logits": logits.detach(), "limits": torch.tensor(experts.limits(EXPERTS))}
    if chosen is not None:
        given["chosen"] = chosen
    return experts.measure(given, torch.zeros(EXPERTS), top_k)[0].tolist()


def test_a_linear_gate_reads_its_output() -> None:
    model = seeded(Mixture)
    calls = seen(model.layers[0]["mlp"].gate)
    recorded = Recorded(model)
    model(mixtures.rows()).sum().backward()
    values = recorded.step()
    specs = experts.series("layers.0.mlp.gate", EXPERTS)
    assert [values[spec.key] for spec in specs] == expected(calls[0][1].reshape(-1, EXPERTS), 2)


def test_a_router_that_hides_its_logits_reads_them_from_its_input_and_its_choices_from_its_output() -> None:
    model = seeded(Mixture)
    router = model.layers[1]["mlp"].router
    calls = seen(router)
    recorded = Recorded(model)
    model(mixtures.rows()).sum().backward()
    values = recorded.step()
    (x,), (_, chosen) = calls[0]
    specs = experts.series("layers.1.mlp.router", EXPERTS)
    logits = F.linear(x.reshape(-1, WIDTH), router.weight)
    assert [values[spec.key] for spec in specs] == pytest.approx(expected(logits, 2, chosen), rel=1e-6)
    assert values["expert_load{expert=3,place=layers.1.mlp.router}"] == 0.5  # the bias has its way


class ScoringRouter(nn.Linear):
    """A linear layer by descent alone: returns scores of the chosen, then logits."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits = super().forward(x)
        return torch.zeros_like(logits).scatter(-1, logits.topk(2).indices, 1.0) * logits.sigmoid(), logits


def test_a_router_that_is_a_linear_layer_by_descent_alone_is_recomputed() -> None:
    model = seeded(lambda: block(router=ScoringRouter(WIDTH, 3), experts=three()))
    recorded = Recorded(model)
    scores, logits = model.router(mixtures.rows().reshape(-1, WIDTH))
    scores.sum().backward()
    given = {"logits": logits.detach(), "limits": torch.tensor(experts.limits(3))}
    row = experts.measure(given, torch.zeros(3), 2)[0].tolist()
    values = recorded.step()
    assert [values[spec.key] for spec in experts.series("router", 3)] == pytest.approx(row, rel=1e-6)


def test_running_counts_live_from_step_to_step() -> None:
    model = seeded(Mixture)
    calls = seen(model.layers[0]["mlp"].gate)
    recorded = Recorded(model)
    counts = torch.zeros(EXPERTS)
    for seed in range(3):
        model(mixtures.rows(seed=seed))
        values = recorded.step()
        chosen = calls[-1][1].reshape(-1, EXPERTS).topk(2).indices
        counts = 0.99 * counts + torch.bincount(chosen.flatten(), minlength=EXPERTS)
    violation = (EXPERTS * counts.max() / counts.sum() - 1).item()
    assert values["expert_max_violation{place=layers.0.mlp.gate,window=running}"] == pytest.approx(
        violation, rel=1e-5
    )


def test_a_shard_of_a_router_is_refused_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_STRICT", "0")
    model = seeded(SparseBlock)
    recorded = Recorded(model)
    whole = model.gate
    model.gate.weight = nn.Parameter(whole.weight[:2].detach())
    model.top_k = 1
    model(mixtures.rows()).sum().backward()
    assert recorded.step() == {}


def test_a_rollout_s_routing_does_not_stand_for_training() -> None:
    model = seeded(Mixture)
    recorded = Recorded(model)
    for _ in range(2):
        with torch.no_grad():
            model(mixtures.rows(5))
        model(mixtures.rows(9)).sum().backward()
        assert recorded.step()["n_eff{place=layers.0.mlp.gate}"] == 36


def test_what_is_remembered_survives_inference_mode_and_a_copy_is_not_watched() -> None:
    model = seeded(Both).eval()
    recorded = Recorded(model)
    with torch.inference_mode():
        model(mixtures.rows(5))
    first = recorded.step()
    model(mixtures.rows(9)).backward()
    second = recorded.step()
    for place in ("mixture.layers.0.mlp.gate", "mixture.layers.1.mlp.router", "coder.quantizer"):
        assert (first[f"n_eff{{place={place}}}"], second[f"n_eff{{place={place}}}"]) == (20, 36)
    assert second["codebook_age_max{place=coder.quantizer}"] == 2
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin(mixtures.rows(3))
        assert recorded.step() == {}


@pytest.mark.parametrize("returns", ["indices", "one-hot", "nothing"])
def test_a_quantiser_s_indices_are_read_however_it_gives_them(returns: str) -> None:
    model = seeded(lambda: VQVAE(returns))
    lines = codebooks.plan(Subject.of(model))
    assert [(line.place, line.measured) for line in lines] == [("quantizer", f"use of {CODES} codes")]
    recorded = Recorded(model)
    memory = codebook.fresh(CODES, torch.device("cpu"))
    for seed in range(2):
        x = mixtures.rows(seed=seed)
        z = model.encoder(x).reshape(-1, WIDTH)
        index = torch.cdist(z, model.quantizer.embedding.weight).argmin(1)
        readings, memory = codebook.measure({"index": index}, memory)
        output, loss = model(x)
        (output.sum() + loss).backward()
        values = recorded.step()
        assert [values[spec.key] for spec in codebook.series("quantizer")] == pytest.approx(
            readings.tolist(), nan_ok=True
        )
        assert values["codebook_usage{place=quantizer}"] > 0


class ResidualVQ(nn.Module):
    """A quantiser of quantisers."""

    codebook_size = CODES

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(mixtures.VectorQuantizer() for _ in range(2))


class ResidualQuantizer(ResidualVQ):
    """The same, named so that it is recognised itself."""


class EuclideanCodebook(nn.Module):
    """Holds its codes in a buffer, and says how many they are in its shape alone."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("embed", torch.randn(1, 7, WIDTH))


class FakeQuantize(nn.Module):
    """Rounds numbers; has no codes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))


class VQEmbedding(mixtures.VectorQuantizer):
    """Named for short."""


class VQAModel(mixtures.VectorQuantizer):
    """Answers questions about images; its embedding is of words."""


class VQTransformer(nn.Module):
    """Writes codes that another model made; not a quantiser, but a model that has layers with layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, WIDTH)
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()))


class WordModel(nn.Module):
    """What has an embedding, and scores per word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, WIDTH)
        self.head = nn.Linear(WIDTH, CODES)


class Bottleneck(nn.Module):
    """Says nowhere but in the name of its table that it quantises; its codes are as wide as they are many."""

    def __init__(self, returns: bool) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, CODES)
        self.codebook = nn.Embedding(CODES, CODES)
        self.returns = returns

    def indices(self, x: Tensor) -> Tensor:
        return torch.cdist(self.project(x), self.codebook.weight).argmin(1)

    def forward(self, x: Tensor) -> object:
        index = self.indices(x)
        return (self.codebook.weight[index], index) if self.returns else self.codebook(index)


@pytest.mark.parametrize("returns", [True, False], ids=["returns indices", "looks them up"])
def test_a_quantiser_is_recognised_by_its_codebook_and_scores_are_not_taken_for_indices(
    returns: bool,
) -> None:
    model = seeded(lambda: nn.Sequential(Bottleneck(returns)))
    recorded = Recorded(model)
    x = torch.randn(40, WIDTH)
    model(x)
    expected, _ = codebook.measure({"index": model[0].indices(x)}, codebook.fresh(CODES, torch.device("cpu")))
    values = recorded.step()
    assert [values[spec.key] for spec in codebook.series("0")] == pytest.approx(
        expected.tolist(), nan_ok=True
    )


def test_the_innermost_quantisers_are_watched() -> None:
    for model, names, sizes in (
        (ResidualQuantizer(), ["layers.0", "layers.1"], [CODES] * 2),
        (nn.Sequential(ResidualQuantizer()), ["0.layers.0", "0.layers.1"], [CODES] * 2),
        (nn.Sequential(EuclideanCodebook()), ["0"], [7]),
        (nn.Sequential(FakeQuantize()), [], []),
        (nn.Sequential(VQEmbedding()), ["0"], [CODES]),
        (nn.Sequential(Bottleneck(returns=True)), ["0"], [CODES]),
        (nn.Sequential(VQAModel(), VQTransformer(), WordModel()), [], []),
        (Mixture(), [], []),
        (transformers.NanoGPT(), [], []),
    ):
        books = codebooks.codebooks(Subject.of(model).modules())
        assert [book.name for book in books] == names
        assert [book.size for book in books] == sizes


# -- that training is left alone --------------------------------------------------------------------------------------


class Both(nn.Module):
    """A mixture before a quantiser, with dropout."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        self.mixture = Mixture()
        self.mixture.head = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.2)
        self.coder = VQVAE()
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        mixed = checkpoint(self.mixture, x, use_reentrant=False) if self.checkpointed else self.mixture(x)
        output, loss = self.coder(self.dropout(mixed))
        return output.square().mean() + loss


def trained(
    watched: bool, checkpointed: bool = False, compiled: bool = False
) -> tuple[list[Tensor], Tensor, list[dict[str, float]]]:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Both(checkpointed)
    recorded = Recorded(model) if watched else None
    call = torch.compile(model, backend="aot_eager", fullgraph=not checkpointed) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    read = []
    for seed in range(3):
        optimizer.zero_grad()
        call(mixtures.rows(seed=seed)).backward()
        optimizer.step()
        if recorded is not None:
            read.append(recorded.step())
    return [p.detach().clone() for p in model.parameters()], torch.get_rng_state(), read


@pytest.mark.parametrize("checkpointed", [False, True])
def test_weights_and_random_numbers_are_the_same_bit_for_bit(checkpointed: bool) -> None:
    plain, rng, _ = trained(False, checkpointed)
    watched, rng_after, read = trained(True, checkpointed)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert torch.equal(rng, rng_after)
    for values in read:
        assert values["n_eff{place=mixture.layers.1.mlp.router}"] == 120
        assert values["n_eff{place=coder.quantizer}"] == 120


def test_compiled_training_is_the_same_too_and_reads_the_same() -> None:
    plain, _, _ = trained(False, compiled=True)
    watched, _, read = trained(True, compiled=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert {"expert_idle{place=mixture.layers.0.mlp.gate}", "codebook_dead{place=coder.quantizer}"} <= set(
        read[-1]
    )


def test_hooks_break_no_graph_and_read_what_they_read_without_it() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, twin = seeded(lambda: Both().eval()), seeded(lambda: Both().eval())
    recorded, eager = Recorded(model), Recorded(twin)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for seed in range(3):
        compiled(mixtures.rows(seed=seed)).backward()
        twin(mixtures.rows(seed=seed)).backward()
        values = recorded.step()
        assert values == pytest.approx(eager.step(), rel=1e-4, abs=1e-5, nan_ok=True)
    assert counter.frame_count == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    expected_series = [*experts.series("a", EXPERTS), *experts.series("b", EXPERTS), *codebook.series("c")]
    assert len(values) == len(expected_series)


def test_a_watched_mixture_can_be_forgotten() -> None:
    model = seeded(Both)
    recorded = Recorded(model)
    model(mixtures.rows()).backward()
    recorded.step()
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_after_close_no_hook_is_left() -> None:
    model = seeded(Both)
    recorded = Recorded(model)
    recorded.instruments.close(0)
    assert all(not module._forward_hooks for module in model.modules())
