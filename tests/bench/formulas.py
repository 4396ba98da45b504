"""`python -m tests.bench.formulas`: our numbers beside those of other people's packages on the same input, as a Markdown table.

Not timed, and no area of the bench: it says how far two implementations of one definition are apart, over several draws, and
where they are apart on purpose, which constant does it. A package that is not there is a line that says so. What has no
package (the losses and metrics inside of TRL and verl) is written here from its published definition.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import math
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreshock.measure.problems.weights import Weights
from foreshock.measure.statistics import (
    codebook,
    curvature,
    diversity,
    experts,
    features,
    output,
    power,
    product,
    similarity,
    tokens,
    units,
    views,
)
from foreshock.measure.statistics.rows import prepare

DRAWS = 5
torch.set_num_threads(1)


@dataclass(frozen=True)
class Comparison:
    """One statistic and whoever else computes it; both take the number of the draw."""

    statistic: str
    package: str  # as pip calls it; what has none begins with a word in small letters
    told: str  # what was compared, and on what
    ours: Callable[[int], float]
    theirs: Callable[[int], float]


def main() -> None:
    """Print the table."""
    print("| statistic | beside | on | ours | theirs | largest difference |")
    print("|---|---|---|---|---|---|")
    for one in (
        *_spectra(),
        *_views(),
        *_samples(),
        *_weights(),
        *_routing(),
        *_logits(),
        *_policy(),
        *_other(),
    ):
        print(_line(one), flush=True)


def _line(one: Comparison) -> str:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            pairs = [(one.ours(draw), one.theirs(draw)) for draw in range(DRAWS)]
    except ImportError as missing:
        return f"| `{one.statistic}` | {one.package} | {one.told} | | | not there: {missing.name} |"
    apart = max(abs(a - b) / max(abs(b), 1e-12) if a != b else 0.0 for a, b in pairs)
    ours, theirs = max(pairs, key=lambda pair: abs(pair[0]))  # of one draw: a zero would show nothing
    return f"| `{one.statistic}` | {_named(one.package)} | {one.told} | {ours:.6g} | {theirs:.6g} | {apart:.1e} |"


def _named(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def _drawn(draw: int, *shape: int, decay: float = 0.0) -> Tensor:
    """Normal numbers, the columns falling off by a power."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(draw))
    return x * torch.arange(1, shape[-1] + 1) ** -decay


# -- features ----------------------------------------------------------------------------------------------------------


def _features(x: Tensor, statistic: str, *, centered: str = "", views: int = 0, **more: Tensor) -> float:
    valid = torch.ones(len(x), dtype=torch.bool)
    given = {"x": x, "valid": valid, **more}
    classes = len(more["classifier"]) if "classifier" in more else 0
    values, parts = features.measure(given, "h", views=views, classes_known=classes)
    found = dict(zip(features.series("h", given, classes_known=classes), values.tolist(), strict=True))
    for part in parts:
        found |= dict(zip(part.series(), part.problem.solve(part.payload().numpy()), strict=True))
    told = {"centered": centered} if centered else {}
    (value,) = (
        value
        for spec, value in found.items()
        if spec.statistic == statistic and told.items() <= dict(spec.labels).items()
    )
    return value


