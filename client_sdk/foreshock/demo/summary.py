"""What one run was worth telling: its own curve and what the server knows about it -> a report, and its lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Curve = Sequence[Mapping[str, float]]  # one entry a step: step, entropy, reward, …

RULE = "policy-entropy-collapse"
WINDOW = 10  # steps that a "before" or "after" is averaged over


def report(
    *,
    seed: int,
    curve: Curve,
    tally: Mapping[str, Any],
    stored: Mapping[str, Any],
    alerts: Sequence[Mapping[str, Any]],
    deliveries: Sequence[Mapping[str, Any]],
    received: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The JSON of one run.

    `alerts` are the transitions that the server recorded, `deliveries` its outbox rows, `received` what the webhook receiver got;
    `tally` is the SDK's own count and `stored` the server's view of the run. Entropy is in nats, reward a share in [0, 1].
    """
    fired = min(
        (a for a in alerts if a["rule"] == RULE and a["kind"] == "fired"),
        key=lambda a: a["step"],
        default=None,
    )
    entropies, rewards = [point["entropy"] for point in curve], [point["reward"] for point in curve]
    at = (
        None
        if fired is None
        else next((i for i, point in enumerate(curve) if point["step"] >= fired["step"]), None)
    )
    return {
        "run": stored["id"],
        "url": stored["url"],
        "seed": seed,
        "steps": len(curve),
        "alert_step": None if fired is None else fired["step"],
        "alert_severity": None if fired is None else fired["severity"],
        "alert_message": None if fired is None else fired.get("message"),
        "other_alerts": sorted({a["rule"] for a in alerts if a["kind"] == "fired" and a["rule"] != RULE}),
        "entropy": {
            "first": _mean(entropies[:WINDOW]),
            "last": _mean(entropies[-WINDOW:]),
            "baseline": None if fired is None else fired["baseline"],
            "at_alert": None
            if fired is None
            else fired["level"],  # median of the last readings: what the rule compared
            "at_alert_over_baseline": None if fired is None else fired["share_of_baseline"],
        },
        "reward": {
            "first": _mean(rewards[:WINDOW]),
            "before": _mean(rewards[:WINDOW] if at is None else rewards[max(0, at - WINDOW) : at]),
            "after": _mean(rewards[-WINDOW:]),
        },
        "solved_by_any": {
            "first": _mean(_column(curve, "solved")[:WINDOW]),
            "after": _mean(_column(curve, "solved")[-WINDOW:]),
        },
        "distinct": {
            "first": _mean(_column(curve, "distinct")[:WINDOW]),
            "after": _mean(_column(curve, "distinct")[-WINDOW:]),
        },
        "overhead_percent": stored["overhead_percent"],
        "points": {"sent": tally["points"], "stored": stored["points"], "dropped": tally["dropped"]},
        "faults": tally["faults"],
        "deliveries": {
            "attempted": len(deliveries),
            "delivered": sum(d["state"] == "delivered" for d in deliveries),
            "received": len({r["id"] for r in received}),
            "signature_verified": len({r["id"] for r in received if r["verified"]}),
        },
    }


def sentences(name: str, told: Mapping[str, Any]) -> list[str]:
    """The same, for the terminal."""
    entropy, reward, points, sent = told["entropy"], told["reward"], told["points"], told["deliveries"]
    if told["alert_step"] is None:
        lines = [
            f"{name}: no alert in {told['steps']} steps; entropy {entropy['first']:.2f} -> {entropy['last']:.2f} nat."
        ]
        rewards = f"reward {reward['first']:.2f} -> {reward['after']:.2f}"
    else:
        lines = [
            (
                f"{name}: alert at step {told['alert_step']} of {told['steps']}, at {entropy['at_alert_over_baseline']:.0%} of its baseline; "
                f"entropy {entropy['first']:.2f} -> {entropy['last']:.2f} nat."
            )
        ]
        rewards = (
            f"reward {reward['first']:.2f} -> {reward['before']:.2f} (at the alert) -> {reward['after']:.2f}"
        )
    any_first, any_after = told["solved_by_any"]["first"], told["solved_by_any"]["after"]
    overhead = (
        "unknown"
        if told["overhead_percent"] is None
        else f"{told['overhead_percent']:.1f} % of the run's time"
    )
    return [
        *lines,
        (
            f"  {rewards}; puzzles that any answer of a group solves {any_first:.0%} -> {any_after:.0%}; "
            f"different answers a group {told['distinct']['first']:.1f} -> {told['distinct']['after']:.1f}."
        ),
        (
            f"  Foreshock cost {overhead}; {points['stored']:,} points stored, {points['dropped']} lost; "
            f"{sent['delivered']} of {sent['attempted']} messages delivered, {sent['signature_verified']} signatures verified."
        ),
    ]


def _mean(numbers: Sequence[float]) -> float | None:
    return fmean(numbers) if numbers else None


def _column(curve: Curve, name: str) -> list[float]:
    return [point[name] for point in curve if name in point]
