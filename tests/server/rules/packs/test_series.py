"""Every built-in rule is about something that the SDK writes, by statistic, family, place and labels; and says where it comes from."""

from __future__ import annotations

import pytest
from tests.server.rules.packs.written import written

from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

RESTS_ON = {
    "definition": ("Definition", "Arithmetic", "means"),
    "paper": ("arXiv", "paper"),
    "measurement": ("easured", "tuning runs"),
    "heuristic": ("heuristic", "ours"),
}
ONLY_WITH_LABELS = {"class_variability"}  # beside features whose labels are shown, and nowhere else
BUILT_IN = RuleSet.load(Settings())
RULES = pytest.mark.parametrize("rule", BUILT_IN.rules, ids=lambda rule: rule.id)


@RULES
@pytest.mark.slow
def test_each_way_to_match_finds_a_series(rule):
    series = written()
    assert BUILT_IN.series_of(rule, series)
    for match in rule.matches:
        assert any(match.fits(one) for one in series), f"{match} finds nothing"
    if rule.derive is not None and rule.derive.partner is not None:
        pairs = [(one, other) for one in series for other in series if rule.watches(one)]
        assert any(rule.compares(one, other) for one, other in pairs), "nothing to compare it with"


@RULES
@pytest.mark.slow
def test_what_a_reading_must_rest_on_comes_beside_it(rule):
    series = written()
    for need in rule.needs:
        watched = [one for one in series if rule.watches(one)]
        lonely = [one.key for one in watched if not any(need.fits(other, one) for other in series)]
        if need.statistic in ONLY_WITH_LABELS:
            assert len(lonely) < len(watched)
        else:
            assert lonely == []


@pytest.mark.slow
def test_every_family_of_statistics_that_can_collapse_has_rules():
    families = {one.family for one in written() if one.family != "training"}
    watched = {
        one.family
        for one in written()
        for rule in BUILT_IN.matching(one)
        if rule.detector.kind != "non-finite"
    }
    assert families - watched == set()


@RULES
def test_what_a_rule_rests_on_and_what_to_do_is_said(rule):
    assert len(rule.source) > 20
    assert len(rule.runbook.meaning) > 80
    assert len(rule.runbook.check) >= 2
    for remedy in rule.runbook.remedies:
        assert remedy.source
        assert remedy.basis == "inference" or remedy.source not in {"common practice", "experience"}
    assert "basis" in rule.model_fields_set, "say what the levels rest on"
    for basis, words in RESTS_ON.items():
        if rule.basis == basis:
            assert any(word in rule.source for word in words), f"`source` does not say why it is {basis}"


@RULES
def test_a_runbook_can_be_read_at_night(rule):
    book = rule.runbook
    assert len(book.meaning) < 700
    assert len(book.check) <= 5
    assert len(book.remedies) <= 6


@RULES
def test_only_what_is_critical_pages_unless_the_rule_is_known_to_be_early_and_right(rule):
    early = {
        "policy-entropy-collapse",
        "policy-entropy-explosion",
        "representation-rank-collapse",
        "constant-embeddings",
        "embeddings-in-one-direction",
        "zero-variance-groups",
        "no-reward-signal",
        "faulty-rank",
        "monitor-over-budget",
        "codebook-perplexity-falling",
        "latent-information-falling",
        "attention-keys-alike",
        "classes-falling",
        "gradient-uneven",
    }
    if rule.id not in early and rule.detector.kind != "non-finite" and rule.severity != "critical":
        assert rule.notify.severity == "critical"
