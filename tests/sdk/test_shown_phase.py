"""Whether a layer memorises or compresses: the entropy against its eigenvalues in float64, the cosine against gradients by definition."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.sdk.test_shown_losses import Shown
from tests.zoo.models import seeded
from torch import Tensor, nn

from foreshock.measure.shown import phase as shown_phase
from foreshock.measure.statistics import phase
from foreshock.testing import recording

torch.set_num_threads(1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def renyi(x: Tensor, order: float) -> Tensor:
    """S_α of the eigenvalues of X Xᵀ over their sum, in float64; order one is the limit."""
    share = torch.linalg.eigvalsh(x.double() @ x.double().t()).clamp_min(1e-300)
    share = share / share.sum()
    if order == 1:
        return -(share * share.log()).sum()
    return (share**order).sum().log() / (1 - order)


# -- the entropy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (2, 3)])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_entropy_is_that_of_the_eigenvalues(shape: tuple[int, int], scale: float) -> None:
    x = drawn(*shape) * torch.linspace(0.1, 3, shape[1]) + 0.5
    assert phase.entropy(x * scale).item() == pytest.approx(renyi(x, 2).item(), rel=1e-5, abs=1e-6)


def test_its_gradient_is_that_of_the_eigenvalues() -> None:
    x = (drawn(12, 5) + 0.3).requires_grad_()
    (found,) = torch.autograd.grad(phase.entropy(x), x)
    y = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(renyi(y, 2), y)
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-7)


def test_rows_that_do_not_count_change_neither_the_entropy_nor_its_gradient() -> None:
    x = drawn(9, 4)
    broken = torch.cat([x, torch.full((1, 4), math.nan), torch.full((1, 4), math.inf), 1e3 * drawn(2, 4)])
    broken.requires_grad_()
    valid = torch.arange(13) < 11
    value = phase.entropy(broken, valid)
    (slope,) = torch.autograd.grad(value, broken)
    assert value.item() == pytest.approx(renyi(x, 2).item(), rel=1e-5)
    assert slope[9:].abs().max() == 0
    assert slope[:9].isfinite().all()


def test_of_many_rows_some_evenly_spaced_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "ROWS", 10)
    x = drawn(30, 4)
    assert phase.entropy(x).item() == pytest.approx(renyi(x[::3], 2).item(), rel=1e-5)
    assert phase.entropy(x, torch.arange(30) < 15).item() == pytest.approx(
        renyi(x[:15:3], 2).item(), rel=1e-5
    )


def test_fewer_than_two_rows_are_no_entropy_and_zeros_have_no_gradient() -> None:
    assert phase.entropy(drawn(1, 4)).isnan()
    assert phase.entropy(drawn(5, 4), torch.arange(5) < 1).isnan()
    zero = torch.zeros(5, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(phase.entropy(zero), zero)
    assert slope.abs().max() == 0


# -- the phase ---------------------------------------------------------------------------------------------------------


class Two(nn.Module):
    """Two layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 10), nn.Linear(10, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.first(x).tanh()
        second = self.second(first).tanh()
        return self.head(second), first, second


def batch(rows: int = 30) -> tuple[Tensor, Tensor]:
    return drawn(rows, 6, seed=1), torch.arange(rows) % 3


def parts(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    x, y = batch()
    logits, first, second = model(x)
    return nn.functional.cross_entropy(logits, y), {"first": first, "second": second}


def gradient(model: nn.Module, value: Tensor) -> Tensor:
    """Of all parameters, in one vector."""
    flat = list(model.parameters())
    found = torch.autograd.grad(value, flat, retain_graph=True, allow_unused=True)
    whole = [torch.zeros_like(p) if g is None else g for p, g in zip(flat, found, strict=True)]
    return torch.cat([g.flatten() for g in whole])


def truth() -> dict[str, float]:
    """In float64."""
    model = seeded(Two).double()
    x, y = batch()
    logits, first, second = model(x.double())
    steep = gradient(model, nn.functional.cross_entropy(logits, y))
    return {
        f"matrix_entropy_loss_cosine{{place={name}}}": torch.cosine_similarity(
            steep, gradient(model, renyi(h, 2)), dim=0
        ).item()
        for name, h in (("first", first), ("second", second))
    }


def test_the_phase_of_each_layer_is_the_cosine_of_both_gradients() -> None:
    model = seeded(Two)
    shown = Shown(losses=1)
    loss, hidden = parts(model)
    shown_phase.show(shown.sites, loss, hidden, model=model)
    assert shown.close() == pytest.approx(truth(), abs=2e-5)
    loss.backward()  # the graph is still there
    assert all(p.grad is not None for p in model.parameters())


def test_it_is_how_the_entropy_moves_where_the_loss_is_lowered() -> None:
    """One small step against the gradient of the loss: the entropy falls where the cosine is above zero, and only there."""
    fell = set()
    for seed in range(8):
        torch.manual_seed(seed)
        model = Two()
        shown = Shown(losses=1)
        loss, hidden = parts(model)
        shown_phase.show(shown.sites, loss, hidden, model=model)
        found = shown.close()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                assert p.grad is not None
                p -= 1e-2 * p.grad
        _, after = parts(model)
        for name, h in after.items():
            change = (renyi(h.detach(), 2) - renyi(hidden[name].detach(), 2)).item()
            cosine = found[f"matrix_entropy_loss_cosine{{place={name}}}"]
            fell.add(change < 0)
            assert abs(cosine) < 0.02 or (change < 0) == (cosine > 0), (seed, name)
    assert fell == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_the_sign_is_that_of_order_one_where_it_is_clear(seed: int) -> None:
    torch.manual_seed(seed)
    model = Two().double()
    x, y = batch()
    logits, first, second = model(x.double())
    steep = gradient(model, nn.functional.cross_entropy(logits, y))
    for h in (first, second):
        one, two = (
            torch.cosine_similarity(steep, gradient(model, renyi(h, order)), dim=0).item() for order in (1, 2)
        )
        assert min(abs(one), abs(two)) < 0.1 or one * two > 0


def test_a_mask_and_half_precision_are_heeded() -> None:
    model = seeded(Two)
    x, y = batch()
    mask = torch.arange(30) < 20
    logits, first, _ = model(x)
    loss = nn.functional.cross_entropy(logits, y)
    shown = Shown(losses=1)
    shown_phase.show(shown.sites, loss, {"first": first.view(5, 6, 10)}, model=model, mask=mask.view(5, 6))
    masked = shown.close()
    again = Shown(losses=1)
    with torch.autocast("cpu", torch.bfloat16):  # the entropy is not computed in it
        shown_phase.show(again.sites, loss, {"first": first[:20]}, model=model)
    assert masked == pytest.approx(again.close(), abs=1e-5)


def test_layers_that_the_parameters_do_not_reach_read_zero() -> None:
    model = seeded(Two)
    loss, hidden = parts(model)
    shown = Shown(losses=1)
    shown_phase.show(shown.sites, loss, hidden, parameters=model.head.parameters())
    assert set(shown.close().values()) == {0.0}


MISTAKES: dict[
    str, tuple[Callable[[Tensor, dict[str, Tensor]], tuple[object, object, dict[str, object]]], str]
] = {
    "a tensor": (lambda loss, h: (loss, h["first"], {}), "hidden is a Tensor; pass a mapping"),
    "none": (lambda loss, h: (loss, {}, {}), "hidden is a dict of 0"),
    "detached": (lambda loss, h: (loss, {"a": h["first"].detach()}, {}), "'a' has no graph"),
    "a vector": (lambda loss, h: (loss, {"a": h["first"][0]}, {}), r"\[rows, width\]"),
    "losses": (lambda loss, h: (h["first"], h, {}), "one number"),
    "another mask": (lambda loss, h: (loss, h, {"mask": torch.ones(3)}), r"one entry per row, \[30\]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_what_to_pass_instead(mistake: str) -> None:
    make, said = MISTAKES[mistake]
    model = seeded(Two)
    loss, hidden, rest = make(*parts(model))
    with pytest.raises(ValueError, match=said):
        shown_phase.show(Shown(losses=1).sites, loss, hidden, model=model, **rest)  # type: ignore[arg-type]


def test_a_run_records_it_at_the_cadence_of_losses() -> None:
    model = seeded(Two)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with recording(every={"losses": 2}) as recorded:
        for _ in range(4):
            loss, hidden = parts(model)
            recorded.run.observe.phase(loss, hidden, model=model)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorded.run.step()
        found = recorded.columns("matrix_entropy_loss_cosine{place=second}")
    assert found.steps.tolist() == [0, 2]
    assert all(-1 <= value <= 1 for value in found.values)
