"""Of each built-in rule what its statistic reads in a healthy run and in one that is sick, and what the rule then says."""

from __future__ import annotations

from typing import Literal, NamedTuple

W, C = "warning", "critical"
Says = Literal["warning", "critical"] | None


class Case(NamedTuple):
    """Levels are of the statistic, by what the catalogue says of it; `every` is the cadence of its readings in steps."""

    healthy: float
    sick: float
    falls_ill: Says  # what it says in the end of a run that was healthy for long
    begins_ill: Says  # and of one that was sick from the first step
    every: int = 1
    sharp: bool = False  # it falls ill from one reading to the next
    passing: bool = False  # the rule tells the change, not the state after it


NAN, INF = float("nan"), float("inf")

CASES: dict[str, Case] = {
    # policy entropy, nat
    "policy-entropy-collapse": Case(0.8, 0.05, C, None),
    "policy-entropy-explosion": Case(0.5, 6.0, C, None),
    "policy-entropy-exhausted": Case(0.5, 0.0005, C, C),
    "policy-forks-close": Case(0.2, 0.01, W, W, 10),
    "policy-entropy-cascade": Case(0.6, 5.0, C, None, 10),
    # RL signal
    "zero-variance-groups": Case(0.2, 0.9, W, W),
    "no-reward-signal": Case(0.1, 0.97, C, C),
    "kl-runaway": Case(0.03, 6.0, C, C),
    "sampler-mismatch": Case(0.0005, 0.5, C, C),
    "stale-rollouts": Case(0.95, 0.04, C, C),
    "exploration-clipped": Case(0.01, 0.2, W, W),
    "rare-choices-die-out": Case(0.05, 0.005, W, None),
    "solved-by-any-falls": Case(0.8, 0.2, W, None),
    "advantages-vanish": Case(1.0, 0.02, W, None),
    "length-collapse": Case(800.0, 40.0, C, None, 10),
    "answers-cut-off": Case(0.05, 0.98, C, C, 10),
    "invalid-answers": Case(0.03, 0.8, W, W, 10),
    "thought-collapse": Case(0.5, 0.01, C, None, 10),
    # representation
    "representation-rank-collapse": Case(60.0, 3.0, C, None, 10),
    "representation-one-direction": Case(60.0, 1.05, W, W, 10),
    "constant-embeddings": Case(0.97, 0.02, C, C),
    "embeddings-in-one-direction": Case(0.05, 0.999, C, C),
    "features-in-one-direction": Case(-2.5, -0.01, W, W),
    "views-not-uniform": Case(-3.5, -0.01, C, C),
    "views-redundant": Case(0.02, 0.97, C, C),
    "views-dead-dimensions": Case(0.01, 0.4, W, W),
    "predictor-misaligned": Case(0.97, 0.1, W, W),
    "lidar-falls": Case(80.0, 5.0, W, None),
    # neural collapse
    "classes-merge": Case(0.9, 0.15, C, None),
    "minority-classes-lost": Case(0.7, 0.01, W, W),
    "classifier-parts-from-features": Case(0.95, 0.3, W, None),
    # attention
    "attention-entropy-collapse": Case(0.6, 0.01, C, None, 50),
    "attention-heads-sharp": Case(0.1, 0.97, W, W, 50),
    "attention-overload": Case(0.2, 0.99, W, W, 50),
    "attention-logits-large": Case(12.0, 400.0, W, W, 50),
    "attention-logit-growth": Case(12.0, 900.0, C, None, 50),
    # output logits
    "predictions-ignore-input": Case(1.6, 0.01, C, None, 10),
    "predictions-without-input": Case(1.6, 0.001, W, W, 10),
    "output-logits-drift": Case(90.0, 8000.0, W, W, 10),
    "policy-logits-drift": Case(15.0, 120.0, W, W),
    "output-logits-huge": Case(25.0, 900.0, W, W, 10),
    # experts
    "experts-dead": Case(0.001, 0.5, C, C),
    "expert-imbalance": Case(0.5, 5.0, W, W),
    "expert-load-collapse": Case(0.97, 0.35, C, C),
    "router-certain": Case(0.6, 0.01, W, W),
    "router-logits-grow": Case(9.0, 30000.0, C, C),
    "tokens-dropped": Case(0.005, 0.4, W, W),
    # codebook
    "codebook-collapse": Case(0.92, 0.03, C, C),
    "codebook-perplexity-falling": Case(400.0, 8.0, C, None),
    "codes-without-gradient": Case(0.6, 0.05, W, None),
    # latents
    "posterior-collapse": Case(12.0, 0.001, C, C),
    "latent-units-inactive": Case(0.6, 0.0, C, C),
    "latent-uninformative": Case(5.0, 0.01, C, C),
    # diversity
    "mode-collapse": Case(120.0, 4.0, C, None, 10),
    "samples-all-alike": Case(120.0, 1.05, W, W, 10),
    "coverage-lost": Case(0.9, 0.03, C, None, 10),
    "samples-repeat": Case(0.01, 0.98, C, C, 10),
    "samples-far-from-real": Case(0.9, 0.05, W, W, 10),
    "generations-lose-variance": Case(1.4, 0.1, C, None, 10),
    "text-repeats-itself": Case(0.8, 0.05, C, None, 10),
    "text-in-loops": Case(0.01, 0.9, C, C, 10),
    "answers-follow-a-template": Case(0.2, 0.98, W, W, 10),
    # plasticity
    "dormant-units": Case(0.02, 0.97, C, W, 10),
    "dead-units": Case(0.01, 0.97, C, W, 10),
    "dormant-gradients": Case(0.02, 0.8, W, W, 10),
    "residual-stream-grows": Case(2.0, 9000.0, C, None, 10),
    "gains-vanish": Case(0.01, 0.9, W, W, 10),
    "channels-without-variance": Case(0.005, 0.5, W, W, 10),
    "value-head-flat": Case(0.8, 0.01, W, None, 10),
    "value-features-rank": Case(40.0, 3.0, W, None, 10),
    # optimiser
    "gradient-explosion": Case(1.0, 5000.0, C, None, 10),
    "gradient-spikes": Case(1.4, 20.0, W, W, 10),
    "gradient-vanishing": Case(0.5, 1e-12, W, W, 10),
    "update-too-large": Case(0.001, 3.0, C, C, 10),
    "update-vanishing": Case(0.001, 1e-12, W, W, 10),
    "weights-grow": Case(100.0, 30000.0, C, None, 10),
    "weight-spectral-growth": Case(3.0, 80.0, W, None, 500),
    "adam-behind": Case(1.0, 6.0, W, W, 10),
    "adam-spikes": Case(0.0, 0.01, W, W, 10),
    "adam-epsilon": Case(0.05, 0.95, W, W, 10),
    "steps-swing-back": Case(0.1, -0.8, W, W, 10),
    "sharpness-beyond-stability": Case(1.8, 12.0, W, W, 10),
    "losses-in-conflict": Case(0.05, -0.9, W, W, 10),
    # numerics
    "non-finite-loss": Case(2.0, NAN, C, C, sharp=True),
    "non-finite-weights": Case(0.0, 3.0, C, C, 10, sharp=True),
    "non-finite-gradients": Case(0.0, 40.0, W, W, 10, sharp=True),
    "non-finite-activations": Case(0.0, 7.0, W, W, 10, sharp=True),
    "non-finite-inputs": Case(0.0, 1.0, W, W, sharp=True),
    "non-finite": Case(1.0, INF, W, W, sharp=True),
    "faulty-rank": Case(2.0, 4000.0, C, C, 10),
    "lost-updates": Case(0.02, 0.97, W, W, 10),
    "softmax-collapse": Case(0.001, 0.99, W, W, 10),
    "only-logits-scale": Case(0.02, 0.97, W, W, 10),
    "steps-skipped": Case(0.0005, 0.95, C, C, 10),
    "loss-scale-at-floor": Case(65536.0, 0.01, C, C, 10),
    # training
    "loss-spike": Case(2.0, 9.0, None, None, sharp=True, passing=True),
    "overfitting": Case(1.0, 3.0, C, None, 100),
    # adaptation
    "one-class-collapse": Case(8.0, 1.05, C, None),
    "one-class-share": Case(0.15, 0.995, W, W),
    # forgetting
    "task-begins": Case(1.0, 2.0, None, None, sharp=True, passing=True),
    "task-boundary": Case(0.3, 2.0, None, None, sharp=True, passing=True),
    "forgetting": Case(0.85, 0.1, C, None, 100),
    "stability-gap": Case(0.85, 0.3, W, None, 100, sharp=True),
    "representation-drift": Case(0.2, 5.0, W, W, 50),
    "representation-dissimilar": Case(0.9, 0.1, W, W, 50),
    # operations; rules about silence have drawn tests alone
    "monitor-threads-busy": Case(5.0, 150.0, W, W),
    # monitor
    "monitor-over-budget": Case(60.0, 700.0, C, C),
    "monitor-loses-readings": Case(0.0, 20.0, W, W, sharp=True),
    "monitor-faults": Case(0.0, 1.0, W, W, sharp=True),
    "monitor-gave-up": Case(1.0, 0.0, W, W, sharp=True),
    "monitor-memory-grows": Case(5e6, 2e8, W, None, 10),
    "rows-missing": Case(4096.0, 30.0, W, None),
}
