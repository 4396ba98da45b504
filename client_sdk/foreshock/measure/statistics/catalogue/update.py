"""What an update is about to do to the policy's entropy, and how far the policy has moved: part of the family `signal`."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "RL signal"

_NONE = "NaN without valid tokens"
_CUI = "Cui et al. 2025, arXiv:2505.22617"
_SCHULMAN = "Schulman 2020, Approximating KL Divergence"
_STEP = "exact first-order entropy change of a policy-gradient step on the token's own logits"
_UNIT = (
    "Per unit of learning rate on the logits, of one token at a time: shared weights, the optimizer's state and clipping are left"
    " out. Its sign and its course tell; set it against the measured change."
)

UPDATE: tuple[Statistic, ...] = (
    Statistic(
        name="policy_cov",
        undefined="NaN",
        family=FAMILY,
        title="Covariance of ln π and advantage",
        unit="nat",
        formula="mean of (ln π − mean ln π)(A − mean A) over the tokens taken",
        source=f"{_CUI}, Cov(ln π, A)",
        degenerate=f"0 when all advantages are equal; {_NONE}",
        healthy="around zero, or positive and small",
        collapsed="positive for long: likely tokens are made likelier, and entropy falls",
        cost="row",
        caveats="Means are of this batch's tokens: with small batches the value is noisy.",
        needs=("actions or logprobs", "advantages"),
    ),
    *(
        Statistic(
            name=f"policy_cov_above_{bound}",
            family=FAMILY,
            title=f"Tokens whose covariance term exceeds {bound}",
            unit="share",
            low=0.0,
            high=1.0,
            formula=f"mean of [(ln π − mean)(A − mean) > {bound}]",
            source=f"{_CUI}, Cov(ln π, A), clip-cov bounds",
            degenerate=f"0 when all advantages are equal; {_NONE}",
            healthy="level",
            collapsed="rises while entropy falls: these tokens spend it",
            cost="row",
            needs=("actions or logprobs", "advantages"),
            merge="mean",
            weight="policy_tokens",
        )
        for bound in (1, 5)
    ),
    Statistic(
        name="policy_cov_top",
        family=FAMILY,
        title="Share of the positive covariance that the top 2e-4 of the tokens hold",
        unit="share",
        low=0.0,
        high=1.0,
        formula="Σ of the largest max(1, 2e-4 N) terms / Σ of the positive terms",
        source=f"{_CUI}, the share of tokens that Clip-Cov and KL-Cov act on",
        degenerate="NaN when no term is positive",
        healthy="level",
        collapsed="rises: very few tokens drive the update, and holding back those few would slow the fall of entropy",
        cost="row",
        caveats="Of small batches it is the share of a single token, and larger for it.",
        needs=("actions or logprobs", "advantages"),
    ),
    *(
        Statistic(
            name=f"kl_{name}_{k}",
            undefined="NaN",
            family=FAMILY,
            title=f"KL to the {policy}, {k}",
            unit="nat",
            low=None if k == "k1" else 0.0,
            formula=formula.replace("π'", symbol),
            source=f"{_SCHULMAN}: {form}",
            degenerate=f"0 when both policies agree; {_NONE}",
            healthy=healthy,
            collapsed=collapsed,
            cost="row",
            caveats=caveats,
            needs=("actions or logprobs", f"{name}_logprobs"),
            merge="mean",
            weight="policy_tokens",
        )
        for name, policy, symbol, healthy, collapsed in (
            (
                "ref",
                "reference policy",
                "π_ref",
                "rises slowly and levels off",
                "runs away: the policy leaves the reference, often into one way of answering",
            ),
            (
                "old",
                "policy that sampled",
                "π_old",
                "near 0 in the first update of a batch, small in the last",
                "grows: the data is stale, or updates are too large",
            ),
        )
        for k, formula, form, caveats in (
            (
                "k1",
                "mean of ln π − ln π', clamped to ±20",
                "ln π − ln π', clamped to ±20",
                "Unbiased where the tokens were sampled from π; of a small divergence mostly noise, which k3 is not.",
            ),
            ("k2", "mean of ½ k1²", "½ k1²", "Biased upwards for large divergences."),
            (
                "k3",
                "mean of exp(−k1) − 1 + k1",
                "exp(−k1) − 1 + k1",
                "Unbiased and never negative, but of a large divergence (beyond 0.1) noisier than k1.",
            ),
        )
        if (name, k) != ("old", "k2")
    ),
    Statistic(
        name="kl_ref_exact",
        family=FAMILY,
        title="KL to the reference policy, exact",
        unit="nat",
        low=0.0,
        formula="mean over tokens of Σ p (ln p − ln p_ref), at most 20 each",
        source="definition; both sets of logits read in one max-centred pass in float32",
        degenerate=f"0 when both policies agree; {_NONE}",
        healthy="rises slowly and levels off",
        collapsed="runs away: the policy leaves the reference",
        cost="logits",
        caveats="No sampling noise, for a second read of the logits and one of the reference's.",
        needs=("logits", "ref_logits"),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="kl_ref_clamped",
        family=FAMILY,
        title="Tokens whose divergence from the reference is clamped",
        unit="share",
        low=0.0,
        high=1.0,
        formula="share of the tokens with |ln π − ln π_ref| ≥ 20, and of those with Σ p (ln p − ln p_ref) ≥ 20",
        source="bound of 20 nats on each term, as verl has it in kl_penalty; ours: how often it bites",
        degenerate=f"0 when both policies agree; {_NONE}",
        healthy="0",
        collapsed="above 0: the KL is larger than it reads; the reference cannot say what the policy says, often for another mask",
        cost="free",
        needs=("ref_logprobs or ref_logits",),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="entropy_change_measured",
        family=FAMILY,
        title="Entropy change since the last record",
        unit="nat",
        formula="mean H now − mean H at the record before",
        source="difference of policy_entropy",
        degenerate="NaN at the first record, and after one without valid tokens",
        healthy="around zero, or slightly below",
        collapsed="below zero, record after record",
        cost="free",
        caveats="Between two batches, so it also holds the difference of their prompts. Of every step only at a cadence of 1.",
        needs=("logits or hidden",),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="entropy_change_predicted",
        family=FAMILY,
        title="Entropy change that this update implies",
        unit="nat",
        formula="mean of ΔH = −A [p_y (ln p_y + H) − Σ p² (ln p + H)], y the token taken",
        source=f"{_STEP}; per token as in STEER, Hao et al. 2025, arXiv:2510.10150",
        degenerate=f"0 when all advantages are zero or the policy is certain; {_NONE}",
        healthy="around zero",
        collapsed="below zero for long: the update spends entropy, before the entropy shows it",
        cost="logits",
        caveats=_UNIT,
        needs=("actions or logprobs", "advantages"),
        merge="mean",
        weight="policy_tokens",
    ),
    *(
        Statistic(
            name=f"entropy_change_{name}",
            family=FAMILY,
            title=f"Entropy change implied by the tokens that {verb} it",
            unit="nat",
            low=low,
            high=high,
            formula=f"mean of {bound}(ΔH, 0), ΔH as in entropy_change_predicted",
            source=_STEP,
            degenerate=f"0 when no token does; {_NONE}",
            healthy="of the size of the other part",
            collapsed=collapsed,
            cost="free",
            caveats=_UNIT,
            needs=("actions or logprobs", "advantages"),
            merge="mean",
            weight="policy_tokens",
        )
        for name, verb, bound, low, high, collapsed in (
            ("raising", "raise", "max", 0.0, None, "falls towards 0: nothing restores entropy"),
            ("lowering", "lower", "min", None, 0.0, "grows below the size of the raising part"),
        )
    ),
    Statistic(
        name="entropy_change_cell",
        family=FAMILY,
        title="Entropy change implied by one quadrant of tokens",
        unit="nat",
        formula="Σ of ΔH over the tokens of the quadrant / number of all valid tokens; low: ln π ≤ −H, high: ln π > −H",
        source=f"{_STEP}; quadrants of probability and advantage as in CE-GPPO, Su et al. 2025, arXiv:2509.20712",
        degenerate=f"0 for an empty quadrant; {_NONE}",
        healthy="the four cancel",
        collapsed="likely tokens with a positive advantage outweigh the rest: confidence feeds on itself; where unlikely tokens with"
        " a negative advantage do, rare choices are being weeded out",
        cost="free",
        caveats=_UNIT
        + " Low and high are beside the token's own distribution: less or more likely than it is on average.",
        needs=("actions or logprobs", "advantages"),
        merge="mean",
        weight="policy_tokens",
    ),
    Statistic(
        name="policy_entropy_part",
        family=FAMILY,
        title="Token entropy of a part of the tokens",
        unit="nat",
        low=0.0,
        formula="mean of H over the tokens with a positive or negative advantage, of right or wrong sequences, or of one turn",
        source="right and wrong: Tan et al. 2025, GTPO, arXiv:2508.04349; turns: Xu et al. 2025, EPO, arXiv:2509.22576",
        degenerate="NaN where the batch has no such token",
        healthy="falls slowly in all parts; higher in wrong answers than in right ones",
        collapsed="one part falls ahead: right answers become certain, or early turns fix what later ones do; a turn whose entropy"
        " rises while the others fall explores without aim",
        cost="free",
        caveats="Right is what `correct` says, else a reward above zero. Turns count from 0; from the eighth on they count together.",
        needs=("advantages, correct, rewards or turns",),
    ),
    Statistic(
        name="policy_tokens",
        family=FAMILY,
        title="Tokens measured",
        unit="tokens",
        low=0.0,
        formula="Σ [token valid and its logits finite], at most the number of tokens that one record reads",
        source="count",
        degenerate="0 without valid tokens",
        healthy="level",
        collapsed="falls where logits break down or masks are wrong",
        cost="free",
        needs=("logits or hidden",),
        merge="sum",
    ),
)
