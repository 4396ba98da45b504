"""What a trainer has at hand (logits, masks, actions, …) in; flat tensors on one device out, or a sentence that says what to pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foreshock.measure.statistics.policy import PER_TOKEN, Head
from foreshock.measure.statistics.policy_readings import Batch, Clip
from foreshock.measure.transfer import moved

TOKENS = (
    8192  # per observation: 2% standard error of the mean entropy on a heavy-tailed model of token entropies
)
FEWEST_TOKENS = 2048
LOGITS = 1 << 28  # logits per observation: what an unfused pass can read without being noticed
SOURCES = 16

_IDS = ("actions", "turns", "sources", "answers")  # integers
_ALSO_PER_SEQUENCE = ("advantages", "sources")
_PER_SEQUENCE = ("rewards", "correct", "answers")


def tokens_at_most(vocabulary: int) -> int:
    """How many tokens one observation measures with this vocabulary."""
    return max(FEWEST_TOKENS, min(TOKENS, LOGITS // max(vocabulary, 1)))


def flatten(
    logits: Tensor | None,
    *,
    hidden: Tensor | None = None,
    head: Tensor | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    temperature: float = 1.0,
    ref_logits: Tensor | None = None,
    mask: Tensor | None = None,
    groups: Tensor | int | None = None,
    source_names: Sequence[str] = (),
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    dual_clip: float = 3.0,
    **others: Tensor | None,
) -> tuple[dict[str, Tensor], Batch, Head]:
    """The inputs of `statistics.policy.measure`, scores in their shape and the rest one-dimensional, by name; and what else
    decides what is measured."""
    scores, flat, covered = _scores(logits, hidden, head, bias, temperature)
    device = scores.device
    if ref_logits is not None:
        if logits is None:
            raise ValueError("ref_logits needs logits beside it; with hidden= pass ref_logprobs instead")
        flat["ref_logits"] = _tensor("ref_logits", ref_logits)
        if ref_logits.shape != scores.shape or not ref_logits.is_floating_point():
            raise ValueError(
                f"ref_logits has shape {_shape(ref_logits)} and dtype {ref_logits.dtype}; pass the reference's scores of the"
                f" same tokens, {_shape(scores)}"
            )
    if mask is None:
        flat["valid"] = torch.ones(covered.numel(), dtype=torch.bool, device=device)
    else:
        mask = _tensor("mask", mask)
        _per_token("mask", mask, covered)
        flat["valid"] = mask.reshape(-1) if mask.dtype == torch.bool else mask.reshape(-1) > 0
    given = {name: _tensor(name, value) for name, value in others.items() if value is not None}
    for name in _IDS:
        if name in given and given[name].is_floating_point():
            raise ValueError(f"{name} has dtype {given[name].dtype}; pass {_MEANT[name]}, as integers")
    for name in ("actions", *PER_TOKEN):
        if name in given:
            _per_token(name, given[name], covered, or_sequence=name in _ALSO_PER_SEQUENCE)
            flat[name] = given[name].reshape(-1)
    size = _sequences(given, groups, flat)
    if "sources" in flat or source_names:
        _named(source_names, "sources" in flat, "advantages" in flat)
    judged = flat.get("correct", flat.get("rewards"))
    if judged is not None and len(covered) == 2 and len(judged) == covered[0]:
        flat["outcome"] = judged
    batch = Batch(
        frozenset(flat),
        size,
        sequences=len(covered) == 2,
        sources=tuple(source_names),
        clip=_clip(eps_low, eps_high, dual_clip),
    )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; pass the sampler's, above 0")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap is {softcap}; pass the cap of the logits, above 0, or None")
    found = {name: moved(value.detach(), device) for name, value in flat.items()}
    return found, batch, Head(scale=1.0 / temperature, softcap=softcap)


_MEANT = {
    "actions": "the ids of the tokens taken",
    "turns": "the turn of each token",
    "sources": "the number of each sequence's source in source_names",
    "answers": "one number per answer, equal for equal answers",
}


def _scores(
    logits: Tensor | None, hidden: Tensor | None, head: Tensor | None, bias: Tensor | None, temperature: float
) -> tuple[Tensor, dict[str, Tensor], torch.Size]:
    """The logits, or the hidden states that they are made of; all tensors of them by name; the shape of the tokens."""
    if (logits is None) == (hidden is None):
        raise ValueError(
            "pass either logits=, or hidden= with head="
            if logits is None
            else "pass logits= or hidden=, not both"
        )
    if logits is not None:
        logits = _tensor("logits", logits)
        for name, value in (("head", head), ("bias", bias)):
            if value is not None:
                raise ValueError(f"{name} belongs to hidden=; the logits have been through it")
        if temperature != 1.0:
            raise ValueError("temperature belongs to hidden=; pass logits / temperature")
        _shaped("logits", logits, "vocabulary", "the model's scores before softmax, not token ids")
        return logits, {"logits": logits}, logits.shape[:-1]
    hidden = _tensor("hidden", hidden)
    if head is None:
        raise ValueError("hidden needs head= beside it: the weight of the output layer, [vocabulary, width]")
    head = _tensor("head", head)
    _shaped("hidden", hidden, "width", "the input of the output layer")
    width = hidden.shape[-1]
    if head.dim() != 2 or head.shape[1] != width or head.shape[0] == 0 or not head.is_floating_point():
        raise ValueError(
            f"head has shape {_shape(head)} and dtype {head.dtype}; pass the weight of the output layer,"
            f" [vocabulary, {width}]"
        )
    flat = {"hidden": hidden, "head": head}
    if bias is not None:
        flat["bias"] = _tensor("bias", bias)
        if bias.shape != head.shape[:1]:
            raise ValueError(
                f"bias has shape {_shape(bias)}; pass one number per row of head, [{head.shape[0]}]"
            )
    return hidden, flat, hidden.shape[:-1]


def _shaped(name: str, scores: Tensor, last: str, meant: str) -> None:
    if scores.dim() not in (2, 3) or scores.shape[-1] == 0:
        raise ValueError(
            f"{name} has shape {_shape(scores)}; pass [sequences, tokens, {last}] or [tokens, {last}]"
        )
    if not scores.is_floating_point():
        raise ValueError(f"{name} has dtype {scores.dtype}; pass {meant}")


def _sequences(given: dict[str, Tensor], groups: Tensor | int | None, flat: dict[str, Tensor]) -> int | None:
    """Put what is given per sequence into ``flat``; the size of a group where that is what was given."""
    first = next((name for name in _PER_SEQUENCE if name in given), None)
    for name in _PER_SEQUENCE:
        if name not in given or first is None:
            continue
        value = given[name]
        if value.dim() != 1:
            raise ValueError(f"{name} has shape {_shape(value)}; pass one number per sequence, [sequences]")
        if value.shape != given[first].shape:
            raise ValueError(
                f"{name} has shape {_shape(value)}, but {first} {_shape(given[first])}; pass both of the same sequences"
            )
        flat[name] = value if name == "rewards" else value.long() if name == "answers" else value > 0
    if groups is None:
        if "answers" in given:
            raise ValueError("answers are compared within groups; pass groups= with it")
        return None
    if first is None:
        raise ValueError(
            "groups says which sequences belong together; pass rewards=[sequences] with it, or correct= or answers="
        )
    if isinstance(groups, int):
        if groups < 1 or len(given[first]) % groups:
            raise ValueError(
                f"groups={groups} does not divide the {len(given[first])} {first}; pass the size of a group,"
                f" or one group number for each of the {first}"
            )
        return groups
    groups = _tensor("groups", groups)
    if groups.shape != given[first].shape or groups.is_floating_point():
        raise ValueError(
            f"groups has shape {_shape(groups)} and dtype {groups.dtype}; pass one integer for each of the {first},"
            f" {_shape(given[first])}, equal for those of one prompt, or the size of a group"
        )
    flat["groups"] = groups.long()
    return None


def _named(names: Sequence[str], sources: bool, advantages: bool) -> None:
    if not sources or not advantages:
        raise ValueError(
            "sources and source_names come together, with advantages=: they say whose advantage it is"
        )
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if isinstance(names, str) or wrong or not 1 <= len(names) <= SOURCES or len(set(names)) < len(names):
        raise ValueError(
            f"source_names is {names!r}; pass the names that the numbers in sources count from 0, 1 to {SOURCES} of them"
        )


def _clip(low: float, high: float, dual: float) -> Clip:
    if not (0 <= low <= 1 and high >= 0 and dual > 1):
        raise ValueError(
            f"eps_low={low}, eps_high={high}, dual_clip={dual}; pass the bounds of the loss: eps_low between 0 and 1,"
            " eps_high not below 0, dual_clip above 1"
        )
    return Clip(low, high, dual)


def _tensor(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; pass a torch tensor: torch.as_tensor({name})")
    if hasattr(value, "to_local"):
        raise ValueError(
            f"{name} is spread over ranks; pass {name}.to_local() where that holds whole tokens, or {name}.full_tensor()"
        )
    return value


def _per_token(name: str, value: Tensor, covered: torch.Size, *, or_sequence: bool = False) -> None:
    if value.shape == covered or (or_sequence and len(covered) == 2 and value.shape == covered[:1]):
        return
    if or_sequence:
        options = f"{_shape(covered)} (one per token)"
        if len(covered) == 2:
            options += f" or {_shape(covered[:1])} (one per sequence)"
        raise ValueError(f"{name} has shape {_shape(value)}; pass {options}, as the logits have")
    hint = ""
    if value.dim() == len(covered) and value.shape[-1] == covered[-1] - 1:
        hint = "; logits at position t score token t+1, so pass logits[..., :-1, :] with tokens[..., 1:]"
    raise ValueError(f"{name} has shape {_shape(value)}, but the logits cover {_shape(covered)} tokens{hint}")


def _shape(value: Tensor | tuple[int, ...]) -> str:
    return str(list(value.shape if isinstance(value, Tensor) else value))
