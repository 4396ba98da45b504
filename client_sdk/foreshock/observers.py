"""`run.observe`: tensors of the training loop in, into this step's row of statistics; tensors are not kept, nothing is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .guard import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor, nn

    from .run import Run

_POLICY, _FEATURES, _VIEWS = guard("observe.policy"), guard("observe.features"), guard("observe.views")
_DRIFT = guard("observe.drift")
_ROUTER, _PATHWAYS, _CODES = guard("observe.router"), guard("observe.pathways"), guard("observe.codes")
_LATENTS, _SAMPLES = guard("observe.latents"), guard("observe.samples")
_SEQUENCES, _RESPONSES = guard("observe.sequences"), guard("observe.responses")
_CROSS_SCORES, _PHASE = guard("observe.cross_scores"), guard("observe.phase")
_LOSSES, _CURVATURE = guard("observe.losses"), guard("observe.curvature")
_ATTENTION = guard("observe.attention")
_CLASSIFIER, _ADAPTATION = guard("observe.classifier"), guard("observe.adaptation")


class Observers:
    """What a hook cannot know: the loop shows it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def policy(
        self,
        logits: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        head: Tensor | None = None,
        bias: Tensor | None = None,
        softcap: float | None = None,
        temperature: float = 1.0,
        mask: Tensor | None = None,
        actions: Tensor | None = None,
        advantages: Tensor | None = None,
        logprobs: Tensor | None = None,
        old_logprobs: Tensor | None = None,
        ref_logprobs: Tensor | None = None,
        rollout_logprobs: Tensor | None = None,
        ref_logits: Tensor | None = None,
        rewards: Tensor | None = None,
        correct: Tensor | None = None,
        answers: Tensor | None = None,
        groups: Tensor | int | None = None,
        turns: Tensor | None = None,
        sources: Tensor | None = None,
        source_names: Sequence[str] = (),
        eps_low: float = 0.2,
        eps_high: float = 0.2,
        dual_clip: float = 3.0,
    ) -> None:
        """A policy's batch: entropy and its quantiles from the logits, and what else the other tensors allow.

        `logits` [sequences, tokens, vocabulary] or [tokens, vocabulary], divided by the sampler's temperature; or, where a fused
        loss makes none, `hidden` [sequences, tokens, width] and the weight of the output layer, `head` [vocabulary, width].
        `mask` true where the policy chose; `actions` the tokens taken, log-probabilities of these, `turns` from 0: per token.
        `advantages` and `sources` (numbers that `source_names` names) per token or sequence; `rewards`, `correct` and `answers`
        (numbers, equal for equal answers) per sequence. `groups` the number of answers per prompt, or the prompt of each sequence.
        `eps_low`, `eps_high` and `dual_clip` are the clipping bounds of the loss.
        """
        if (session := self._run.session) is not None:
            with _POLICY:
                from .measure.shown import policy

                policy.show(
                    session.instruments().sites,
                    logits,
                    hidden=hidden,
                    head=head,
                    bias=bias,
                    softcap=softcap,
                    temperature=temperature,
                    mask=mask,
                    actions=actions,
                    advantages=advantages,
                    logprobs=logprobs,
                    old_logprobs=old_logprobs,
                    ref_logprobs=ref_logprobs,
                    rollout_logprobs=rollout_logprobs,
                    ref_logits=ref_logits,
                    rewards=rewards,
                    correct=correct,
                    answers=answers,
                    groups=groups,
                    turns=turns,
                    sources=sources,
                    source_names=source_names,
                    eps_low=eps_low,
                    eps_high=eps_high,
                    dual_clip=dual_clip,
                )

    def features(
        self,
        name: str,
        h: Tensor,
        *,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
        classes: int | None = None,
        classifier: Tensor | None = None,
        bias: Tensor | None = None,
        views: int | None = None,
        teacher: Tensor | None = None,
        previous: Tensor | None = None,
    ) -> None:
        """Activations by a name of your choice, [items, width] or [batch, items, width]: rank and collapse of the representation.

        `labels` say the class of each row and `classes` how many there are, or `classifier` [classes, width] with `bias` is the
        last layer: the signs of neural collapse. `views`: each so many rows show one item, or h is [items, views, width].
        `teacher` and `previous` are other representations of the same rows, of a moving average or of the layer before.
        """
        if (session := self._run.session) is not None:
            with _FEATURES:
                from .measure.shown import features

                features.show(
                    session.instruments().sites,
                    name,
                    h,
                    mask=mask,
                    labels=labels,
                    classes=classes,
                    classifier=classifier,
                    bias=bias,
                    views=views,
                    teacher=teacher,
                    previous=previous,
                )

    def attention(
        self,
        name: str,
        q: Tensor,
        k: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        scale: float | None = None,
        softcap: float | None = None,
        exact: bool = False,
    ) -> None:
        """Queries and keys of a kernel that hooks cannot see into: what each head looks at, and how large its logits grow.

        `q` [sequences, heads, queries, width], `k` the same with as many heads or a divisor of that; `mask` true where a query
        may look, or a bias added to the logits. `exact` reads every query, where the device has a kernel for it, instead of 64.
        """
        if (session := self._run.session) is not None:
            with _ATTENTION:
                from .measure.shown import attention

                attention.show(
                    session.instruments().sites,
                    name,
                    q,
                    k,
                    mask=mask,
                    causal=causal,
                    scale=scale,
                    softcap=softcap,
                    exact=exact,
                )

    def drift(self, name: str, h: Tensor | Callable[[], Tensor]) -> None:
        """How far the representation of a fixed batch has moved from the first one shown under this name.

        Pass the same rows each time, or a function that makes them: it is called, without gradients, only when a reading is due.
        """
        if (session := self._run.session) is not None:
            with _DRIFT:
                from .measure.shown import drift

                drift.show(session.instruments().sites, name, h)

    def views(self, z1: Tensor, z2: Tensor, *, name: str = "views", predictor: Tensor | None = None) -> None:
        """Two embeddings of the same items, as self-supervised training makes them: each one's spread, and how they agree.

        `predictor` [width, width] is the weight of a linear predictor that sees `z1`.
        """
        if (session := self._run.session) is not None:
            with _VIEWS:
                from .measure.shown import views

                views.show(session.instruments().sites, z1, z2, name=name, predictor=predictor)

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

    def sequences(
        self,
        tokens: Tensor,
        *,
        mask: Tensor | None = None,
        finished: Tensor | None = None,
        invalid: Tensor | None = None,
        name: str = "sequences",
    ) -> None:
        """Generated token ids [sequences, tokens], `mask` true where the model wrote: do they vary, run in loops, get cut off.

        `finished` and `invalid`, per sequence: whether it came to its end, and whether it could not be parsed.
        """
        if (session := self._run.session) is not None:
            with _SEQUENCES:
                from .measure.shown import sequences

                sequences.show(
                    session.instruments().sites,
                    tokens,
                    mask=mask,
                    finished=finished,
                    invalid=invalid,
                    name=name,
                )

    def responses(
        self, name: str, states: Tensor, groups: Tensor | int, *, mask: Tensor | None = None
    ) -> None:
        """States of responses [responses, width] or [responses, tokens, width]: do they still depend on what was asked.

        `groups` the number of responses per prompt, or the prompt of each; `mask` true where the model wrote.
        """
        if (session := self._run.session) is not None:
            with _RESPONSES:
                from .measure.shown import responses

                responses.show(session.instruments().sites, name, states, groups, mask=mask)

    def cross_scores(self, name: str, scores: Tensor, *, prompts: Tensor | int = 1) -> None:
        """How likely each response is under each prompt, ln p [responses, prompts], summed over its tokens: how much responses
        tell of what was asked, in nats. Yours to compute, away from the training: a forward pass for each pair.

        `prompts` the number of responses per prompt, which follow one another, or the column of each response's own prompt.
        """
        if (session := self._run.session) is not None:
            with _CROSS_SCORES:
                from .measure.shown import responses

                responses.show_scores(session.instruments().sites, name, scores, prompts)

    def losses(
        self,
        losses: Mapping[str, Tensor],
        *,
        model: nn.Module | None = None,
        parameters: Iterable[Tensor] | Mapping[str, Tensor] | None = None,
    ) -> None:
        """Losses that share a `model`, before any `backward()`: do their gradients agree, block by block, and which is larger.

        Costs one backward pass for each loss where it records, one step in ten unless `every` says otherwise; no gradient of the
        training is touched. `parameters` instead of a model: what to differentiate by, under names of your own if a mapping.
        """
        if (session := self._run.session) is not None:
            with _LOSSES:
                from .measure.shown import losses as shown

                shown.show(session.instruments().sites, losses, parameters, model)

    def phase(
        self,
        loss: Tensor,
        hidden: Mapping[str, Tensor],
        *,
        model: nn.Module | None = None,
        parameters: Iterable[Tensor] | Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Whether layers memorise or compress, before any `backward()`: does what lowers the loss lower their entropy too.

        `hidden` names hidden states of this forward pass, [rows, width] or [batch, rows, width], with `mask` true where a row
        counts. Costs one backward pass for the loss and one for each layer where it records, as `losses` does.
        """
        if (session := self._run.session) is not None:
            with _PHASE:
                from .measure.shown import phase

                phase.show(
                    session.instruments().sites, loss, hidden, model=model, parameters=parameters, mask=mask
                )

    def curvature(
        self,
        loss: Tensor,
        parameters: Iterable[Tensor] | nn.Module,
        *,
        steps: int = 10,
        lr: float | None = None,
        name: str = "",
    ) -> None:
        """The loss's sharpness, before `backward()`: the largest eigenvalue of its Hessian, and its trace. Off unless asked for.

        Costs about two backward passes for each of `steps`, so it does nothing before `every={"curvature": 1000}`. With the
        learning rate `lr` also their product: 2 is the edge of stability of plain gradient descent.
        """
        if (session := self._run.session) is not None:
            with _CURVATURE:
                from .measure.shown import curvature

                curvature.show(session.instruments().sites, loss, parameters, steps=steps, lr=lr, name=name)

    def classifier(
        self, name: str, logits: Tensor, *, targets: Tensor | None = None, mask: Tensor | None = None
    ) -> None:
        """Output logits of a classifier, or of a language model in pre-training: size, certainty, variety, softmax collapse.

        `logits` [rows, classes] or [sequences, tokens, classes], as the loss gets them: what is lost in rounding depends on
        their dtype. `targets` are class numbers; a row with a negative one, such as -100, does not count.
        """
        if (session := self._run.session) is not None:
            with _CLASSIFIER:
                from .measure.shown import classifier

                classifier.show(session.instruments().sites, name, logits, targets=targets, mask=mask)

    def adaptation(self, logits: Tensor, *, mask: Tensor | None = None, name: str = "adaptation") -> None:
        """Predictions of a model that adapts itself to its test data, [samples, classes], batch by batch: has it come to one
        class for everything?"""
        if (session := self._run.session) is not None:
            with _ADAPTATION:
                from .measure.shown import adaptation

                adaptation.show(session.instruments().sites, logits, mask=mask, name=name)
