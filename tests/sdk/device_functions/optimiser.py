"""The optimizer's rows."""

from __future__ import annotations

import torch
from tests.sdk.device_functions.function import DeviceFunction, generator
from torch import Tensor

from foreshock.measure.probes import loss_scale, moments, noise
from foreshock.measure.statistics import (
    clipping,
    conflict,
    curvature,
    gradients,
    moments_of_adam,
    parameters,
    phase,
    sketch,
)
from foreshock.measure.statistics.table import STATISTICS

SHAPES = {"a.weight": (6, 4), "a.bias": (6,), "b.weight": (3, 6)}


def _parameters() -> dict[str, Tensor]:
    g = generator()
    kinds = ("weight", "gradient", "after", "before", "first", "second")
    given = {
        f"{kind}.{name}": torch.randn(*shape, generator=g) for kind in kinds for name, shape in SHAPES.items()
    }
    for name in SHAPES:
        given[f"second.{name}"].square_()
    return given | {"sizes": torch.tensor(sketch.layout(_grouped(given, "weight")).weighing)}


def _grouped(given: dict[str, Tensor], kind: str) -> list[list[Tensor]]:
    return [
        [tensor for name, tensor in given.items() if name.startswith(f"{kind}.{place}.")]
        for place in ("a", "b")
    ]


def _sketch(given: dict[str, Tensor], kind: str) -> Tensor:
    places = _grouped(given, kind)
    return sketch.gather(places, sketch.layout(places))


def _optimiser(given: dict[str, Tensor]) -> list[Tensor]:
    weights, steep = _grouped(given, "weight"), _grouped(given, "gradient")
    by = sketch.Weighing(*given["sizes"].unbind(0))
    norms = parameters.norms(parameters.merged(weights))
    return [
        parameters.norms(steep),
        norms,
        parameters.rms(norms, by.size),
        parameters.counts(steep),
        parameters.update_ratios(_sketch(given, "weight"), _sketch(given, "after"), by),
    ]


def _moments(given: dict[str, Tensor]) -> list[Tensor]:
    by = sketch.Weighing(*given["sizes"].unbind(0))
    steep, weight, after = (_sketch(given, kind) for kind in ("gradient", "weight", "after"))
    peaks = parameters.peaks(_grouped(given, "gradient"))
    ratios, history = gradients.against_history(peaks, torch.zeros_like(peaks).expand(2, -1))
    paired = gradients.paired(steep, _sketch(given, "before"), by)
    noise, _ = gradients.noise(paired.narrow(0, 2, 1), history.select(1, 0))
    return [
        peaks,
        ratios,
        gradients.single(steep, sketch.scaled(steep), weight, by),
        gradients.lost(steep, weight, after, by),
        paired,
        noise,
        gradients.signal(peaks.sum() * 4, peaks.sum(), 4),
    ]


def _adam(given: dict[str, Tensor]) -> list[Tensor]:
    steep, first, second = (_sketch(given, kind) for kind in ("gradient", "first", "second"))
    step = torch.ones_like(given["sizes"].sum())
    by = sketch.Weighing(*given["sizes"].unbind(0))
    return [
        moments_of_adam.measure(
            steep, first, second, step, sketch.scaled(steep), by, beta=0.999, epsilon=1e-8
        )
    ]


def _clipping(given: dict[str, Tensor]) -> list[Tensor]:
    values, history = clipping.measure(given["norms"], given["history"], 1.0)
    return [values, history]


def _conflict(given: dict[str, Tensor]) -> list[Tensor]:
    steep = [_sketch(given, kind) for kind in ("gradient", "before", "after")]
    return [conflict.measure(steep, sketch.Weighing(*given["sizes"].unbind(0)))]


def _phase(given: dict[str, Tensor]) -> list[Tensor]:
    by = sketch.Weighing(*given["sizes"].unbind(0))
    steep = [_sketch(given, kind) for kind in ("gradient", "before", "after")]
    x = given["weight.b.weight"]
    return [
        phase.measure(steep, by),
        phase.entropy(x).unsqueeze(0),
        phase.entropy(x.t(), x.select(0, 0) > -9).unsqueeze(0),
    ]


def _curvature(given: dict[str, Tensor]) -> list[Tensor]:
    matrix = given["x"] @ given["x"].t()
    return [curvature.measure(lambda v: matrix @ v, given["start"], 4)]


def _named(*names: str) -> list:  # type: ignore[type-arg]
    return [STATISTICS[name].series("a") for name in names]


FUNCTIONS = [
    DeviceFunction("optimiser", _parameters, _optimiser, _named(*parameters.YIELDS, "nonfinite_count")),
    DeviceFunction(
        "moments",
        _parameters,
        _moments,
        _named(
            *moments.PEAKS,
            *gradients.SINGLE,
            *moments.LOST,
            *gradients.PAIRED,
            moments.NOISE,
            *noise.YIELDS,
        ),
    ),
    DeviceFunction("adam", _parameters, _adam, _named(*moments_of_adam.YIELDS)),
    DeviceFunction(
        "gradient matrices",
        _parameters,
        lambda given: [gradients.matrices([given["gradient.a.weight"], given["gradient.b.weight"]])],
        _named(*gradients.MATRIX),
    ),
    DeviceFunction(
        "clipping",
        lambda: {"norms": torch.rand(5, generator=generator()), "history": torch.ones(2)},
        _clipping,
        _named(*clipping.YIELDS, *loss_scale.YIELDS),
    ),
    DeviceFunction("phase", _parameters, _phase, phase.series(("a", "b"))),
    DeviceFunction("conflict", _parameters, _conflict, _named(*conflict.PAIRED)),
    DeviceFunction(
        "curvature",
        lambda: {
            "x": torch.randn(6, 6, generator=generator()),
            "start": torch.randn(6, generator=generator()),
        },
        _curvature,
        _named(*curvature.YIELDS, "sharpness_times_lr"),
    ),
]
