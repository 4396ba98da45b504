"""Adaptation at test time: one class for everything."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "adaptation"

_NOTHING = "NaN without valid samples"
_SAR = "Niu et al. 2023, SAR, arXiv:2302.12400 (collapse to one class for all samples)"
_SHOT = "Liang et al. 2020, SHOT, arXiv:2002.08546 (information maximisation)"
_TENT = "Wang et al. 2021, Tent, arXiv:2006.10726 (what is minimised)"
_WINDOW = (
    "Over all samples shown so far, the last ones most: after 512 more a sample counts 1/e. So it can be read from batches of one"
    " as well."
)

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="adaptation_entropy",
        undefined="NaN",
        family=FAMILY,
        title="Entropy of a prediction, mean over the batch",
        unit="nat",
        low=0.0,
        formula="mean over samples of H = −Σ p ln p",
        source=_TENT,
        degenerate=_NOTHING,
        healthy="falls a little, then stays",
        collapsed="falls to 0, and the marginal entropy with it",
        cost="logits",
        needs=("logits",),
        merge="mean",
        weight="adaptation_samples",
    ),
    Statistic(
        name="adaptation_confidence",
        family=FAMILY,
        title="Probability of the predicted class, mean",
        low=0.0,
        high=1.0,
        formula="mean over samples of max p",
        source="definition",
        degenerate=_NOTHING,
        healthy="rises a little, then stays",
        collapsed="1 for every sample",
        cost="logits",
        needs=("logits",),
        merge="mean",
        weight="adaptation_samples",
    ),
    Statistic(
        name="adaptation_marginal_entropy",
        family=FAMILY,
        title="Entropy of the mean prediction",
        unit="nat",
        low=0.0,
        formula="H(p̄) = −Σ p̄ ln p̄, p̄ the running mean of p",
        source=_SHOT + "; " + _SAR,
        degenerate=f"0 when one class takes everything; {_NOTHING}",
        healthy="near the entropy of the classes that come: ln C where they come equally often",
        collapsed="falls towards 0 while the entropy of single predictions is there already",
        cost="logits",
        caveats=_WINDOW + " A stream that brings one class after another reads low without any collapse.",
        needs=("logits",),
    ),
    Statistic(
        name="adaptation_information",
        family=FAMILY,
        title="Information of the predictions about the sample",
        unit="nat",
        low=0.0,
        formula="H(p̄) − running mean of H",
        source=_SHOT,
        degenerate=f"0 when all samples are predicted alike; {_NOTHING}",
        healthy="level or rising",
        collapsed="falls towards 0: the prediction no longer depends on the sample",
        cost="row",
        caveats=_WINDOW,
        needs=("logits",),
    ),
    Statistic(
        name="adaptation_top_class_share",
        family=FAMILY,
        title="Samples given to the most predicted class",
        unit="share",
        low=0.0,
        high=1.0,
        formula="max f, f the running share of each predicted class",
        source=_SAR,
        degenerate=f"1 when one class takes everything; {_NOTHING}",
        healthy="near the share of the commonest class in the data",
        collapsed="rises towards 1",
        cost="logits",
        caveats=_WINDOW,
        needs=("logits",),
    ),
    Statistic(
        name="adaptation_classes",
        family=FAMILY,
        title="Classes predicted, effective number",
        unit="classes",
        low=1.0,
        formula="exp(−Σ f ln f), f the running share of each predicted class",
        source="exponential of the Shannon entropy; " + _SAR,
        degenerate=f"1 when one class takes everything; {_NOTHING}",
        healthy="near the effective number of classes in the data",
        collapsed="falls, in steps, towards 1",
        cost="logits",
        caveats=_WINDOW + " Of many more classes than 512 it reads low throughout: look at its trend.",
        needs=("logits",),
    ),
    Statistic(
        name="adaptation_samples",
        family=FAMILY,
        title="Samples measured",
        unit="samples",
        low=0.0,
        formula="number of valid, finite samples of this batch",
        source="exact count",
        degenerate="0 without valid samples",
        healthy="the size of the batch",
        collapsed="falls: logits are no longer finite",
        cost="row",
        needs=("logits",),
        merge="sum",
    ),
)
