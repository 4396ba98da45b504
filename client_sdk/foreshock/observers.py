"""`run.observe`: tensors of the training loop in, into this step's row of statistics; tensors are not kept, nothing is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .guard import guard

if TYPE_CHECKING:
    from torch import Tensor

    from .run import Run

_POLICY, _FEATURES, _VIEWS = guard("observe.policy"), guard("observe.features"), guard("observe.views")


class Observers:
    """What a hook cannot know: the loop shows it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def policy(
        self,
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
        """A policy's batch: entropy and its quantiles from the logits, and what else the other tensors allow.

        `logits` [sequences, tokens, vocabulary] or [tokens, vocabulary], divided by the sampler's temperature; `mask` true
        where the policy chose; `groups` the number of answers per prompt, or the prompt of each sequence.
        """
        if (session := self._run.session) is not None:
            with _POLICY:
                from .measure.shown import policy

                policy.show(
                    session.instruments().sites,
                    logits,
                    mask=mask,
                    actions=actions,
                    advantages=advantages,
                    logprobs=logprobs,
                    old_logprobs=old_logprobs,
                    ref_logprobs=ref_logprobs,
                    rewards=rewards,
                    groups=groups,
                )

    def features(
        self, name: str, h: Tensor, *, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> None:
        """Activations by a name of your choice, [items, width] or [batch, items, width]: rank and collapse of the representation."""
        if (session := self._run.session) is not None:
            with _FEATURES:
                from .measure.shown import features

                features.show(session.instruments().sites, name, h, mask=mask, labels=labels)

    def views(self, z1: Tensor, z2: Tensor, *, name: str = "views") -> None:
        """Two embeddings of the same items, as self-supervised training makes them: each one's spread, and how they agree."""
        if (session := self._run.session) is not None:
            with _VIEWS:
                from .measure.shown import views

                views.show(session.instruments().sites, z1, z2, name=name)
