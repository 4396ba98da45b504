"""`training.py VARIANT FOLDER URL TORCH`: by turns trains a small causal transformer, answers the seconds of each step.

VARIANT: bare · foreshock (watch and observe.policy at default cadences) · wandb (watch everything, one record in a hundred) ·
svd (effective rank of each block's output by exact SVD, each step). TORCH is the folder that torch is imported from where the
subject's own environment has none, so that all variants run the same build.
"""

import importlib
import importlib.util
import sys
import time
from typing import Any

variant, folder, url, torch_home = sys.argv[1:5]
if importlib.util.find_spec("torch") is None:
    sys.path.append(torch_home)  # behind everything of its own

import torch  # noqa: E402 (the path comes first)
from pipe import serve  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

LAYERS, WIDTH, HEADS, LENGTH, BATCH, VOCABULARY = 6, 256, 4, 128, 16, 1000


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class Transformer(nn.Module):
    """Tokens [B, T] -> logits [B, T, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the normalised singular values, read on the host at once."""
    sigma = torch.linalg.svdvals(x.detach().flatten(0, -2).float())
    share = sigma / sigma.sum()
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))


torch.manual_seed(0)
model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
data = torch.Generator().manual_seed(1)
run: Any = None
if variant == "foreshock":
    foreshock = importlib.import_module("foreshock")
    run = foreshock.init(project="bench", run="training-step", url=url, dir=f"{folder}/spool")
    run.watch(model, optimizer=optimizer)
elif variant == "wandb":
    loggers = importlib.import_module("loggers")
    tracker = loggers.Wandb(folder, "")
    tracker.open("training-step")
    run = tracker.run
    run.watch(model, log="all", log_freq=100)
elif variant == "svd":
    for layer in model.blocks:
        layer.register_forward_hook(lambda module, inputs, output: effective_rank(output) and None)


def step() -> float:
    """One step of training, with the variant's own calls inside the clock."""
    batch = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1), generator=data)
    tokens, targets = batch[:, :-1], batch[:, 1:]
    began = time.perf_counter()
    optimizer.zero_grad()
    logits = model(tokens)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.autograd.backward(loss)
    optimizer.step()
    if variant == "foreshock":
        run.observe.policy(logits, actions=targets)
        run.log(loss=loss)
        run.step()
    elif variant == "wandb":
        run.log({"loss": loss.item()})
    else:
        loss.item()
    return time.perf_counter() - began


def handle(request: dict[str, Any]) -> Any:
    """{"steps": n, "threads": n} -> the seconds of each step."""
    torch.set_num_threads(request["threads"])
    return [step() for _ in range(request["steps"])]


serve(handle)