def _spectra() -> list[Comparison]:
    def wide(draw: int) -> Tensor:
        return _drawn(draw, 400, 96, decay=0.5)

    return [
        Comparison(
            "vendi_score",
            "vendi-score",
            "`score_dual`, cosine kernel; 400 × 96, σ ~ i^−½",
            lambda draw: _features(wide(draw), "vendi_score"),
            lambda draw: float(_module("vendi_score.vendi").score_dual(wide(draw).double().numpy())),
        ),
        Comparison(
            "sample_vendi",
            "vendi-score",
            "`score_dual`, q = 2; the same",
            lambda draw: _of(diversity.measure({"x": wide(draw)}), diversity.series("g"), "sample_vendi"),
            lambda draw: float(_module("vendi_score.vendi").score_dual(wide(draw).double().numpy(), q=2)),
        ),
        Comparison(
            "rankme",
            "stable-pretraining",
            "callback `RankMe`, whose constant is 1e-5 where the paper has 1e-7; the same",
            lambda draw: _features(wide(draw), "rankme"),
            lambda draw: _stable_rankme(wide(draw)),
        ),
        Comparison(
            "rankme",
            "the formula of the paper",
            "float64 singular values, constant 1e-7; the same",
            lambda draw: _features(wide(draw), "rankme"),
            lambda draw: _rankme(wide(draw), 1e-7),
        ),
        Comparison(
            "lidar",
            "stable-pretraining",
            "callback `LiDAR`, of embeddings at mean 0 and mean square 1; 80 items × 6 views × 24",
            lambda draw: _features(_items(draw), "lidar", views=6),
            lambda draw: _stable_lidar(_items(draw), 80, 6),
        ),
        Comparison(
            "cka",
            "torch-cka",
            "its unbiased HSIC on linear Gram matrices; 96 × 32 and 96 × 40",
            _cka,
            _torch_cka,
        ),
        Comparison(
            "mean_cosine",
            "torchmetrics",
            "mean of `pairwise_cosine_similarity`; 400 × 96",
            lambda draw: _features(wide(draw) + 0.1, "mean_cosine"),
            lambda draw: float(
                _module("torchmetrics.functional")
                .pairwise_cosine_similarity((wide(draw) + 0.1).double(), reduction="sum")
                .sum()
                / (400 * 399)
            ),
        ),
        Comparison(
            "uniformity",
            "the formula of Wang & Isola",
            "`pdist(x)²·(−2)`, exp, mean, log; 400 × 96",
            lambda draw: _features(wide(draw), "uniformity"),
            lambda draw: float(
                torch.pdist(torch.nn.functional.normalize(wide(draw).double()))
                .square()
                .mul(-2)
                .exp()
                .mean()
                .log()
            ),
        ),
    ]


def _rankme(x: Tensor, constant: float) -> float:
    s = torch.linalg.svdvals(x.double())
    p = s / s.sum() + constant
    return float((-(p * p.log()).sum()).exp())


def _items(draw: int) -> Tensor:
    x = _drawn(draw, 80, 1, 24, decay=0.5) + 0.5 * _drawn(draw + 100, 80, 6, 24)
    x = x.reshape(480, 24)
    x = x - x.mean(0)
    return x / x.square().mean().sqrt()


def _cka(draw: int) -> float:
    valid = torch.ones(96, dtype=torch.bool)
    return float(similarity.cka(*(prepare(x, valid) for x in _pair(draw))))


def _pair(draw: int) -> tuple[Tensor, Tensor]:
    x = _drawn(draw, 96, 32)
    return x, x @ _drawn(draw + 50, 32, 40) + 4 * _drawn(draw + 70, 96, 40)


def _torch_cka(draw: int) -> float:
    hsic = _module("torch_cka").CKA._HSIC
    K, L = ((x.double() - x.double().mean(0)) for x in _pair(draw))
    K, L = ((x @ x.t()).fill_diagonal_(0.0) for x in (K, L))
    holder = types.SimpleNamespace(device="cpu")
    torch.set_default_dtype(torch.float64)  # it makes its ones in the default type
    try:
        return float(hsic(holder, K, L) / math.sqrt(hsic(holder, K, K) * hsic(holder, L, L)))
    finally:
        torch.set_default_dtype(torch.float32)


# -- two views ---------------------------------------------------------------------------------------------------------


def _views() -> list[Comparison]:
    def both(draw: int) -> tuple[Tensor, Tensor]:
        a = _drawn(draw, 256, 32)
        return a, a + 0.5 * _drawn(draw + 20, 256, 32)

    def ours(draw: int, statistic: str) -> float:
        a, b = both(draw)
        given = {"a": a, "b": b}
        return _of(views.measure(given, "v")[0], views.series("v", given), statistic)

    def twins(draw: int, weight: float) -> float:
        loss = _source("lightly", "loss/barlow_twins_loss.py").BarlowTwinsLoss(lambda_param=weight)
        return float(loss(*(x.double() for x in both(draw))))

    def vicreg(draw: int) -> float:
        a = both(draw)[0] * 0.7
        return float(_source("lightly", "loss/vicreg_loss.py").variance_loss(a.double(), 1e-4))

    return [
        Comparison(
            "invariance",
            "lightly",
            "`BarlowTwinsLoss`, λ = 0, over the width, whose variances are 1e-5 larger; 256 × 32",
            lambda draw: ours(draw, "invariance"),
            lambda draw: twins(draw, 0.0) / 32,
        ),
        Comparison(
            "cross_redundancy",
            "lightly",
            "`BarlowTwinsLoss`, what λ weighs, over the pairs; the same",
            lambda draw: ours(draw, "cross_redundancy"),
            lambda draw: (twins(draw, 1.0) - twins(draw, 0.0)) / (32 * 31),
        ),
        Comparison(
            "variance_hinge",
            "lightly",
            "`variance_loss` of `VICRegLoss`; the same, times 0.7",
            lambda draw: _features(both(draw)[0] * 0.7, "variance_hinge"),
            vicreg,
        ),
        Comparison(
            "alignment",
            "the formula of Wang & Isola",
            "mean squared distance of the unit rows; the same",
            lambda draw: ours(draw, "alignment"),
            lambda draw: float(
                (
                    torch.nn.functional.normalize(both(draw)[0].double())
                    - torch.nn.functional.normalize(both(draw)[1].double())
                )
                .square()
                .sum(1)
                .mean()
            ),
        ),
    ]


