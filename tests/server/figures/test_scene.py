"""Alerts and transitions as the API says them -> intervals, limits and forecasts to draw."""

from __future__ import annotations

from foreshock_server.figures.scene import (
    Interval,
    Limit,
    SeriesInfo,
    forecasts,
    intervals,
    limits,
    merged,
    names,
    worst,
)


def change(kind: str, step: int, episode: int = 1, severity: str = "warning", since: int | None = None):
    return {
        "rule": "r",
        "series": "s",
        "episode": episode,
        "kind": kind,
        "severity": severity,
        "step": step,
        "since_step": since,
    }


def test_an_episode_reaches_from_its_first_breach_to_its_resolution():
    (one,) = intervals(
        [{"rule": "r", "title": "Rank"}], [change("fired", 40, since=30), change("resolved", 90)]
    )
    assert (one.since, one.fired, one.until, one.severity, one.title) == (30, 40, 90, "warning", "Rank")


def test_an_escalation_splits_the_episode():
    parts = intervals(
        [], [change("fired", 40, since=30), change("escalated", 60, severity="critical", since=30)]
    )
    assert [(one.since, one.until, one.severity) for one in parts] == [
        (30, 60, "warning"),
        (60, None, "critical"),
    ]


def test_every_episode_is_there():
    changes = [change("fired", 1), change("resolved", 2), change("fired", 5, episode=2)]
    assert [(one.fired, one.until) for one in intervals([], changes)] == [(1, 2), (5, None)]


def test_intervals_of_many_places_are_shaded_once():
    def one(key, since, until, severity="warning"):
        return Interval("r", "Rank", key, severity, since, since + 1, until)

    (joined, apart, critical) = merged(
        [one("a", 10, 30), one("b", 20, 50), one("c", 60, None), one("c", 70, None, "critical")]
    )
    assert (joined.since, joined.fired, joined.until, joined.places) == (10, 11, 50, 2)
    assert (apart.since, apart.until, apart.places) == (60, None, 1)
    assert (critical.since, critical.severity) == (70, "critical")


def test_limits_are_the_numbers_of_the_last_evaluation(world):
    assert set(limits([world.alert])) == {
        Limit(world.alert["rule"], "policy_entropy", "baseline", 1.0, True),
        Limit(world.alert["rule"], "policy_entropy", "warning", 0.86, True),
        Limit(world.alert["rule"], "policy_entropy", "critical", 0.25, True),
        Limit(world.alert["rule"], "policy_entropy", "clear", 0.6, True),
    }


def test_a_quiet_rule_shows_its_threshold_but_not_where_it_would_clear():
    quiet = {
        "rule": "r",
        "series": "s",
        "state": "ok",
        "severity": "critical",
        "threshold": 0.5,
        "clear": 0.6,
    }
    assert limits([quiet]) == (Limit("r", "s", "critical", 0.5, False),)


def test_the_early_line_of_a_trend_rule_says_that_it_needs_a_trend(world):
    assert "falling" in {limit.kind for limit in limits([world.alert], {world.alert["rule"]})}


def test_a_limit_that_is_no_number_is_not_drawn():
    assert (
        limits([{"rule": "r", "series": "s", "state": "ok", "threshold": "Infinity", "baseline": None}]) == ()
    )


def test_a_forecast_begins_at_the_level_that_was_compared(world):
    (one,) = forecasts([world.alert])
    assert (one.value, one.level, one.low, one.high) == (0.21, 0.15, 40, 80)
    assert forecasts([{**world.alert, "state": "ok"}]) == ()
    assert forecasts([{**world.alert, "forecast": None}]) == ()


def test_the_worst_of_what_fires_on_these_series_decides():
    warning = {"state": "firing", "severity": "warning", "series": "a"}
    critical = {"state": "firing", "severity": "critical", "series": "b"}
    over = {"state": "ok", "severity": "critical", "series": "a"}
    assert worst([warning, critical, over], {"a"}) == "watch"
    assert worst([warning, critical, over], {"a", "b"}) == "collapsing"
    assert worst([over], {"a"}) == "fine"
    assert worst([{**over, "state": "pending"}], {"a"}) == "watch"


def test_names_say_only_what_tells_series_apart():
    rank = [SeriesInfo("", "rank", "", place, {"place": place, "centered": "true"}) for place in ("a", "b")]
    assert names(rank) == ["a", "b"]
    assert names([SeriesInfo("loss", "loss", ""), SeriesInfo("lr", "lr", "")]) == ["loss", "lr"]
    assert names([SeriesInfo("loss", "loss", "", title="Loss")]) == ["Loss"]
