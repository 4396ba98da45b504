"""What a trainer has at hand (logits, masks, actions, …) in; flat tensors on one device out, or a sentence that says what to pass."""

from __future__ import annotations

import torch
from torch import Tensor

from foreshock.measure.transfer import moved

TOKENS = (
    8192  # per observation: 2% standard error of the mean entropy on a heavy-tailed model of token entropies
)
FEWEST_TOKENS = 2048
LOGITS = 1 << 28  # logits per observation: what an unfused pass can read without being noticed


def tokens_at_most(vocabulary: int) -> int:
    """How many tokens one observation measures with this vocabulary."""
    return max(FEWEST_TOKENS, min(TOKENS, LOGITS // max(vocabulary, 1)))


def flatten(
    logits: Tensor,
    *,
    mask: Tensor | None,
    actions: Tensor | None,
    logprobs: Tensor | None,
    old_logprobs: Tensor | None,
    ref_logprobs: Tensor | None,
    advantages: Tensor | None,
    rewards: Tensor | None,
    groups: Tensor | int | None,
) -> tuple[dict[str, Tensor], int | None]:
    """The inputs of `statistics.policy.measure`: the logits in their shape and the rest one-dimensional, by name; and the
    size of a group where that is what was given."""
    logits = _tensor("logits", logits)
    if logits.dim() not in (2, 3) or logits.shape[-1] == 0:
        raise ValueError(
            f"logits has shape {_shape(logits)}; pass [sequences, tokens, vocabulary] or [tokens, vocabulary]"
        )
    if not logits.is_floating_point():
        raise ValueError(
            f"logits has dtype {logits.dtype}; pass the model's scores before softmax, not token ids"
        )
    covered = logits.shape[:-1]
    device = logits.device
    flat = {"logits": logits}
    if mask is None:
        flat["valid"] = torch.ones(covered.numel(), dtype=torch.bool, device=device)
    else:
        mask = _tensor("mask", mask)
        _per_token("mask", mask, covered)
        flat["valid"] = mask.reshape(-1) if mask.dtype == torch.bool else mask.reshape(-1) > 0
    for name, value in (
        ("actions", actions),
        ("logprobs", logprobs),
        ("old_logprobs", old_logprobs),
        ("ref_logprobs", ref_logprobs),
    ):
        if value is not None:
            value = _tensor(name, value)
            _per_token(name, value, covered)
            if name == "actions" and value.is_floating_point():
                raise ValueError(
                    f"actions has dtype {value.dtype}; pass the ids of the tokens taken, as integers"
                )
            flat[name] = value.reshape(-1)
    if advantages is not None:
        advantages = _tensor("advantages", advantages)
        if advantages.shape != covered and not (len(covered) == 2 and advantages.shape == covered[:1]):
            options = f"{_shape(covered)} (one per token)"
            if len(covered) == 2:
                options += f" or {_shape(covered[:1])} (one per sequence)"
            raise ValueError(f"advantages has shape {_shape(advantages)}; pass {options}, as the logits have")
        flat["advantages"] = advantages.reshape(-1)
    if rewards is not None:
        rewards = _tensor("rewards", rewards)
        if rewards.dim() != 1:
            raise ValueError(
                f"rewards has shape {_shape(rewards)}; pass one number per sequence, [sequences]"
            )
        flat["rewards"] = rewards
    size = None
    if groups is not None:
        if rewards is None:
            raise ValueError("groups says which rewards belong together; pass rewards=[sequences] with it")
        if isinstance(groups, int):
            size = _size(groups, rewards)
        else:
            flat["groups"] = _numbers(groups, rewards)
    return {name: moved(value.detach(), device) for name, value in flat.items()}, size


def _size(groups: int, rewards: Tensor) -> int:
    if groups < 1 or len(rewards) % groups:
        raise ValueError(
            f"groups={groups} does not divide the {len(rewards)} rewards; pass the size of a group,"
            " or one group number per reward"
        )
    return groups


def _numbers(groups: Tensor, rewards: Tensor) -> Tensor:
    groups = _tensor("groups", groups)
    if groups.shape != rewards.shape or groups.is_floating_point():
        raise ValueError(
            f"groups has shape {_shape(groups)} and dtype {groups.dtype}; pass one integer per reward,"
            f" {_shape(rewards)}, equal for rewards of one prompt, or the size of a group"
        )
    return groups.long()


def _tensor(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; pass a torch tensor: torch.as_tensor({name})")
    return value


def _per_token(name: str, value: Tensor, covered: torch.Size) -> None:
    if value.shape == covered:
        return
    hint = ""
    if value.dim() == len(covered) and value.shape[-1] == covered[-1] - 1:
        hint = "; logits at position t score token t+1, so pass logits[..., :-1, :] with tokens[..., 1:]"
    raise ValueError(f"{name} has shape {_shape(value)}, but the logits cover {_shape(covered)} tokens{hint}")


def _shape(value: Tensor | tuple[int, ...]) -> str:
    return str(list(value.shape if isinstance(value, Tensor) else value))