# -- samples, codes, units ---------------------------------------------------------------------------------------------


def _samples() -> list[Comparison]:
    def shown(draw: int) -> dict[str, Tensor]:
        return {"x": _drawn(draw, 300, 8) * 1.1, "reference": _drawn(draw + 30, 300, 8)}

    def ours(draw: int, statistic: str) -> float:
        return _of(diversity.measure(shown(draw)), diversity.series("g", shown(draw)), statistic)

    def theirs(draw: int, name: str) -> float:
        given = {key: x.double().numpy() for key, x in shown(draw).items()}
        return float(_module("prdc").compute_prdc(given["reference"], given["x"], diversity.NEAREST)[name])

    return [
        Comparison(
            f"sample_{name}",
            "prdc",
            "k = 5; 300 generated, 300 real × 8",
            lambda draw, name=name: ours(draw, f"sample_{name}"),  # type: ignore[misc]  # the loop's own name
            lambda draw, name=name: theirs(draw, name),  # type: ignore[misc]
        )
        for name in ("density", "coverage")
    ] + [
        Comparison(
            "codebook_perplexity",
            "the formula of VQ-VAE's code",
            "exp(−Σ p ln(p + 1e-10)), without our correction of the bias; 64 codes, 200 indices per code",
            lambda draw: _perplexity(draw),
            lambda draw: _plain_perplexity(draw),
        ),
        Comparison(
            "dormant_unit_share",
            "the formula of ReDo's code",
            "mean size over (its mean + 1e-9) ≤ 0.1; 200 × 64 units after a ReLU",
            lambda draw: float(units.shares(*units.activity(_units(draw)))[1]),
            lambda draw: _redo(_units(draw), 0.1),
        ),
    ]


def _codes(draw: int) -> Tensor:
    weights = _drawn(draw, 64).exp()
    return torch.multinomial(weights, 12800, replacement=True, generator=torch.Generator().manual_seed(draw))


def _perplexity(draw: int) -> float:
    memory = codebook.fresh(64, torch.device("cpu"))
    row, _ = codebook.measure({"index": _codes(draw)}, memory)
    return _of(row, codebook.series("vq"), "codebook_perplexity")


def _plain_perplexity(draw: int) -> float:
    share = torch.bincount(_codes(draw), minlength=64).double() / 12800
    return float((-(share * (share + 1e-10).log()).sum()).exp())


def _units(draw: int) -> Tensor:
    return (_drawn(draw, 200, 64, decay=0.7) - 0.05).relu()


def _redo(h: Tensor, tau: float) -> float:
    score = h.double().abs().mean(0)
    return float((score / (score.mean() + 1e-9) <= tau).double().mean())


# -- weights -----------------------------------------------------------------------------------------------------------


def _weights() -> list[Comparison]:
    def heavy(draw: int) -> Tensor:
        """A weight whose eigenvalues have a heavy tail, as trained ones do."""
        rows = torch.distributions.StudentT(3.0)
        torch.manual_seed(draw)
        return 0.05 * rows.sample((300, 200))

    def spectrum(draw: int) -> tuple[float, ...]:
        return Weights(300, 200).solve(product.gram(heavy(draw)).numpy())

    def norms(draw: int) -> list[float]:
        weight = heavy(draw)
        start = torch.nn.functional.normalize(_drawn(draw, 200), dim=0)
        direction = power.first(weight, start)
        for _ in range(20):  # as many records
            value, direction = power.improve(weight, direction)
        return power.readings(weight, value).tolist()

    def watched(draw: int, name: str) -> float:
        watcher = _module("weightwatcher")
        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        layer = torch.nn.Linear(200, 300, bias=False)
        layer.weight.data = heavy(draw)
        told = watcher.WeightWatcher(model=torch.nn.Sequential(layer)).analyze(min_evals=50)
        return float(told[name].iloc[0])

    return [
        Comparison(
            "weight_tail_exponent",
            "weightwatcher",
            "`alpha`; 300 × 200, entries of Student's t with 3 degrees",
            lambda draw: spectrum(draw)[1],
            lambda draw: watched(draw, "alpha"),
        ),
        Comparison(
            "weight_tail_fit",
            "weightwatcher",
            "`D`; the same",
            lambda draw: spectrum(draw)[2],
            lambda draw: watched(draw, "D"),
        ),
        Comparison(
            "weight_stable_rank",
            "weightwatcher",
            "`stable_rank`; the same, after 20 records",
            lambda draw: norms(draw)[1],
            lambda draw: watched(draw, "stable_rank"),
        ),
        Comparison(
            "weight_spectral_norm",
            "weightwatcher",
            "root of `spectral_norm`, which is the largest eigenvalue; the same: ours comes from below",
            lambda draw: norms(draw)[0],
            lambda draw: math.sqrt(watched(draw, "spectral_norm")),
        ),
    ]


