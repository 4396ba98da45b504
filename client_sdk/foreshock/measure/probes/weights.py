"""A model in; the matrices among its weights, and, when an optimizer steps them, their largest singular values and spectra out."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import Optimizer

from foreshock.guard import say_once
from foreshock.measure.offers import Offers, Sometimes
from foreshock.measure.problems.weights import READINGS
from foreshock.measure.statistics import power, product
from foreshock.measure.statistics.table import STATISTICS
from foreshock.series import SeriesSpec

from .choose import evenly, parameter_name
from .stepped import Held, Stepped, embedded, write
from .stepping import After, Steps
from .subject import Planned, Subject

if TYPE_CHECKING:
    from foreshock.measure.sites import Sites

PLACES = 16  # of a model, evenly spaced
MATRICES = 8  # of a place, the largest
SMALLEST = 8  # rows and columns: a smaller matrix has no spectrum to speak of


@dataclass(frozen=True)
class Matrix:
    """A weight that is watched."""

    place: str
    parameter: str  # its name within the place

    def series(self, names: Sequence[str], labels: Mapping[str, str]) -> list[SeriesSpec]:
        """These statistics of it."""
        return [
            STATISTICS[name].series(self.place, {**labels, "parameter": self.parameter}) for name in names
        ]


def plan(subject: Subject) -> list[Planned]:
    """The largest matrices of some places; convolutions count with their kernels laid out, tables of embeddings not at all.

    A matrix that is spread over ranks is left out: no rank has its singular values, and asking the others would make it wait.
    """
    steps = Steps(subject.root, subject.prefix, subject.optimizer)
    chosen = _chosen(subject, steps)
    norms, spectra = Norms(chosen), Spectra(chosen)
    lines = []
    for place in dict.fromkeys(matrix.place for matrix in chosen.values()):
        here = [name for name, matrix in chosen.items() if matrix.place == place]
        values = sum(p.numel() for name, _, p in steps.named() if name in here)
        for measured, kind, reader, reads in (
            ("weights: largest singular values", "weights", norms, 2.0 * power.ITERATIONS),
            ("weights: spectra", "weight_spectra", spectra, 1.0),
        ):
            lines.append(
                Planned(
                    place=place,
                    module="parameters",
                    measured=measured,
                    family="representation",
                    kind=kind,
                    attach=functools.partial(steps.attach, reader),
                    values=reads * values,
                    operations=2.0 * reads * values,
                    series=len(here) * len(power.YIELDS if kind == "weights" else READINGS),
                )
            )
    return lines


def _chosen(subject: Subject, steps: Steps) -> dict[str, Matrix]:
    """By the name of the parameter."""
    tables, clean = embedded(subject.root), parameter_name(subject.root)
    found: dict[str, list[tuple[int, str, str]]] = {}
    for name, place, p in steps.named():
        module = clean(name).rpartition(".")[0]
        if id(p) in tables or is_lazy(p) or not _is_matrix(p) or not subject.wants(module):
            continue
        within = clean(name).removeprefix(place.removeprefix(subject.prefix)).removeprefix(".")
        found.setdefault(place, []).append((-p.numel(), name, within or clean(name)))
    chosen: dict[str, Matrix] = {}
    for place, _ in evenly([(place, nn.Identity()) for place in found])[:PLACES]:
        largest = sorted(found[place], key=lambda one: one[0])[:MATRICES]
        chosen |= {name: Matrix(place, within) for _, name, within in largest}
    return {name: chosen[name] for name, _, _ in steps.named() if name in chosen}


def _is_matrix(p: Tensor) -> bool:
    if p.dim() < 2 or not p.is_floating_point() or p.element_size() < 2:
        return False
    return min(p.shape[0], p.numel() // max(1, p.shape[0])) >= SMALLEST


def _whole(held: Held) -> bool:
    """True when this rank has all of it; said once where not."""
    whole = held.weight.numel() == held.parameter.numel()
    if not whole:
        say_once(
            "sharded weights",
            "weights that are spread over ranks, such as %s, have no singular values on any one of them: those are not measured",
            held.name,
        )
    return whole


def _watched(stepped: Stepped, chosen: Mapping[str, Matrix]) -> list[tuple[str, Matrix, Tensor]]:
    return [
        (held.name, chosen[held.name], held.weight.detach().reshape(len(held.weight), -1))
        for place in stepped.held
        for held in place
        if held.name in chosen and _whole(held)
    ]


class Norms:
    """Largest singular values, by the power method from where the last record left off."""

    def __init__(self, chosen: Mapping[str, Matrix]) -> None:
        self._chosen = chosen
        self._directions: dict[str, Tensor] = {}

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        """True when it wants to see this step."""
        return sites.awaits("weights")

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        """Read what is there before the update."""
        watched = _watched(stepped, self._chosen)
        if not watched:
            return None
        specs = [spec for _, matrix, _ in watched for spec in matrix.series(power.YIELDS, stepped.labels)]
        names = tuple(name for name, _, _ in watched)
        site = stepped.site(sites, self, "weights", names, lambda: specs)
        if site is None:
            return None
        values = []
        for name, _, weight_RC in watched:
            known = self._directions.get(name)
            if known is None or known.shape != weight_RC.shape[1:] or known.device != weight_RC.device:
                generator = sites.generator(weight_RC.device)
                drawn_C = torch.randn(weight_RC.shape[1], generator=generator, device=weight_RC.device)
                known = power.first(weight_RC, drawn_C / torch.linalg.vector_norm(drawn_C))
            value, self._directions[name] = power.improve(weight_RC, known)
            values.append(power.readings(weight_RC, value))
        write(sites, site, values)
        return None


class Spectra:
    """Whole spectra, finished on the host: one matrix a step, as room is left, until all have been sent; then from the start."""

    def __init__(self, chosen: Mapping[str, Matrix]) -> None:
        self._chosen = chosen
        self._offers: Offers | None = None
        self._sometimes = Sometimes("weight_spectra")
        self._queue: deque[str] = deque()

    def due(self, sites: Sites, optimizer: Optimizer) -> bool:
        """True when it wants to see this step."""
        if self._offers is None:
            self._offers = Offers("weight_spectra", sites.spectra, sites.named, guest=True)
        if not self._queue and self._sometimes.due(self._offers):
            self._queue.extend(self._chosen)
        return len(self._queue) > 0

    def before(self, sites: Sites, stepped: Stepped) -> After | None:
        """Send the next matrix, if it is of this optimizer."""
        watched = {name: (matrix, weight) for name, matrix, weight in _watched(stepped, self._chosen)}
        name = self._queue[0]
        if name not in watched:
            self._queue.popleft()  # frozen meanwhile, sharded, or stepped by another optimizer
            return None
        matrix, weight_RC = watched[name]
        part = product.to_finish(
            weight_RC, name, lambda: matrix.series([name for name, _ in READINGS], stepped.labels)
        )
        if self._offers is not None and (part is None or self._offers.offer(part)):
            self._queue.popleft()
        return None
