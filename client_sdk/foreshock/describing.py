"""A model in; the table of what watching it would measure out. No run, no hook, no forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .config import EVERY, Config

if TYPE_CHECKING:
    import torch

    from .measure.instruments import WatchTable


def describe(
    model: torch.nn.Module,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    without: Sequence[str] = (),
    every: Mapping[str, int] | None = None,
    layout: Mapping[str, object] | None = None,
) -> WatchTable:
    """What `run.watch(model)` would measure, where, how often, at which estimated cost; FORESHOCK_* count as they do there.

    Reads names, types and shapes, so a model on the meta device will do. Raises ValueError where patterns match no module
    or no place, or a family is not in the catalogue.
    """
    from .measure.layouts import declared
    from .measure.probes.all import planned, table
    from .measure.probes.families import Wishes, choose
    from .measure.probes.subject import Subject

    settings = Config.resolve(every=every)
    cadences = {**EVERY, **settings.every}
    wishes = Wishes.of(settings.families if families is None else families, without)
    subject = Subject.of(model, include=include, exclude=tuple(exclude or ()), layout=declared(layout))
    choice = choose(planned(subject), wishes, cadences, settings.every)
    return table(subject, choice, {**cadences, **choice.switched_on})
