"""What looks like a collapse and is none pages nobody: neural collapse of a trained classifier, grokking's quiet loss, settling entropy.

All built-in rules are in force, and every channel would be told.
"""

from __future__ import annotations

import pytest

from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial.drawing import draw
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
RANK = "effective_rank{place=features,centered=true}"
NEURAL_COLLAPSE = {
    RANK: "60±3%x150 60~>9±3%x400 9±1%x450",
    "effective_rank_normalized{place=features,centered=true}": "0.9±2%x150 0.9~>0.45±2%x400 0.45±1%x450",
    "n_eff{place=features}": "512x1000",
    "class_variability{place=features}": "2±5%x150 2~>0.01±5%x400 0.01±5%x450",
    "nearest_mean_accuracy{place=features}": "0.3~>0.999x300 0.999x700",
    "class_norm_ratio{place=features}": "0.5->0.98±1%x300 0.98±1%x700",
    "nc4_agreement{place=features}": "0.4->0.99x300 0.99x700",
    "softmax_collapse_share{place=head}": "0x300 0->0.98x300 0.98x400",
    "zero_loss_share{place=head}": "0x300 0->0.98x300 0.98x400",
    "gradient_norm{}": "2~>0.001±10%x600 0.001±10%x400",
    "loss": "2.3~>0.0004±5%x600 0.0004±5%x400",
    "val/loss": "2.3~>0.5±3%x300 0.5->0.55±3%x700",
}
GROKKING = {
    "loss": "4.6~>0.000001±10%x150 0.000001±20%x850",
    "val/loss": "4.6±2%x950 4.6~>0.01±3%x50",
    "weight_norm{}": "40~>60±1%x200 60~>30±1%x700 30±1%x100",
    "gradient_norm{}": "1~>0.00001±20%x200 0.00001±30%x700 0.001±30%x100",
    "softmax_collapse_share{place=head}": "0x100 0->0.9x100 0.9x800",
}
SETTLING = {
    "policy_entropy{}": "1.2~>0.75±5%x500 0.75±5%x500",
    "policy_tokens{}": "3000±10%x1000",
    "attention_entropy_normalized{place=layers.2.attn,heads=median}": "0.98~>0.45±3%x500 0.45±4%x500",
    "attention_heads_above{place=layers.2.attn,level=0.95}": "1~>0.05±2%x500 0.05±5%x500",
    "router_entropy_normalized{place=layers.2.moe}": "0.99~>0.4±3%x500 0.4±4%x500",
    "n_eff{place=layers.2.moe}": "4096x1000",
}


def judged(run, database, bus, settings, drawings):
    run.block({key: [one.value for one in draw(text)] for key, text in drawings.items()})
    watcher = Evaluator(database, BUILT_IN, bus, settings)
    while watcher.run_once():
        pass
    return run.deliveries()


@pytest.mark.parametrize(
    "drawings", [NEURAL_COLLAPSE, GROKKING, SETTLING], ids=["neural collapse", "grokking", "settling entropy"]
)
def test_it_pages_nobody(stored, database, bus, settings, channel, drawings):
    assert judged(stored, database, bus, settings, drawings) == []


def test_a_held_out_loss_that_rises_for_long_pages_nobody_where_the_run_is_known_to_learn_late(
    new_run, database, bus, settings, channel
):
    drawings = {"val/loss": "4.6±2%x100 4.6~>20±2%x400 20±2%x450 20~>0.1±3%x50"}
    late = new_run("late", config={"tags": ["grokking"]})
    assert judged(late, database, bus, settings, drawings) == []
    assert judged(new_run("other"), database, bus, settings, drawings) != []


def test_a_rank_that_falls_while_classes_do_not_draw_together_pages(stored, database, bus, settings, channel):
    """The same features, all of them going to one place."""
    drawings = {**NEURAL_COLLAPSE, "class_variability{place=features}": "2±5%x1000"}
    assert "representation-rank-collapse" in {
        one[0] for one in judged(stored, database, bus, settings, drawings)
    }
