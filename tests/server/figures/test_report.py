"""A run as one HTML file: what it says, that it holds everything, and that nothing in it can become markup."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from foreshock_server.figures import report
from foreshock_server.rules.evaluator import Evaluator

STEPS = 240
ENTROPY = np.r_[np.full(80, 0.8), 0.8 * np.exp(-np.arange(STEPS - 80) / 40)]
HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def run(trainer: Any, wire: Any) -> Any:
    """A run whose entropy collapses, with a series of a hostile name, judged."""
    about = {"unit": "", "place": "", "labels": {}, "dtype": "f64"}
    series = [
        {"key": "policy_entropy", "statistic": "policy_entropy", "family": "policy entropy", **about},
        {"key": HOSTILE, "statistic": HOSTILE, "family": "training", **about},
    ]
    values = np.stack([ENTROPY, np.ones(STEPS)], 1)
    trainer.send(1, [wire.rows(1, np.arange(STEPS), values, dtype="f64")], [{"frame": 1, "series": series}])
    state = trainer.client.app.state
    Evaluator(state.database, state.rules, state.bus, state.settings).run_once()
    return trainer


def page(run: Any, query: str = "") -> str:
    answer = run.client.get(f"/api/v1/runs/{run.run}/report{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


def figures(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(one)
        for one in re.findall(r"<script type='application/json'>(.*?)</script>", text, re.DOTALL)
    ]


def test_it_says_the_verdict_the_alerts_and_what_to_try(run):
    text = page(run)
    [alert] = [one for one in run.get("/alerts")["alerts"] if one["rule"] == "policy-entropy-collapse"]
    assert f"<strong>Collapsing</strong> {alert['message']}" in text
    assert f"fired at {alert['fired_step']:,}" in text
    assert alert["runbook"]["try"][0]["source"].split(",")[0] in text
    assert "steps 0 to" in text
    assert "&quot;lr&quot;: 1e-05" in text


def test_its_figures_are_those_of_the_page(run):
    drawn = figures(page(run, "?theme=dark"))
    listed = run.get("/figures")["figures"]
    assert len(drawn) == len(listed)
    assert drawn[0] == run.get(f"/figures/{listed[0]['name']}", theme="dark")


def test_nothing_of_what_was_sent_becomes_markup(run):
    text = page(run)
    assert HOSTILE not in text
    assert text.count("alert(1)") > 0
    for figure in figures(text):
        assert "<script" not in json.dumps(figure)


def test_it_asks_nobody_for_anything(run):
    text = page(run)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert (
        policy
        == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    )
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"""\b(?:src|srcset|action|data)\s*=\s*["']""", outside) == []
    assert re.findall(r"<(?:link|img|iframe|object|embed|base)\b", outside) == []
    address = run.client.app.state.settings.page_url
    assert re.findall(r'href="([^"]+)"', outside) == [f"{address}/runs/{run.run}"]  # a link for a person


def test_it_comes_as_a_file_to_keep(run):
    answer = run.client.get(f"/api/v1/runs/{run.run}/report")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''brisk-otter.html"
    assert answer.headers["content-type"].startswith("text/html")
    assert run.client.get("/api/v1/runs/nobody/report").status_code == 404


def test_what_is_too_much_for_one_file_is_named(run, monkeypatch):
    monkeypatch.setattr(report, "MOST_FIGURES", 1)
    text = page(run)
    assert len(figures(text)) == 1
    assert (
        "further figures are on the run&#x27;s page" in text
        or "1 further figures are on the run's page: " in text
    )


def test_a_run_without_a_reading_has_a_report_too(trainer):
    text = page(trainer)
    assert "No rule has looked at it yet." in text
    assert "Nothing fired." in text
