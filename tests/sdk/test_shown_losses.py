"""Several losses and the curvature of one, as the loop shows them: against torch.func and numpy; training is not touched."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.zoo import feedforward, transformers
from tests.zoo.models import loss_of, seeded
from torch import Tensor, nn

from foreshock.config import EVERY
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.shown import curvature, losses
from foreshock.testing import recording

torch.set_num_threads(1)


class ActorCritic(nn.Module):
    """A trunk, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh())
        self.policy, self.value = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.policy(h), self.value(h)


def both(model: nn.Module) -> dict[str, Tensor]:
    logits, values = model(feedforward.features())
    return {"policy": logits.log_softmax(-1)[:, 0].mean(), "value": 10 * (values - 1).square().mean()}


class Shown:
    """Instruments for what the loop shows."""

    def __init__(self, **every: int) -> None:
        self.rows: list[StepRow] = []
        self.instruments = Instruments(every=dict.fromkeys(EVERY, 0) | every, on_row=self.rows.append)
        self.sites = self.instruments.sites

    def close(self) -> dict[str, float]:
        """What the open step recorded."""
        self.rows.clear()
        self.instruments.step(0, 0.0)
        return {
            spec.key: value
            for row in self.rows
            for spec, value in zip(row.frame.series, row.values.tolist(), strict=True)
        }


def truth(model: nn.Module, places: dict[str, list[nn.Parameter]]) -> dict[str, float]:
    expected = {}
    flat = [p for given in places.values() for p in given]
    found = [
        torch.autograd.grad(loss, flat, allow_unused=True, retain_graph=True) for loss in both(model).values()
    ]
    gradients = [
        dict(
            zip(
                flat,
                [torch.zeros_like(p) if g is None else g for p, g in zip(flat, each, strict=True)],
                strict=True,
            )
        )
        for each in found
    ]
    for place, given in {**places, "": flat}.items():
        a, b = (torch.cat([each[p].flatten() for p in given]).double() for each in gradients)
        labels = f"{{losses=policy and value{',place=' + place if place else ''}}}"
        expected[f"loss_gradient_cosine{labels}"] = float(a @ b / (a.norm() * b.norm()).clamp_min(1e-30))
        expected[f"loss_gradient_ratio{labels}"] = float(a.norm() / b.norm()) if a.norm() > 0 else 0.0
    return expected


def test_losses_are_compared_block_by_block() -> None:
    model = seeded(ActorCritic)
    shown = Shown(losses=1)
    losses.show(shown.sites, both(model), model=model)
    places = {name: list(getattr(model, name).parameters()) for name in ("policy", "value")}
    trunk = {"trunk": [model.trunk[0].weight, model.trunk[2].weight]}
    found = shown.close()
    expected = truth(model, {**trunk, **places})
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
    assert found["loss_gradient_cosine{losses=policy and value,place=policy}"] == 0
    assert found["loss_gradient_ratio{losses=policy and value,place=policy}"] == math.inf


def test_parameters_can_be_named_or_not() -> None:
    model = seeded(ActorCritic)
    first, second = model.trunk[0].weight, model.trunk[2].weight
    for given, names in (({"in": first, "out": second}, ("in", "out")), ([first, second], ("shared",))):
        shown = Shown(losses=1)
        losses.show(shown.sites, both(model), parameters=given)
        found = shown.close()
        assert {f"loss_gradient_cosine{{losses=policy and value,place={name}}}" for name in names} < set(
            found
        )
    expected = truth(model, {"shared": [first, second]})
    assert found == pytest.approx(expected, rel=1e-4)


def test_no_gradient_of_the_training_is_touched() -> None:
    def train(shown: Shown | None) -> list[Tensor]:
        model = seeded(lambda: nn.Sequential(ActorCritic(), nn.Identity()))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        fired: list[int] = []
        if shown is not None:
            shown.instruments.watch(model)
        for _ in range(4):
            optimizer.zero_grad()
            parts = both(model)
            if shown is not None:
                before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
                losses.show(shown.sites, parts, model=model)
                loss = torch.stack(list(parts.values())).sum()
                curvature.show(shown.sites, loss, model, steps=2)
                after = [p.grad for p in model.parameters()]
                assert before == after == [None] * len(after)
            torch.stack(list(parts.values())).sum().backward()
            optimizer.step()
            if shown is not None:
                fired += [1] * bool(shown.close())
        assert shown is None or sum(fired) == 4
        return [p.detach() for p in model.parameters()]

    state = torch.get_rng_state()
    plain = train(None)
    expected = torch.get_rng_state()
    torch.set_rng_state(state)
    shown = Shown(losses=1, curvature=1, moments=1, noise=1)
    assert all(torch.equal(a, b) for a, b in zip(train(shown), plain, strict=True))
    assert torch.equal(torch.get_rng_state(), expected)
    shown.instruments.close(0)


def test_nothing_is_computed_when_no_record_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(ActorCritic)
    shown = Shown(losses=3)
    asked: list[int] = []
    original = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: asked.append(1) or original(*a, **k))
    seen = []
    for _ in range(6):
        losses.show(shown.sites, both(model), model=model)
        curvature.show(shown.sites, both(model)["value"], model)  # off unless asked for
        seen.append(len(asked))
        shown.close()
    assert seen == [2, 2, 2, 4, 4, 4]