# -- experts, classifiers ----------------------------------------------------------------------------------------------


def _routing() -> list[Comparison]:
    def shown(draw: int) -> dict[str, Tensor]:
        tasks = torch.randint(0, 4, (3000,), generator=torch.Generator().manual_seed(draw))
        logits = _drawn(draw, 3000, 8) + 1.5 * _drawn(draw + 9, 4, 8)[tasks]
        return {"logits": logits, "tasks": tasks, "limits": torch.tensor(experts.limits(8))}

    def ours(draw: int, statistic: str) -> float:
        row, _ = experts.measure(shown(draw), torch.zeros(8), 1)
        specs = experts.series("moe", 8, shown(draw))
        return next(v for s, v in zip(specs, row.tolist(), strict=True) if s.statistic == statistic)

    def information(draw: int) -> float:
        given = shown(draw)
        tasks, chosen = given["tasks"].numpy(), given["logits"].argmax(1).numpy()
        metrics = _module("sklearn.metrics")
        entropies = [float(_module("scipy.stats").entropy(np.bincount(x))) for x in (tasks, chosen)]
        cells = len(set(zip(tasks.tolist(), chosen.tolist(), strict=True)))
        bias = (cells - len(set(tasks)) - len(set(chosen)) + 1) / (2 * len(tasks))
        return float((metrics.mutual_info_score(tasks, chosen) - bias) / min(entropies))

    return [
        Comparison(
            "expert_task_information",
            "scikit-learn",
            "`mutual_info_score` less Miller & Madow's bias, over the smaller entropy; 3000 tokens, 8 experts, 4 tasks",
            lambda draw: ours(draw, "expert_task_information"),
            information,
        ),
        Comparison(
            "expert_load_entropy",
            "scipy",
            "`entropy` of the counts over ln E; the same",
            lambda draw: ours(draw, "expert_load_entropy"),
            lambda draw: float(
                _module("scipy.stats").entropy(np.bincount(shown(draw)["logits"].argmax(1).numpy()))
                / math.log(8)
            ),
        ),
        Comparison(
            "router_z",
            "the formula of ST-MoE",
            "mean of logsumexp²; the same",
            lambda draw: ours(draw, "router_z"),
            lambda draw: float(shown(draw)["logits"].double().logsumexp(1).square().mean()),
        ),
    ]


def _logits() -> list[Comparison]:
    def logits(draw: int) -> Tensor:
        return 3 * _drawn(draw, 500, 200)

    def actions(draw: int) -> Tensor:
        return torch.randint(0, 200, (500,), generator=torch.Generator().manual_seed(draw))

    def perplexity(draw: int) -> float:
        logp = tokens.scan(logits(draw), actions=actions(draw))[-1]
        return math.exp(-float(logp.double().mean()))

    def marginal(draw: int) -> float:
        given = {"logits": logits(draw), "valid": torch.ones(500)}
        return _of(output.measure(given, 500), output.series(given, "head"), "output_information")

    def jensen(draw: int) -> float:
        p = logits(draw).double().softmax(1).numpy()
        entropy = _module("scipy.stats").entropy
        return float(entropy(p.mean(0)) - entropy(p, axis=1).mean())

    return [
        Comparison(
            "ln π of the tokens taken",
            "torchmetrics",
            "`perplexity` against exp of minus its mean; 500 × 200",
            perplexity,
            lambda draw: float(
                _module("torchmetrics.functional.text").perplexity(
                    logits(draw).double().unsqueeze(0), actions(draw).unsqueeze(0)
                )
            ),
        ),
        Comparison(
            "kl_ref_exact",
            "torchmetrics",
            "`kl_divergence`; 500 × 200",
            lambda draw: float(tokens.divergence(logits(draw), logits(draw + 40)).double().mean()),
            lambda draw: float(
                _module("torchmetrics.functional").kl_divergence(
                    logits(draw).double().log_softmax(1),
                    logits(draw + 40).double().log_softmax(1),
                    log_prob=True,
                )
            ),
        ),
        Comparison(
            "output_information",
            "scipy",
            "`entropy` of the mean softmax less the mean `entropy`; 500 × 200",
            marginal,
            jensen,
        ),
    ]


