"""What the monitor says of itself, and of the ranks: computed by the recorder and by the server, not on the device."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "monitor"

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="foreshock_overhead",
        family=FAMILY,
        title="Time taken from the training thread",
        unit="%",
        low=0.0,
        formula="100 · (seconds in our calls and hooks) / (seconds between the first and the last step of a block)",
        source="definition",
        degenerate="absent until two steps were closed",
        healthy="below the budget: 1 % of the step time on CUDA, 3 % on a CPU",
        collapsed="above the budget: something costs more than it was thought to; the governor thins it out by itself",
        cost="free",
        caveats="It counts the training thread alone. Time on the device, and cores that our other threads take, are not in it.",
    ),
    Statistic(
        name="foreshock_dropped",
        family=FAMILY,
        title="Readings lost so far",
        unit="readings",
        low=0.0,
        formula="Σ of the losses by reason",
        source="definition",
        degenerate="0",
        healthy="0",
        collapsed="grows: the disk is full, the device is behind, or values were no numbers; the run says the reason once",
        cost="free",
        merge="sum",
    ),
    Statistic(
        name="foreshock_faults",
        family=FAMILY,
        title="Faults of the monitor, kept from the training",
        unit="faults",
        low=0.0,
        formula="exceptions that our guard stopped",
        source="definition",
        degenerate="0",
        healthy="0",
        collapsed="any: a bug of ours, or tensors that we did not expect; the first of each place is said in the log",
        cost="free",
        merge="sum",
    ),
    Statistic(
        name="rank_disagreement",
        family="numerics",
        title="Distance of this rank from the others, in multiples of the usual one",
        low=0.0,
        formula="upper quartile over all statistics s of |v_rs − median_q v_qs| / (its median over ranks in the first ten records)",
        source="heuristic; robust distances in units of the median absolute deviation",
        degenerate="absent with one rank; 1e6 for a rank that alone is not finite",
        healthy="about 2, the same on all ranks: they see different data of one kind",
        collapsed="one rank far above the others: its data, its device or its weights are not those of the rest",
        cost="host",
        caveats="Of two ranks it cannot be said which one is wrong. The server computes it; it needs readings of every rank.",
    ),
)
