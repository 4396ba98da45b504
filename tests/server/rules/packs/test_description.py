"""What is told of each built-in rule in words: the table beside the packs is current, and the listing says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.rules.packs.shipped import shipped

from foreshock_server.cli import main
from foreshock_server.rules.description import BEGIN, END, builtin_table, listed, said, table
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
README = Path(__file__).parents[4] / "server/foreshock_server/rules/builtin/README.md"
RULES = pytest.mark.parametrize("rule", BUILT_IN.rules, ids=lambda rule: rule.id)


def test_the_table_of_the_built_in_rules_is_current():
    written = README.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    assert written == "\n" + "\n".join(builtin_table()) + "\n", "run `make reference`"


@RULES
def test_each_detector_has_words_of_its_own(rule):
    words = said(rule.detector)
    assert words.does != rule.detector.kind
    assert words.begins_ill


@RULES
def test_what_is_said_of_a_run_that_begins_ill_is_what_is_drawn(rule):
    """Told, or not: by the drawn tests, which are run elsewhere."""
    drawn = shipped()[rule.id]
    told = any(case.fires is not None for case in drawn.begins_ill)
    assert rule.made is not None or told == ("told" in said(rule.detector).begins_ill)


def test_the_listing_names_level_basis_and_beginning(capsys):
    assert main(["rules", "list", "--pack", "optimiser"]) == 0
    lines = capsys.readouterr().out.splitlines()
    behind = next(place for place, line in enumerate(lines) if line.startswith("adam-behind: "))
    assert "> 2.3" in lines[behind + 1]
    assert "(basis: paper)" in lines[behind + 1]
    assert "silent until step 100" in lines[behind + 2]


def test_a_bar_in_a_name_does_not_end_a_cell():
    rule = BUILT_IN.rules[0]
    odd = rule.model_copy(update={"matches": [rule.matches[0].model_copy(update={"statistic": "a|b"})]})
    assert "a\\|b" in table([odd])[-1]


def test_the_listing_has_three_lines_a_rule():
    assert len(listed(BUILT_IN.rules)) == 3 * len(BUILT_IN.rules)
