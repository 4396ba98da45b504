"""A policy's batch as the loop shows it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from foreshock.measure.sites import Sites
from foreshock.measure.statistics import policy as statistics
from foreshock.measure.statistics.tokens import LEVELS

from .policy_inputs import flatten, tokens_at_most


def show(
    sites: Sites,
    logits: Tensor,
    *,
    mask: Tensor | None = None,
    actions: Tensor | None = None,
    advantages: Tensor | None = None,
    logprobs: Tensor | None = None,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    rewards: Tensor | None = None,
    groups: Tensor | int | None = None,
) -> None:
    """Measure a policy's batch: entropies, and what else the given tensors allow.

    ``logits`` [sequences, tokens, vocabulary] or [tokens, vocabulary], divided by the sampler's temperature;
    ``mask``, ``actions`` and log-probabilities per token; ``advantages`` per token or sequence; ``rewards`` per
    sequence; ``groups`` one integer per reward, or the size of a group. The log-probabilities of the actions are
    computed from the logits unless ``logprobs`` gives them.
    """
    if not sites.awaits("policy"):
        return
    with sites.clock.spending:
        given, group = flatten(
            logits,
            mask=mask,
            actions=actions,
            logprobs=logprobs,
            old_logprobs=old_logprobs,
            ref_logprobs=ref_logprobs,
            advantages=advantages,
            rewards=rewards,
            groups=groups,
        )
        device = logits.device
        most = tokens_at_most(logits.shape[-1])
        if len(given["valid"]) > most:
            given["uniform"] = sites.uniform(len(given["valid"]), device)
        given["levels"] = sites.constant("entropy levels", LEVELS, device)
        names = tuple(given)

        def measure(tensors: Sequence[Tensor]) -> Tensor:
            return statistics.measure(dict(zip(names, tensors, strict=True)), most, group)

        site = sites.site(
            ("policy", names, most, group, device),
            "policy",
            "policy",
            lambda: statistics.series(names, grouped=group is not None),
            measure,
            device,
        )
        sites.show(site, list(given.values()))
