"""Operation -> the lines of a notebook that ask for it. A test executes each, and sees that it is this operation that is asked."""

from __future__ import annotations

from typing import Any

BEGIN = """import foreshock

client = foreshock.Client("http://127.0.0.1:8642")  # and api_key="fsk_…" where one is needed
run = client.run("brisk-otter")  # an id, a name, or project/name
"""

SAMPLES = {
    "get_projects": "client.projects()",
    "put_project": 'client.keep("grpo-math", days=90)',
    "get_runs": 'client.runs("grpo-math", limit=20)',
    "get_one_run": "run.refresh().verdict",
    "delete_one_run": 'client.delete("calm-heron")',
    "get_series": "run.series_list()",
    "get_data": 'run.series("policy_entropy", first=100, last=400).to_pandas()',
    "get_export": 'run.export("brisk-otter.parquet")',
    "get_statistics": "client.statistics()",
    "get_heatmap": 'client.get(f"runs/{run.id}/heatmap", statistic="effective_rank")',
    "get_ceiling": 'run.ceiling(reward="reward_mean")["message"]',
    "run_live": 'for news in run.follow("policy_entropy", since=0, seconds=1):\n    print(news.step, news["policy_entropy"].values[-1:])',
    "get_alerts_of_run": "run.alerts()",
    "get_alerts": 'client.alerts("grpo-math")',
    "get_verdict": 'client.get(f"runs/{run.id}/verdict", bins=60)["families"]',
    "list_figures": "run.figures()",
    "get_figure": 'run.figure("policy-entropy")',
    "get_report": 'run.report("report.html")',
    "get_compare_figure": 'client.compare([run, "calm-heron"], "policy_entropy")',
    "list_tags": 'client.get("tags")["tags"]',
    "get_rules": "client.rules()",
    "get_rule_source": 'client.get("rules/source/policy-entropy-collapse")',
    "propose_rule": 'client.get(f"runs/{run.id}/rule-proposal", series="policy_entropy")',
    "list_incidents": "client.incidents()",
    "get_incidents_of_run": "run.incidents()",
    "get_incident_of_run": 'client.get(f"runs/{run.id}/incidents/1")["earlier"]',
    "acknowledge_incident": "run.acknowledge(1)",
    "list_silences": "client.silences()",
    "create_silence": 'client.silence(3600, "known", run=run.id, rule="policy-entropy-*")',
    "end_silence": 'client.unsilence(client.silence(3600, "known", run=run.id))',
    "backtest_rules": 'client.backtest(runs=[run], healthy=["calm-heron"], rules=["policy-entropy-collapse"])',
    "suggest_threshold": 'client.suggest("policy-entropy-explosion", ["calm-heron"], 0.05)["refused"]',
    "list_deliveries": 'client.get("deliveries", run=run.id)["counts"]',
    "get_reference": 'client.get("reference")["statistics"]["policy_entropy"]["formula"]',
    "get_one": 'client.get("reference/policy_entropy")["healthy"]',
}


def samples_of(operation: str) -> list[dict[str, Any]]:
    """As `x-codeSamples` of OpenAPI; none where only the page or the SDK asks."""
    if operation not in SAMPLES:
        return []
    return [{"lang": "Python", "label": "In a notebook", "source": f"{BEGIN}\n{SAMPLES[operation]}\n"}]
