"""The signal that reinforcement learning gets: rewards, advantages, groups, answers; with `update` and `clipping` the whole family."""

from __future__ import annotations

from .clipping import CLIPPING
from .entry import Statistic
from .update import FAMILY, UPDATE

_NO_GROUP = "NaN without a group of two or more; a group of one is not counted"
_GRPO = "Shao et al. 2024, arXiv:2402.03300"
_DAPO = "DAPO, Yu et al. 2025, arXiv:2503.14476 (dynamic sampling)"
_RISK = "quantiles as a view of risk: RiskPO, Ren et al. 2025, arXiv:2510.00911"
_BEST = "best and worst of n; heuristic"
_LOST = "what only few samples find is being lost"
_HIGH = "A reward is high in the upper half of the batch's range, bounds included; if all rewards are equal, when above zero."

SIGNAL: tuple[Statistic, ...] = (
    Statistic(
        name="advantage_std",
        undefined="NaN",
        family=FAMILY,
        title="Standard deviation of the advantage",
        low=0.0,
        formula="√(E[A²] − E[A]²) over the tokens measured",
        source="population form",
        degenerate="0 when all advantages are equal; NaN with fewer than two tokens",
        healthy="level; near 1 where advantages are divided by the deviation of their group",
        collapsed="falls towards 0: nothing is better than anything else, and the update is noise",
        cost="row",
        caveats="Advantages per sequence count once for each of its tokens, as they do in the update.",
        needs=("advantages",),
    ),
    Statistic(
        name="advantage_positive",
        family=FAMILY,
        title="Tokens with a positive advantage",
        unit="share",
        low=0.0,
        high=1.0,
        formula="mean of [A > 0]",
        source="heuristic",
        degenerate="0 when all advantages are zero; NaN without valid tokens",
        healthy="away from both ends",
        collapsed="towards 0 the update only pushes tokens down, which raises entropy; towards 1 it only pushes them up",
        cost="row",
        needs=("advantages",),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="advantage_zero",
        family=FAMILY,
        title="Tokens without an advantage",
        unit="share",
        low=0.0,
        high=1.0,
        formula="mean of [A = 0]",
        source="QAE, Wu et al. 2025, arXiv:2509.22611 (share of responses without advantage)",
        degenerate="1 when all advantages are zero; NaN without valid tokens",
        healthy="low and level; about 0.8 by design with a quantile baseline",
        collapsed="rises: more and more of the batch teaches nothing",
        cost="row",
        needs=("advantages",),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="advantage_source",
        family=FAMILY,
        title="Mean size of the advantage by data source",
        low=0.0,
        formula="mean of |A| over the tokens of one source",
        source="DUMP, Wang et al. 2025, arXiv:2504.09710 (learnability of a data source)",
        degenerate="NaN where the batch has nothing of the source",
        healthy="similar in all sources, or larger in those that are being learnt",
        collapsed="towards 0 in one source: it is mastered or out of reach, and teaches nothing",
        cost="row",
        needs=("advantages", "sources"),
    ),
    Statistic(
        name="reward_mean",
        undefined="NaN",
        family=FAMILY,
        title="Mean reward",
        formula="E[r] over sequences",
        source="mean over sequences",
        degenerate="NaN without rewards",
        healthy="rises, then levels off",
        collapsed="falls, or jumps up where a reward is being gamed",
        cost="row",
        needs=("rewards",),
        merge="mean",
        weight="policy_sequences",
    ),
    Statistic(
        name="reward_std",
        undefined="NaN",
        family=FAMILY,
        title="Standard deviation of the reward",
        low=0.0,
        formula="√(E[r²] − E[r]²) over sequences",
        source="population form, over sequences",
        degenerate="0 when all rewards are equal; NaN with fewer than two rewards",
        healthy="level",
        collapsed="falls towards 0: all answers earn the same",
        cost="row",
        needs=("rewards",),
    ),
    *(
        Statistic(
            name=f"reward_p{percent}",
            family=FAMILY,
            title=f"Reward, {percent}th percentile",
            formula=f"quantile {percent / 100:g} of r over sequences, linear between ranks",
            source=_RISK,
            degenerate="NaN without rewards",
            healthy="all quantiles rise together",
            collapsed="the upper ones rise while the lower stay: the hard prompts are left behind",
            cost="row",
            needs=("rewards",),
        )
        for percent in (10, 50, 90)
    ),
    *(
        Statistic(
            name=name,
            family=FAMILY,
            title=f"Groups whose rewards are all equal{of}",
            unit="share",
            low=0.0,
            high=1.0,
            formula=f"mean over groups of [max r = min r{extra}]",
            source=f"share of groups with max r = min r; {_DAPO}",
            degenerate=_NO_GROUP,
            healthy=healthy,
            collapsed=collapsed,
            cost="row",
            caveats="Equality is exact: the deviation of equal rewards 0.1 is not zero in float32."
            if not extra
            else _HIGH,
            needs=("rewards", "groups"),
            merge="mean",
            weight="policy_sequences",
        )
        for name, of, extra, healthy, collapsed in (
            (
                "zero_variance_groups",
                "",
                "",
                "low and level",
                "rises: advantages are zero in these groups, so ever fewer prompts teach anything",
            ),
            (
                "zero_variance_all_high",
                " and high",
                " ∧ r high",
                "rises slowly as prompts are mastered",
                "near 1: the prompts have become too easy",
            ),
            (
                "zero_variance_all_low",
                " and low",
                " ∧ r low",
                "low",
                "near 1: the prompts are out of reach, or the verifier is broken",
            ),
        )
    ),
    Statistic(
        name="group_reward_std",
        family=FAMILY,
        title="Standard deviation of the reward within a group, mean",
        low=0.0,
        formula="mean over groups of √(E[r²] − E[r]²)",
        source="the divisor of the advantage: "
        + _GRPO
        + "; signal to noise: RAGEN-2, Wang et al. 2026, arXiv:2604.06268",
        degenerate=f"0 when every group agrees; {_NO_GROUP}",
        healthy="level",
        collapsed="falls towards 0: the groups agree, and regularisation outweighs the task",
        cost="row",
        needs=("rewards", "groups"),
        merge="mean",
        weight="policy_sequences",
    ),
    *(
        Statistic(
            name=f"group_reward_{name}",
            family=FAMILY,
            title=title,
            formula=f"mean over groups of {formula}",
            source=source,
            degenerate=_NO_GROUP,
            healthy="rises",
            collapsed=collapsed,
            cost="row",
            needs=("rewards", "groups"),
            merge="mean",
            weight="policy_sequences",
        )
        for name, title, formula, source, collapsed in (
            (
                "max",
                "Largest reward of a group, mean",
                "max r",
                _BEST,
                f"falls while the mean rises: {_LOST}",
            ),
            (
                "min",
                "Smallest reward of a group, mean",
                "min r",
                _BEST,
                "meets the largest: the groups agree",
            ),
            *(
                (
                    f"p{percent}",
                    f"Reward within a group, {percent}th percentile, mean",
                    f"the quantile {percent / 100:g} of r in the group, linear between ranks",
                    f"{_RISK}; in a group, heuristic",
                    collapsed,
                )
                for percent, collapsed in (
                    (10, "meets the 90th: the groups agree, and nothing is left to learn from"),
                    (50, "stays while the 90th rises: the answers of a prompt part in two"),
                    (90, f"falls while the median rises: {_LOST}"),
                )
            ),
        )
    ),
    Statistic(
        name="pass_at",
        family=FAMILY,
        title="Chance that one of k answers is right",
        unit="share",
        low=0.0,
        high=1.0,
        formula="mean over groups of 1 − C(n−c, k)/C(n, k), c of n right",
        source="Chen et al. 2021, arXiv:2107.03374, equation 1 (unbiased)",
        degenerate="NaN where no group has k members",
        healthy="all rise; the gap between k = 1 and large k closes from below",
        collapsed="k = 1 rises while large k falls: the policy narrows to what it can already do",
        cost="row",
        caveats="Right is what `correct` says, else a high reward. "
        + _HIGH
        + " With groups given by number k goes to 8.",
        needs=("groups", "correct or rewards"),
        merge="mean",
        weight="policy_sequences",
    ),
    Statistic(
        name="solved_by_any",
        family=FAMILY,
        title="Groups with at least one right answer",
        unit="share",
        low=0.0,
        high=1.0,
        formula="mean over groups of [c > 0]: pass@n with n the size of the group",
        source="Chen et al. 2021, arXiv:2107.03374, equation 1 at k = n",
        degenerate="NaN without a group",
        healthy="level or rising",
        collapsed="falls while the mean reward rises: exploration is being lost",
        cost="row",
        caveats="Right is what `correct` says, else a high reward. " + _HIGH,
        needs=("groups", "correct or rewards"),
        merge="mean",
        weight="policy_sequences",
    ),
    Statistic(
        name="unique_answers",
        family=FAMILY,
        title="Different answers in a group, mean",
        unit="answers",
        low=1.0,
        formula="mean over groups of the number of different answers",
        source="heuristic",
        degenerate=f"1 when every group agrees; {_NO_GROUP}",
        healthy="falls slowly as prompts are solved",
        collapsed="falls to 1 whether the answers are right or not",
        cost="row",
        caveats="Answers are told apart by the integers given: equal texts must have equal ones.",
        needs=("answers", "groups"),
        merge="mean",
        weight="policy_sequences",
    ),
    Statistic(
        name="answer_entropy",
        family=FAMILY,
        title="Entropy of a group's answers, mean",
        unit="nat",
        low=0.0,
        formula="mean over groups of −Σ f ln f, f the share of an answer",
        source="heuristic; the vote that self-rewarded training collapses to is f = 1",
        degenerate=f"0 when every group agrees; {_NO_GROUP}",
        healthy="falls slowly as prompts are solved",
        collapsed="falls to 0 whether the answers are right or not",
        cost="row",
        caveats="At most ln n, and biased downwards for few answers: compare groups of one size.",
        needs=("answers", "groups"),
        merge="mean",
        weight="policy_sequences",
    ),
    Statistic(
        name="policy_sequences",
        family=FAMILY,
        title="Sequences whose reward was finite",
        unit="sequences",
        low=0.0,
        formula="Σ [r finite]",
        source="count",
        degenerate="0 when no reward is finite",
        healthy="level",
        collapsed="falls where rewards fail",
        cost="row",
        needs=("rewards",),
        merge="sum",
    ),
)

STATISTICS: tuple[Statistic, ...] = (*UPDATE, *SIGNAL, *CLIPPING)

__all__ = ["FAMILY", "STATISTICS"]
