"""What users declare and what tensors say in; the layout of each place of a run, settled when it is first measured, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from foreshock.guard import say_once

from .layout import WORDS, Layout, Word
from .placements import layout_of, measurable_in_graphs, partial, placed, remembered, tensor_parallel
from .probes.choose import matches
from .transfer import local

if TYPE_CHECKING:
    from .site import Site


@dataclass(frozen=True)
class Declared:
    """What the user says of the places that a pattern fits."""

    pattern: str
    word: Word
    ranks: tuple[int, ...] | None = (
        None  # over which; None: those of the model's distributed weights, else all
    )


def declared(layout: Mapping[str, object] | None) -> tuple[Declared, ...]:
    """The argument ``layout`` of `watch`, checked: patterns on places to a word, or to a word and the ranks."""
    if layout is None:
        return ()
    if not isinstance(layout, Mapping):
        raise ValueError(f"layout is {layout!r}; write a mapping such as {{'blocks.*.mlp.act': 'columns'}}")
    return tuple(_declared(pattern, said) for pattern, said in layout.items())


def _declared(pattern: str, said: object) -> Declared:
    word, over = said if isinstance(said, tuple) and len(said) == 2 else (said, None)
    if word not in WORDS:
        raise ValueError(
            f"layout[{pattern!r}] is {said!r}; write 'replicated' (each rank holds the same), 'rows' (other samples or"
            " tokens) or 'columns' (other features of the same rows), or such a word with a DeviceMesh, a process group"
            " or a list of ranks: ('columns', mesh)"
        )
    return Declared(pattern, cast("Word", word), None if over is None else _ranks(pattern, over))


def _ranks(pattern: str, over: Any) -> tuple[int, ...]:
    mesh = getattr(over, "mesh", None)
    if isinstance(mesh, Tensor) and mesh.dim() == 1:
        return tuple(map(int, mesh))  # a mesh keeps its ranks on the host
    if isinstance(over, Sequence) and over and all(type(rank) is int for rank in over):
        return tuple(over)
    if dist.is_available() and isinstance(over, dist.ProcessGroup):
        return tuple(dist.get_process_group_ranks(over))
    raise ValueError(
        f"layout[{pattern!r}] names the ranks by {over!r}; write a DeviceMesh of one dimension, as mesh['tp'], a process"
        " group, or a list of ranks"
    )


def word_at(patterns: Sequence[Declared], place: str) -> str:
    """What is declared of a place, the last pattern that fits; nothing where none does."""
    return next((one.word for one in reversed(patterns) if matches(place, [one.pattern])), "")


class Layouts:
    """Of one run. As long as no model is split over ranks, and nothing is declared, no place has a layout."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.group: tuple[int, ...] | None = None  # the ranks that share this one's rows
        self.in_graphs = True  # compiled code may be measured
        self._declared: list[Declared] = []

    def add(self, model: nn.Module, prefix: str, patterns: Sequence[Declared]) -> None:
        """A model that is watched from now on; its places begin with ``prefix``."""
        if self.group is None:
            self.group = tensor_parallel(model)
            if self.group is not None and not measurable_in_graphs():
                self.in_graphs = False
                say_once(
                    "compiled parts",
                    "with torch %s layers that are split over ranks are not measured where they are compiled, and nor is"
                    " compiled attention; torch 2.5 or newer can",
                    torch.__version__,
                )
        for one in patterns:
            ranks = one.ranks or self.group or _everyone()
            if one.word != "rows" and self.rank not in ranks:
                raise ValueError(
                    f"layout[{one.pattern!r}] is over the ranks {list(ranks)}, and this is rank {self.rank}; write the group"
                    " that this rank is in"
                )
            self._declared.append(Declared(prefix + one.pattern, one.word, ranks))
            if self.group is None and one.word != "rows":
                self.group = ranks

    def settle(self, site: Site, x: Tensor, *, trained: bool) -> bool:
        """Give the site its layout by the first tensor that a hook sees; False when this call cannot be read."""
        found = self._of(site.where, x, trained)
        if found is None:
            return False
        site.lay(found)
        return True

    def settle_unseen(self, site: Site, x: Tensor) -> None:
        """The same where only values are left, as in a compiled graph."""
        found = self._told(site.where, x)
        if found is None and self.group is None:
            found = Layout("rows", self.rank)
        if found is None:
            found = Layout("unknown")
            say_once(
                ("layout", site.place),
                "%s is computed in a compiled graph, where it cannot be seen which part of it this rank holds: it is not"
                " merged with other ranks. Declare it: run.watch(model, layout={%r: 'replicated'}), or 'rows', or 'columns'",
                site.place,
                site.where,
            )
        site.lay(found)

    def settle_shown(self, site: Site, x: Tensor) -> None:
        """The same of what the loop shows: ranks that share a layer's rows show the same."""
        told = self._told(site.where, x)
        if told is None and site.kind == "attention" and self.group is not None:
            told = Layout("unknown")  # some of the heads, or all of them
        site.lay(told or self._of_group())

    def settle_heads(self, site: Site, heads: int, *, split: bool) -> None:
        """The same of an attention layer with so many heads here."""
        word = word_at(self._declared, site.where) or ("columns" if split else "")
        site.lay(self._laid(cast("Word", word), self._over(site.where), heads) if word else self._of_group())

    def _of(self, where: str, x: Tensor, trained: bool) -> Layout | None:
        told = self._told(where, x)
        if told is not None:
            return told
        found = placed(x)
        if found is None and self.group is None:
            return Layout("rows", self.rank)
        if found is None:
            before = remembered(x)
            if isinstance(before, bool):
                if not trained and not torch.is_grad_enabled():
                    return None  # a validation batch says nothing; the next training batch will
                return self._of_group() if before else Layout("unknown")
            found = before
        if partial(found):
            say_once(
                ("partial", where),
                "what hooks see of %s are sums that the ranks have not taken yet, so it is not measured: call run.watch(model)"
                " after parallelize_module",
                where,
            )
            return None
        return layout_of(found, self.rank, local(x.detach()).shape[-1])

    def _told(self, where: str, x: Tensor) -> Layout | None:
        word = word_at(self._declared, where)
        return (
            self._laid(cast("Word", word), self._over(where), local(x.detach()).shape[-1]) if word else None
        )

    def _over(self, where: str) -> tuple[int, ...]:
        fitting = (one.ranks for one in reversed(self._declared) if matches(where, [one.pattern]))
        return next(fitting, None) or self.group or (self.rank,)

    def _laid(self, word: Word, ranks: Sequence[int], width: int) -> Layout:
        if word == "rows" or self.rank not in ranks:
            return Layout("rows", self.rank)
        if word == "replicated":
            return Layout("replicated", min(ranks))
        return Layout("columns", min(ranks), ranks.index(self.rank), len(ranks), width)

    def _of_group(self) -> Layout:
        if self.group is None:
            return Layout("rows", self.rank)
        return Layout("replicated", min(self.group))


def _everyone() -> tuple[int, ...]:
    if dist.is_available() and dist.is_initialized():
        return tuple(range(dist.get_world_size()))
    raise ValueError(
        "layout says nothing of the ranks, no weight is a DTensor, and torch.distributed is not initialised; write"
        " the ranks too: ('columns', mesh)"
    )