# -- reinforcement learning --------------------------------------------------------------------------------------------


def _batch(draw: int) -> dict[str, Tensor]:
    """A batch of 16 answers of 40 tokens to four prompts."""
    g = torch.Generator().manual_seed(draw)
    logits = 2 * torch.randn(16, 40, 50, generator=g)
    actions = torch.randint(0, 50, (16, 40), generator=g)
    logp = logits.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return {
        "logits": logits,
        "actions": actions,
        "mask": torch.rand(16, 40, generator=g) > 0.2,
        "old_logprobs": logp + 0.2 * torch.randn(16, 40, generator=g),
        "ref_logprobs": logp + 0.5 * torch.randn(16, 40, generator=g),
        "rollout_logprobs": logp + 0.1 * torch.randn(16, 40, generator=g),
        "advantages": torch.randn(16, generator=g),
        "rewards": torch.randint(0, 2, (16,), generator=g).float(),
    }


def _recorded(draw: int) -> Mapping[str, float]:
    from foreshock.testing import recording

    with recording() as recorded:
        given = _batch(draw)
        recorded.run.observe.policy(given.pop("logits"), groups=4, **given)
        recorded.run.step()
        columns = {name: recorded.columns(name).values for name in recorded.series()}
        return {name: float(values[-1]) for name, values in columns.items() if len(values)}


def _policy() -> list[Comparison]:
    def mean(x: Tensor, mask: Tensor) -> float:
        return float((x * mask).sum() / mask.sum())

    def trl(draw: int, name: str) -> float:
        """As its GRPOTrainer logs them, in float64."""
        given = {key: x.double() for key, x in _batch(draw).items()}
        mask, advantages = given["mask"], given["advantages"].unsqueeze(1)
        logps = given["logits"].log_softmax(-1)
        logp = logps.gather(-1, given["actions"].long().unsqueeze(-1)).squeeze(-1)
        apart = given["ref_logprobs"] - logp
        ratio = (logp - given["old_logprobs"]).exp()
        rewards = given["rewards"].view(-1, 4)
        found = {
            "policy_entropy": lambda: mean(-(logps.exp() * logps).sum(-1), mask),
            "kl_ref_k3": lambda: mean(apart.exp() - apart - 1, mask),
            "clip_high": lambda: mean((ratio > 1.2) & (advantages > 0), mask),
            "clip_low": lambda: mean((ratio < 0.8) & (advantages < 0), mask),
            "zero_variance_groups": lambda: float(
                rewards.std(1).isclose(torch.zeros(4).double()).double().mean()
            ),
            "sequence_ratio_mean": lambda: float(
                (((logp - given["old_logprobs"]) * mask).sum(-1) / mask.sum(-1)).exp().mean()
            ),
        }
        return found[name]()

    def verl(draw: int, name: str) -> float:
        """As its core algorithms and rollout correction log them, in float64."""
        given = {key: x.double() for key, x in _batch(draw).items()}
        mask = given["mask"]
        logits = given["logits"]
        logp = logits.log_softmax(-1).gather(-1, given["actions"].long().unsqueeze(-1)).squeeze(-1)
        entropy = logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)
        kl = (given["ref_logprobs"] - logp).clamp(-20, 20)
        lag = given["old_logprobs"] - given["rollout_logprobs"]
        found = {
            "policy_entropy": lambda: mean(entropy, mask),
            "kl_old_k1": lambda: mean(logp - given["old_logprobs"], mask),
            "kl_ref_k3": lambda: mean((kl.exp() - kl - 1).clamp(-10, 10), mask),
            "mismatch_k3": lambda: mean((-lag).exp() + lag - 1, mask),
        }
        return found[name]()

    def pass_at(draw: int) -> float:
        """The estimator of the HumanEval harness."""
        correct = _batch(draw)["rewards"].view(4, 4).sum(1).int().tolist()
        each = [
            1.0 if 4 - c < 2 else 1.0 - float(np.prod(1.0 - 2 / np.arange(4 - c + 1, 5))) for c in correct
        ]
        return float(np.mean(each))

    def told(of: str, name: str, theirs: Callable[[int, str], float]) -> Comparison:
        return Comparison(
            name,
            f"the formula of {of}",
            "16 answers of 40 tokens, 50 words, a mask",
            lambda draw: _recorded(draw)[name],
            lambda draw: theirs(draw, name),
        )

    return [
        *(
            told("TRL's GRPO", name, trl)
            for name in (
                "policy_entropy",
                "kl_ref_k3",
                "clip_high",
                "clip_low",
                "zero_variance_groups",
                "sequence_ratio_mean",
            )
        ),
        *(told("verl", name, verl) for name in ("policy_entropy", "kl_old_k1", "kl_ref_k3", "mismatch_k3")),
        Comparison(
            "pass_at",
            "the formula of HumanEval's code",
            "k = 2 of groups of 4; the same",
            lambda draw: _recorded(draw)["pass_at{k=2}"],
            pass_at,
        ),
    ]


