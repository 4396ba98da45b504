"""`run.observe`: tensors of the training loop in, into this step's row of statistics; tensors are not kept, nothing is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .guard import guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .run import Run

_POLICY, _FEATURES, _VIEWS = guard("observe.policy"), guard("observe.features"), guard("observe.views")
_ROUTER, _PATHWAYS, _CODES = guard("observe.router"), guard("observe.pathways"), guard("observe.codes")
_LATENTS, _SAMPLES = guard("observe.latents"), guard("observe.samples")


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

    def router(
        self,
        name: str,
        logits: Tensor,
        *,
        mask: Tensor | None = None,
        top_k: int = 2,
        chosen: Tensor | None = None,
        tasks: Tensor | None = None,
        dropped: Tensor | float | None = None,
        capacity: float | None = None,
    ) -> None:
        """A router of a mixture of experts, logits [tokens, experts] or [batch, tokens, experts]: load, dead experts, indecision.

        `chosen` [tokens, choices] the experts by number, where they are not the `top_k` largest logits; `tasks` the number of
        each token's or sequence's task; `dropped` true where a token or a choice was not served, or how many tokens that
        were; or `capacity`, how many choices one expert serves. Routers that `watch` recognises need none of this.
        """
        if (session := self._run.session) is not None:
            with _ROUTER:
                from .measure.shown import router

                router.show(
                    session.instruments().sites,
                    name,
                    logits,
                    mask=mask,
                    top_k=top_k,
                    chosen=chosen,
                    tasks=tasks,
                    dropped=dropped,
                    capacity=capacity,
                )

    def pathways(
        self,
        name: str,
        chosen: Tensor | Sequence[Tensor],
        *,
        mask: Tensor | None = None,
        weights: Tensor | Sequence[Tensor] | None = None,
        embeddings: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """The experts that the tokens of a fixed set of samples chose, [layers, tokens, choices]: how far pathways lie apart.

        With `embeddings` [layers, experts, width], such as the routers' weights, also how much each pathway winds; `weights`
        [layers, tokens, choices] of the chosen experts in their mixture.
        """
        if (session := self._run.session) is not None:
            with _PATHWAYS:
                from .measure.shown import pathways

                pathways.show(
                    session.instruments().sites,
                    name,
                    chosen,
                    mask=mask,
                    weights=weights,
                    embeddings=embeddings,
                )

    def codes(
        self,
        name: str,
        indices: Tensor,
        *,
        size: int,
        mask: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> None:
        """The codes that a vector quantiser of `size` codes chose, in any shape: usage, perplexity, dead codes.

        `gradient` is that of the codebook after backward, [size, width]. One call per codebook: residual quantisers have one
        for each level. Quantisers that `watch` recognises need none of this.
        """
        if (session := self._run.session) is not None:
            with _CODES:
                from .measure.shown import codes

                codes.show(
                    session.instruments().sites, name, indices, size=size, mask=mask, gradient=gradient
                )

    def latents(self, name: str, mean: Tensor, log_variance: Tensor, *, mask: Tensor | None = None) -> None:
        """The posterior of a variational model, means and ln σ² [batch, width]: which dimensions say anything."""
        if (session := self._run.session) is not None:
            with _LATENTS:
                from .measure.shown import latents

                latents.show(session.instruments().sites, name, mean, log_variance, mask=mask)

    def samples(self, name: str, features: Tensor, *, reference: Tensor | None = None) -> None:
        """Features of generated samples [samples, width]: how different they are; with a `reference`, how they cover it."""
        if (session := self._run.session) is not None:
            with _SAMPLES:
                from .measure.shown import samples

                samples.show(session.instruments().sites, name, features, reference=reference)