MISTAKES: dict[str, tuple[Callable[[nn.Module], tuple[object, dict[str, object]]], str]] = {
    "one loss": (lambda m: ({"policy": both(m)["policy"]}, {"model": m}), "2 to 6"),
    "a list": (lambda m: (list(both(m).values()), {"model": m}), "a list"),
    "detached": (lambda m: ({k: v.detach() for k, v in both(m).items()}, {"model": m}), "'policy'"),
    "a batch": (
        lambda m: ({"a": m(feedforward.features())[0], "b": both(m)["value"]}, {"model": m}),
        "one number",
    ),
    "no model": (lambda m: (both(m), {}), "model="),
    "frozen": (lambda m: (both(m), {"parameters": [torch.zeros(3)]}), "require"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_what_to_pass_instead(mistake: str) -> None:
    make, said = MISTAKES[mistake]
    given, rest = make(seeded(ActorCritic))
    with pytest.raises(ValueError, match=said):
        losses.show(Shown(losses=1).sites, given, **rest)  # type: ignore[arg-type]


def test_a_graph_that_is_gone_is_told() -> None:
    model = seeded(ActorCritic)
    parts = both(model)
    torch.stack(list(parts.values())).sum().backward()
    with pytest.raises(ValueError, match=r"before the first backward"):
        losses.show(Shown(losses=1).sites, parts, model=model)
    with pytest.raises(ValueError, match=r"before backward"):
        curvature.show(Shown(curvature=1).sites, parts["value"], model)


# -- curvature --------------------------------------------------------------------------------------------------------


def hessian(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Tensor:
    parameters = list(model.parameters())
    flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss(model), parameters, create_graph=True)])
    rows = [torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True) for one in flat]
    return torch.stack(
        [
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).flatten()
                    for p, g in zip(parameters, row, strict=True)
                ]
            )
            for row in rows
        ]
    ).double()


def test_the_sharpness_is_the_largest_eigenvalue() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 3)))
    loss = lambda m: (m(feedforward.features()) - 1).square().mean()
    shown = Shown(curvature=1)
    curvature.show(shown.sites, loss(model), model, lr=0.05)
    found = shown.close()
    matrix = hessian(model, loss)
    top = float(torch.linalg.eigvalsh(matrix)[-1])
    assert found["sharpness"] == pytest.approx(top, rel=0.02)
    assert found["sharpness_times_lr"] == pytest.approx(0.05 * found["sharpness"])
    spread = math.sqrt(2) * float(matrix.norm())
    assert abs(found["hessian_trace"] - float(matrix.trace())) < 4 * spread


def test_a_linear_loss_and_a_zero_one_have_no_curvature() -> None:
    model = nn.Linear(4, 1)
    for loss in (model(torch.ones(2, 4)).sum(), (0 * model(torch.ones(2, 4))).square().sum()):
        shown = Shown(curvature=1)
        curvature.show(shown.sites, loss, model)
        assert shown.close() == {"sharpness": 0, "hessian_trace": 0, "sharpness_residual": 0}


def test_curvature_says_what_to_pass_instead() -> None:
    model = nn.Linear(4, 1)
    loss = model(torch.ones(2, 4)).square().sum()
    for arguments, said in (
        ((loss.detach(), model), "detached"),
        ((loss, []), "no parameter"),
        ((loss, model.requires_grad_(True), 0), "steps"),
    ):
        sites = Shown(curvature=1).sites
        with pytest.raises(ValueError, match=said):
            curvature.show(sites, *arguments[:2], steps=arguments[2] if len(arguments) > 2 else 10)  # type: ignore[arg-type]


def test_attention_that_cannot_be_differentiated_twice_is_told() -> None:
    class Once(torch.autograd.Function):
        """As fused attention is."""

        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: object, g: Tensor) -> Tensor:
            return g * 2

    model = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="differentiated twice"):
        curvature.show(Shown(curvature=1).sites, Once.apply(model(torch.ones(2, 4))).square().sum(), model)


# -- through the user's calls -----------------------------------------------------------------------------------------


def test_a_run_records_them() -> None:
    model = seeded(ActorCritic)
    with recording(every={"losses": 1, "curvature": 1}) as recorded:
        run = recorded.run
        run.watch(model)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for step in range(2):
            parts = both(model)
            run.observe.losses(parts, model=model)
            loss = torch.stack(list(parts.values())).sum()
            run.observe.curvature(loss, model, steps=3, lr=1e-3)
            loss.backward()
            optimizer.step()
            run.step(step)
    for name in ("loss_gradient_cosine{losses=policy and value}", "sharpness", "sharpness_times_lr"):
        assert len(recorded.columns(name).values) == 2, name


def test_a_transformer_s_losses_share_its_blocks() -> None:
    model = seeded(transformers.NanoGPT)
    output = model(transformers.tokens())
    shown = Shown(losses=1)
    losses.show(shown.sites, {"a": loss_of(output), "b": output.mean()}, model=model)
    found = shown.close()
    assert "loss_gradient_cosine{losses=a and b,place=transformer.h.1}" in found
    assert all(math.isfinite(value) for value in found.values())