def _other() -> list[Comparison]:
    def model(draw: int) -> tuple[torch.nn.Module, Tensor, Tensor]:
        torch.manual_seed(draw)
        net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        return net, _drawn(draw, 64, 6), torch.arange(64) % 3

    def ours(draw: int) -> float:
        net, x, y = model(draw)
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(
            torch.nn.functional.cross_entropy(net(x), y), parameters, create_graph=True
        )
        flat = torch.cat([g.reshape(-1) for g in gradients])

        def times(v: Tensor) -> Tensor:
            found = torch.autograd.grad(flat, parameters, v, retain_graph=True)
            return torch.cat([g.reshape(-1) for g in found])

        start = torch.randn(len(flat), generator=torch.Generator().manual_seed(draw))
        return float(curvature.measure(times, start, 30)[0])

    def theirs(draw: int) -> float:
        net, x, y = model(draw)
        found = _module("pyhessian").hessian(net, torch.nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        values, _ = found.eigenvalues(maxIter=2000, tol=1e-8)
        return float(values[0])

    return [
        Comparison(
            "sharpness",
            "pyhessian",
            "`eigenvalues`, 2000 iterations, against 30 products; a network of 83 parameters",
            ours,
            theirs,
        )
    ]


# -- other people's modules --------------------------------------------------------------------------------------------


def _of(row: Tensor, specs: Any, statistic: str) -> float:
    return next(value for spec, value in zip(specs, row.tolist(), strict=True) if spec.statistic == statistic)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _source(package: str, path: str) -> Any:
    """One file of a package, without the package around it and what that wants to import."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package, name=package)
    where = f"{found.submodule_search_locations[0]}/{path}"
    spec = importlib.util.spec_from_file_location(f"{package}.{path[:-3].replace('/', '.')}", where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _callback(path: str) -> Any:
    """A callback of stable-pretraining; a training framework and a logger that its arithmetic does not use are left empty."""
    for name in (
        "lightning",
        "lightning.pytorch",
        "loguru",
        *(f"stable_pretraining.callbacks.{n}" for n in ("", "registry", "queue", "utils")),
    ):
        module = types.ModuleType(name.rstrip("."))
        module.__dict__.update(
            __path__=[],
            Callback=object,
            LightningModule=object,
            Trainer=object,
            logger=logging.getLogger("stable"),
        )
        module.__dict__.update(
            log=print, find_or_create_queue_callback=None, log_header=print, resolve_verbose=bool
        )
        sys.modules.setdefault(name.rstrip("."), module)
    return _source("stable_pretraining", f"callbacks/{path}")


def _stable_rankme(x: Tensor) -> float:
    callback = _callback("rankme.py").RankMe("rankme", "x", len(x), x.shape[1])
    callback._target_queue = types.SimpleNamespace(data=x.double())
    found: list[float] = []
    module = types.SimpleNamespace(log=lambda name, value: found.append(value))
    callback.on_validation_batch_end(types.SimpleNamespace(global_rank=0), module, {}, {}, 0)
    return found[0]


def _stable_lidar(x: Tensor, items: int, each: int) -> float:
    callback = _callback("lidar.py").LiDAR("lidar", "x", len(x), x.shape[1], items, each)
    torch.set_default_dtype(torch.float64)  # it makes its identity in the default type
    try:
        return float(callback._compute_lidar(x.double())["lidar"])
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    main()
