"""Log-probabilities and advantages of the tokens taken in; per token, what the update is about to do to the policy, out.

Shape suffixes: N tokens, F the quantities of `tokens.scan`, K other policies.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from . import masked

CLAMP = 20.0  # nats; beyond it exp() of a single token would be the whole mean
MINIMAL = 0.02  # of the likeliest token's probability; less is noise: min-p of Lp-Reg, arXiv:2510.03222
EXTREME = ("ratio", "gap", "rise")  # the quantities of which `extremes` takes the largest
TOP = 2e-4  # the share of the tokens that Clip-Cov and KL-Cov act on, arXiv:2505.22617


def quantities(given: Mapping[str, Tensor], scanned_FN: Tensor) -> dict[str, Tensor]:
    """What readings are made of, by name, [N] each; where a token is not ``valid`` they may be anything.

    ``given``: ``asked``, 1.0 where the policy chose, else 0.0; ``logp`` of the token taken; ``advantages``; ``old``, ``ref``
    and ``rollout``, ln π of that token by other policies; ``exact``, a divergence; and what is passed on as it is.
    ``scanned_FN`` has the squares where both of ``logp`` and ``advantages`` are given.

    Of these come ``entropy``, ``varentropy``, ``top1`` and ``lse``; ``finite`` (the logits are) and ``valid`` (asked for, and
    all that is given is finite); ``margin`` = ln π + H, above zero when the token is likelier than its distribution is on
    average; ``worth``, π less the least that is no noise; ``change``, the entropy change of a unit step,
    ΔH = −A [π (ln π + H) − Σ p² (ln p + H)]; ``product`` = (ln π − mean)(A − mean) and its positive part ``rise``;
    ``old_k1`` = ln π − ln π_old clamped to ±20 and ``old_k3`` = exp(−k1) − 1 + k1, also of the others.
    """
    entropy_N, varentropy_N, top_N, lse_N, *squares = scanned_FN.unbind(0)
    found = {**given, "entropy": entropy_N, "varentropy": varentropy_N, "top1": top_N, "lse": lse_N}
    found["finite"] = (entropy_N == entropy_N).double()
    probe_N = given.get("exact")
    if "logp" in given:
        logp_N = given["logp"]
        apart_KN, names = _apart(given, logp_N)
        p_N = logp_N.exp()
        margin_N = found["margin"] = logp_N + entropy_N
        found["worth"] = torch.sub(p_N, top_N, alpha=MINIMAL)
        least_N = margin_N
        if "advantages" in given:
            pull_N = torch.addcmul(squares[1], entropy_N, squares[0]).addcmul(p_N, margin_N, value=-1.0)
            least_N = found["change"] = pull_N * given["advantages"]
        probe_N = least_N if probe_N is None else probe_N + least_N
        if apart_KN is not None:
            found.update(_divergences(apart_KN, names))
            probe_N = probe_N + apart_KN.sum(0)
    elif "advantages" in given:
        probe_N = given["advantages"] + (entropy_N if probe_N is None else probe_N)
    if probe_N is None:
        return found
    found["valid"] = given["asked"] * masked.finite(probe_N)
    if "change" in found:
        pair_2N = torch.stack([given["logp"], given["advantages"]])
        sums_2 = pair_2N.nan_to_num(0.0, 0.0, 0.0) @ found["valid"]
        centre_2 = sums_2 / found["valid"].sum()
        found["product"] = (pair_2N - centre_2.unsqueeze(1)).prod(0)
        found["rise"] = found["product"].clamp_min(0.0)
    return found


def _apart(given: Mapping[str, Tensor], logp_N: Tensor) -> tuple[Tensor | None, list[str]]:
    """ln π less ln of the others, [K, N], and their names; what the rollout is compared with is the policy that it ran."""
    names = [name for name in ("old", "ref", "rollout") if name in given]
    if not names:
        return None, names
    other_KN = torch.stack([given[name] for name in names])
    if "rollout" in given and "old" in given:
        own_KN = torch.stack([given["old"] if name == "rollout" else logp_N for name in names])
    else:
        own_KN = logp_N
    return (own_KN - other_KN).clamp_(-CLAMP, CLAMP), names  # NaN stays NaN


def _divergences(apart_KN: Tensor, names: list[str]) -> dict[str, Tensor]:
    """k1 and k3 of each; the importance ratio to the old policy, and the distance of the rollout."""
    k3_KN = apart_KN.neg().expm1_().add_(apart_KN)
    found = {f"{name}_k1": k1_N for name, k1_N in zip(names, apart_KN.unbind(0), strict=True)}
    found.update({f"{name}_k3": k3_N for name, k3_N in zip(names, k3_KN.unbind(0), strict=True)})
    if "old" in names:
        found["ratio"] = found["old_k1"].exp()
    if "ref" in names:
        found["ref_gap"] = found["ref_k1"].abs()
    if "rollout" in names:
        found["gap"] = found["rollout_k1"].abs()
    return found


def extremes(names: tuple[str, ...], x_QN: Tensor) -> dict[str, Tensor]:
    """Of quantities, none below zero, that follow ``valid`` in the first rows: the largest by name, over the valid tokens;
    of ``rise`` the sum of the largest TOP of all tokens."""
    if not names:
        return {}
    of_KN = x_QN.narrow(0, 1, len(names)) * x_QN.select(0, 0)
    largest = dict(zip(names, of_KN.amax(1).unbind(0), strict=True))
    if "rise" in largest:
        count = max(1, round(TOP * of_KN.shape[1]))
        if count > 1:
            largest["rise"] = of_KN.select(0, names.index("rise")).topk(count).values.sum()
    return largest


def ratios(
    apart_N: Tensor, valid_N: Tensor, rows_N: Tensor | None, shape: tuple[int, int] | torch.Size
) -> Tensor:
    """Geometric mean over each sequence of the importance ratio, [B], 0 for one without a valid token.

    ``apart_N`` is ln π − ln π_old of all tokens of the [B, T], or of ``rows_N`` of them.
    """
    pair_2N = torch.stack([apart_N.nan_to_num(0.0) * valid_N, valid_N])
    if rows_N is None:
        sums_2B = pair_2N.view(2, *shape).sum(2)
    else:
        sequence_N = torch.div(rows_N, shape[1], rounding_mode="floor")
        sums_2B = pair_2N.new_zeros((2, shape[0])).index_add_(1, sequence_N, pair_2N)
    return (sums_2B.select(0, 0) / sums_2B.select(0, 1)).exp_().nan_to_num_(0.0)
