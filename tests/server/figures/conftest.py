"""Scenes to draw: a run of every first statistic, healthy until a third of it, then collapsing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from foreshock_server.figures import registry
from foreshock_server.figures.curves import POINTS, curve
from foreshock_server.figures.scene import Scene, SeriesInfo, forecasts, intervals, limits

PLACES = 12


def infos() -> list[SeriesInfo]:
    """The series of such a run."""

    def one(statistic: str, family: str, unit: str = "", **labels: str) -> SeriesInfo:
        text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        key = f"{statistic}{{{text}}}" if labels else statistic
        return SeriesInfo(key, statistic, family, labels.get("place", ""), labels, unit)

    entropy = [one("policy_entropy", "policy entropy", "nat")]
    entropy += [
        one(f"policy_entropy_{q}", "policy entropy", "nat") for q in ("p05", "p25", "p50", "p80", "p95")
    ]
    entropy += [
        one(name, "policy entropy") for name in ("policy_top1", "policy_top1_above_99", "policy_varentropy")
    ]
    signal = ["reward_mean", "reward_std", "policy_cov", "zero_variance_groups", "zero_variance_all_high"]
    signal += ["zero_variance_all_low", "kl_ref_k1", "kl_ref_k2", "kl_ref_k3", "kl_old_k3"]
    places = [f"blocks.{number}" for number in range(PLACES)]
    rank = [
        one("effective_rank", "representation", "directions", place=place, centered=centered)
        for place in places
        for centered in ("true", "false")
    ]
    rank += [one("matrix_entropy", "representation", "nats", place=place) for place in places]
    spread = [one(name, "representation", place="head") for name in ("embedding_std", "mean_cosine")]
    norms = [one(name, "optimiser") for name in ("gradient_norm", "weight_norm", "update_ratio")]
    odd = [
        one("nonfinite_count", "numerics", "values", place=place, tensor=tensor)
        for place in places[:2]
        for tensor in ("activation", "gradient")
    ]
    ours = [one("foreshock_overhead", "monitor", "%"), one("foreshock_dropped", "monitor", "readings")]
    logged = [one("loss", "training"), one("lr", "training")]
    sides = [(likely, sign) for likely in ("low", "high") for sign in ("positive", "negative")]
    spent = [
        one("entropy_change_cell", "RL signal", "nat", probability=likely, advantage=sign)
        for likely, sign in sides
    ]
    spent += [one(f"entropy_change_{how}", "RL signal", "nat") for how in ("predicted", "measured")]
    clipped = [one(name, "RL signal", "share") for name in ("clip_high", "clip_low", "clip_dual")]
    clipped += [
        one("clip_bucket", "RL signal", "share", old=old, side="high") for old in ("below-0.01", "0.01-0.1")
    ]
    clipped += [
        one("clip_cell", "RL signal", "share", probability=likely, advantage=sign, side="low")
        for likely, sign in sides
    ]
    simplex = [
        one(name, "representation", place="head")
        for name in ("nc1", "nc2_equinorm", "nc3_duality", "nc4_agreement")
    ]
    return [
        *entropy,
        *(one(name, "RL signal") for name in signal),
        *rank,
        *spread,
        *norms,
        *odd,
        *ours,
        *logged,
        *spent,
        *clipped,
        *simplex,
    ]


def values(info: SeriesInfo, steps: int) -> np.ndarray:
    """Positive readings that fall to a tenth, noisy; the same for the same series."""
    if info.statistic == "lr":
        return np.full(steps, 1e-5)
    random = np.random.default_rng(abs(hash(info.key)) % 2**32)
    falls = np.exp(-2.3 * np.clip(np.arange(steps) / steps - 0.33, 0, None) / 0.67)
    return falls * np.exp(random.normal(0, 0.05, steps))


ALERT: Mapping[str, Any] = {
    "rule": "policy-entropy-collapse",
    "title": "Policy entropy collapse",
    "series": "policy_entropy",
    "state": "firing",
    "severity": "critical",
    "step": 299,
    "value": 0.2,
    "level": 0.21,
    "baseline": 1.0,
    "warn_level": 0.86,
    "threshold": 0.25,
    "clear": 0.6,
    "forecast": {"low_steps": 40, "high_steps": 80, "level_target": 0.15},
}
CHANGES: list[Mapping[str, Any]] = [
    {"rule": ALERT["rule"], "series": "policy_entropy", "episode": 1, "kind": "fired", "severity": "warning", "step": 120, "since_step": 110},
    {"rule": ALERT["rule"], "series": "policy_entropy", "episode": 1, "kind": "escalated", "severity": "critical", "step": 200, "since_step": 110},
]  # fmt: skip


class World:
    """What the tests of figures share (a test cannot import a conftest)."""

    alert = ALERT
    changes = CHANGES
    infos = staticmethod(infos)
    values = staticmethod(values)


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def scene_of() -> Callable[..., Scene]:
    """Name of a figure -> its scene, of a run with so many steps."""

    def make(
        name: str,
        steps: int = 300,
        theme: str = "light",
        spoil: Callable[[SeriesInfo, np.ndarray], np.ndarray] = lambda _info, read: read,
    ) -> Scene:
        panel = registry.find(name)
        assert panel is not None
        chosen = panel.choose(infos())
        keys = {info.key for info in chosen}
        alerts = [ALERT] if ALERT["series"] in keys else []
        changes = CHANGES if alerts else []
        return Scene(
            "run-1",
            theme,
            tuple(
                curve(
                    info,
                    np.arange(steps),
                    spoil(info, values(info, steps)),
                    points=0 if panel.whole else POINTS,
                )
                for info in chosen
            ),
            intervals(alerts, changes),
            limits(alerts, {ALERT["rule"]}),
            forecasts(alerts),
            steps - 1,
        )

    return make
