"""Mixture of experts that serves several tasks: who occupies whom."""

from __future__ import annotations

from .entry import Statistic

FAMILY = "experts"

_HOME = "Wang et al. 2024, HoME, arXiv:2408.05430"
_MODULO = "Task numbers that agree modulo 64 are taken for one."
_ROWS = f"{_MODULO} A row for each of the tasks 0 to 7 and no other."

STATISTICS: tuple[Statistic, ...] = (
    Statistic(
        name="expert_task_information",
        family=FAMILY,
        title="What the task of a token tells of its experts",
        unit="",
        low=0.0,
        high=1.0,
        formula="I(T; E) / min(H(T), H(E)), each entropy corrected after Miller & Madow, clamped to 0…1",
        source=f"mutual information of task and expert; after the gate matrix of {_HOME}",
        degenerate="NaN with fewer than two tasks; 0 when one expert takes every choice",
        healthy="whatever the design wants: near 0 for experts meant to be shared, higher where they specialise",
        collapsed="near 1: the tasks have divided the experts among themselves and share nothing",
        cost="row",
        caveats=f"{_MODULO} The k choices of one token are counted as if they were"
        " independent. Measured where `tasks` is shown.",
        needs=("logits", "tasks"),
    ),
    Statistic(
        name="expert_task_max_share",
        family=FAMILY,
        title="Largest share of one expert's choices that comes from one task",
        unit="share",
        low=0.0,
        high=1.0,
        formula="max over e, t of count_te / count_e, over experts with at least 32 choices",
        source=f"expert degradation of {_HOME}",
        degenerate="NaN with fewer than two tasks, or when no expert has 32 choices",
        healthy="near the share of the commonest task in the batch",
        collapsed="1: an expert that should serve all tasks is occupied by one",
        cost="free",
        caveats=f"{_MODULO} Measured where `tasks` is shown.",
        needs=("logits", "tasks"),
        merge="max",
    ),
    Statistic(
        name="expert_task_load",
        family=FAMILY,
        title="Share of one task's choices that fall on one expert",
        unit="share",
        low=0.0,
        high=1.0,
        formula="f_te = count_te / Σ_e count_te",
        source=f"counts of the chosen experts by task; after the gate matrix of {_HOME}",
        degenerate="NaN without valid tokens, or where the task has none",
        healthy="whatever the design wants: rows alike for experts meant to be shared, apart where tasks have their own",
        collapsed="an expert meant for all tasks is high in one row and near 0 in the others; a sparse task deserts its own expert",
        cost="free",
        caveats=f"A vector over the experts for each task, up to 64 of them. {_ROWS} Small tasks scatter: see expert_task_choices."
        " Measured where `tasks` is shown.",
        needs=("logits", "tasks"),
        merge="mean",
        weight="expert_task_choices",
    ),
    Statistic(
        name="expert_task_choices",
        family=FAMILY,
        title="Choices of one task's tokens",
        unit="choices",
        low=0.0,
        high=None,
        formula="Σ_e count_te",
        source="exact count",
        degenerate="0 without valid tokens, or where the task has none",
        healthy="the task's share of the batch, times the experts that a token is sent to",
        collapsed="falls for a task that the loader serves no more; 0 where there is no such task",
        cost="free",
        caveats=f"{_ROWS} Measured where `tasks` is shown.",
        needs=("logits", "tasks"),
        merge="sum",
    ),
)
