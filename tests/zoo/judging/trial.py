"""A pair and a setting -> a real training under the real SDK, and what the built-in rules say of it, by the code that judges live."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from tests.zoo.judging.service import Service, packs_of_rules
from tests.zoo.trainings.pair import Pair, Setting

from foreshock.config import Config
from foreshock.opening import open_run
from foreshock_server.rules.columns import Subject, subjects
from foreshock_server.rules.state import Kind
from foreshock_server.rules.trial.replay import Said, replay
from foreshock_server.store import columns
from foreshock_server.store.runs import get_run

# These trainings are a tenth to a hundredth as long as those for which the SDK's cadences are set, so what is read seldom by default is
# read as much oftener; nothing else is set.
EVERY: Mapping[str, int] = {"attention": 10, "drift": 10, "gradients": 10, "weights": 20}
# Relative levels of what is compared here come from the first readings, as many as most built-in rules take.
BASELINE_READINGS = 10


@dataclass(frozen=True)
class Curve:
    """A series, in the order in which it was recorded; each entry of a vector is one of its own."""

    statistic: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def left(self, step: int) -> float | None:
        """The share of its beginning that is left at this step, of what rises its inverse: 1 is no change, 0 is all."""
        before = self.values[self.steps <= step][-5:]
        if not len(before):
            return None
        start, now = float(np.median(self.values[:BASELINE_READINGS])), float(np.median(before))
        if not (np.isfinite(start) and np.isfinite(now)) or start * now <= 0:
            return None
        return min(now / start, start / now)


@dataclass(frozen=True)
class Told:
    """One transition of an alert."""

    rule: str
    pack: str
    family: str
    severity: str
    kind: str  # fired, escalated, resolved
    step: int
    series: str
    message: bool  # it was worth one: a page; otherwise it is only seen by who looks
    sentence: str


@dataclass(frozen=True)
class Ran:
    """One training and what was said of it."""

    pair: str
    family: str  # the pack that should see it
    setting: Setting
    seconds: float  # of training
    steps: int
    outcome: Curve
    told: tuple[Told, ...]  # in the order of steps
    watched: Mapping[
        str, Curve
    ]  # by key: what any rule watches, but for those that only wait for what is not finite
    own: frozenset[str]  # the statistics that rules of the pair's own pack watch
    begins: int = 0  # the step before which its twin is the same training

    def alarm(self, *, pages: bool = True, pack: str | None = None) -> Told | None:
        """The first firing, of all packs or of one; `pages`: that was worth a message, be it by becoming critical."""
        for one in self.told:
            if (
                one.kind != Kind.RESOLVED.value
                and (one.message or not pages)
                and (pack is None or one.pack == pack)
            ):
                return one
        return None


@dataclass(frozen=True)
class Training:
    """One that has been, and lies in a service's database."""

    run_id: str
    seconds: float


def try_out(pair: Pair, setting: Setting, service: Service) -> Ran:
    """Train once and judge. Raises LookupError when the outcome was not logged, RuntimeError when a reading was lost."""
    return judge(pair, setting, train(pair, setting, service), service)


def train(pair: Pair, setting: Setting, service: Service) -> Training:
    """Train once, into the service's database. Raises RuntimeError when a reading was lost."""
    _seed(setting.seed)
    # Without a budget: what is recorded does not depend on how fast the machine is. On a failure everything is raised, and here it is seen.
    chosen = Config.resolve(
        {},
        project="zoo",
        name=f"{pair.name} {setting.way} {setting.size} {setting.seed}",
        every=EVERY,
        budget=0.0,
        flush_seconds=120.0,
    )
    began = time.monotonic()
    run = open_run(chosen, transport=service.transport(), on_disk=False)
    with run:
        pair.train(run, setting)
        seconds = time.monotonic() - began
    with service.database.reading() as session:
        stored = get_run(session, run.id).points
    if stored != run.recorded:
        raise RuntimeError(f"{run.name}: {run.recorded - stored} of {run.recorded} readings did not arrive")
    return Training(run.id, seconds)


def judge(pair: Pair, setting: Setting, training: Training, service: Service) -> Ran:
    """What the service's rules say of it. Raises LookupError when the outcome was not logged."""
    with service.database.reading() as session:
        known = subjects(session, training.run_id)
        curves = _curves(session, training.run_id, _looked_at(known, service, pair.outcome))
        told = replay(session, training.run_id, service.rules)
        said = [one for one in told if one.change.watch.rule.boundary is None]  # a new task is no alarm
    outcome = curves.get(pair.outcome)
    if outcome is None or len(outcome.steps) < 2:
        raise LookupError(f"{pair.name} logs no {pair.outcome!r}, its outcome, or only once")
    pack_of = packs_of_rules()
    own = frozenset(
        one.statistic
        for one in known.values()
        for rule in service.rules.matching(one)
        if pack_of[rule.id] == pair.family and not rule.detector.skips
    )
    return Ran(
        pair.name,
        pair.family,
        setting,
        training.seconds,
        max(int(curve.steps[-1]) for curve in curves.values() if len(curve.steps)) + 1,
        outcome,
        tuple(sorted((_told(one, pack_of) for one in said), key=lambda one: one.step)),
        curves,
        own,
        pair.begins,
    )


def _seed(seed: int) -> None:
    """A pair seeds what it draws itself; this is for what it forgot, so that runs can be repeated."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)


def _looked_at(known: Mapping[int, Subject], service: Service, outcome: str) -> list[Subject]:
    return [
        one
        for one in known.values()
        if one.key == outcome or any(not rule.detector.skips for rule in service.rules.matching(one))
    ]


def _curves(session: Session, run_id: str, wanted: list[Subject]) -> dict[str, Curve]:
    found = columns.read(session, run_id, [one.series_id for one in wanted])
    curves = {}
    for one in wanted:
        steps, values = found[one.series_id].steps, found[one.series_id].values
        if values.ndim == 1:
            curves[one.key] = Curve(one.statistic, steps, values)
        else:
            for entry in range(values.shape[1]):
                curves[f"{one.key}[{entry}]"] = Curve(one.statistic, steps, values[:, entry])
    return curves


def _told(one: Said, pack_of: Mapping[str, str]) -> Told:
    change = one.change
    return Told(
        one.rule,
        pack_of[one.rule],
        change.watch.rule.family,
        change.severity.value,
        change.kind.value,
        change.step,
        one.key,
        one.told,
        change.detail["message"] or "",
    )
