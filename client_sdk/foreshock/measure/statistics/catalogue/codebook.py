"""Codebooks: how many codes are in use."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "codebook"

_WINDOW = (
    "The window forgets by indices: one weighs 1/e once 16 K others have come. It sees one batch per record, so with a"
    " cadence other than every step it takes longer to fill."
)
_AGE = (
    "In records of this series, not in steps; a code that was never chosen is as old as the records. Codes that a"
    " codebook revives by itself look young again only once they are chosen."
)

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="codebook_usage",
        family=FAMILY,
        title="Codes chosen at least once within the last 16 K indices",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{k : indices since k was last chosen < 16 K} / K",
        source="utilisation of the codebook; Zhu et al. 2024, SimVQ, arXiv:2411.02038",
        degenerate="NaN until 4 K indices have been counted",
        healthy="above 0.9, or high and level",
        collapsed="falls and does not come back; below 0.1 the codebook is a fraction of what it costs",
        cost="row",
        caveats=_WINDOW,
        needs=("indices", "size"),
    ),
    Statistic(
        name="codebook_perplexity",
        family=FAMILY,
        title="Perplexity of the codebook",
        unit="codes",
        low=1.0,
        high=None,
        formula="exp(H + (m − 1) Σw² / 2(Σw)²), H = −Σ f ln f over the window, m codes used in it, w weights of its indices",
        source="van den Oord et al. 2017, arXiv:1711.00937; bias correction of Miller 1955 with the window's effective number of indices",
        degenerate="NaN until 4 K indices have been counted; 1 when one code takes all; at most K",
        healthy="a good part of K, level or rising",
        collapsed="falls to a few codes while reconstruction stands still or worsens",
        cost="free",
        caveats=f"{_WINDOW} Uncorrected it would read 12% low at 4 K indices.",
        needs=("indices", "size"),
    ),
    Statistic(
        name="codebook_dead",
        family=FAMILY,
        title="Codes with less than a hundredth of an even share of the window",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{k : weight_k < 0.01 Σ weight / K} / K",
        source="heuristic threshold; Dhariwal et al. 2020, Jukebox, arXiv:2005.00341 (restart of unused codes) for the practice",
        degenerate="NaN until 4 K indices have been counted",
        healthy="near 0; rare codes of a skewed codebook may count as dead",
        collapsed="rises as usage falls, later and more surely",
        cost="free",
        caveats=_WINDOW,
        needs=("indices", "size"),
    ),
    Statistic(
        name="codebook_age_p50",
        family=FAMILY,
        title="Records since a code was last chosen, median",
        unit="records",
        low=0.0,
        high=None,
        formula="median over codes, by nearest rank",
        source="exact count; heuristic",
        degenerate="NaN before the first index",
        healthy="a few records: K over the indices of a batch",
        collapsed="grows by one per record: more than half of the codes are never chosen",
        cost="row",
        caveats=_AGE,
        needs=("indices", "size"),
    ),
    Statistic(
        name="codebook_age_p95",
        family=FAMILY,
        title="Records since a code was last chosen, 95th percentile",
        unit="records",
        low=0.0,
        high=None,
        formula="95th percentile over codes, by nearest rank",
        source="exact count; heuristic",
        degenerate="NaN before the first index",
        healthy="level",
        collapsed="grows by one per record: one code in twenty is never chosen",
        cost="free",
        caveats=_AGE,
        needs=("indices", "size"),
    ),
    Statistic(
        name="codebook_age_max",
        family=FAMILY,
        title="Records since the code longest out of use was last chosen",
        unit="records",
        low=0.0,
        high=None,
        formula="maximum over codes",
        source="exact count; heuristic",
        degenerate="NaN before the first index",
        healthy="comes down now and then",
        collapsed="grows by one per record from the start: some code has never been chosen",
        cost="free",
        caveats=_AGE,
        needs=("indices", "size"),
        merge="min",
    ),
    Statistic(
        name="codebook_updated",
        family=FAMILY,
        title="Codes that receive a gradient",
        unit="share",
        low=0.0,
        high=1.0,
        formula="#{k : max_j |g_kj| > 0} / K",
        source="Zhu et al. 2024, SimVQ, arXiv:2411.02038 (disjoint optimisation: only chosen codes are moved)",
        degenerate="0 for a gradient of zeros",
        healthy="near the share of codes that a batch can reach, 1 − e^(−n/K) for n indices",
        collapsed="falls: the same few codes are moved at every step, and the rest are left behind",
        cost="moments",
        caveats="Codebooks that follow their codes by moving averages have no gradient: leave it out. Read after backward and"
        " before the gradients are zeroed.",
        needs=("indices", "size", "gradient"),
    ),
)
