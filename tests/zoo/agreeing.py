"""One of two processes that train together: the first hears of alerts, both react at the same step. `python -m tests.zoo.agreeing …`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

import foreshock
from foreshock import remedies
from foreshock.testing import MemoryTransport

STEPS = 400
HEARD_AFTER = 20  # steps, by the first rank


def told(rule: str) -> dict[str, Any]:
    return {"rule": rule, "series": "policy_entropy", "state": "firing", "severity": "critical", "step": 3, "message": "it dies", "episode": 1}  # fmt: skip


def main(kind: str, rank: int, store: str, out: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        model[0].bias[:16] = -100.0  # units that never fire
    replica = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    data = torch.Generator().manual_seed(100 + rank)  # each rank its own rows
    transport = MemoryTransport()
    inert = kind == "second inert" and rank == 1
    run = foreshock.init("agreeing", run=None if inert else "agreeing", dir=out.parent / f"spool-{rank}", transport=transport, budget=0)  # fmt: skip
    coefficients: list[tuple[int, float]] = []
    step = -1

    @run.on_alert("policy-entropy-*", action="set", value=lambda alert: 0.02 + rank, dry_run=False)
    def coefficient(value: float) -> None:
        if kind == "second fails" and rank == 1:
            raise RuntimeError("no such setter here")
        coefficients.append((step, value))

    run.on_alert("policy-entropy-*", remedies.drop_learning_rate(optimizer, factor=0.5), dry_run=False)

    def forward() -> object:
        return replica(torch.randn(64, 8, generator=data))

    recycling = remedies.recycle_dormant_units(replica, optimizer, forward)
    run.on_alert("dormant-*", recycling, dry_run=False)
    run.on_alert("non-finite", action="stop", dry_run=False)
    stopped = None
    try:
        for step in range(STEPS):
            x = torch.randn(16, 8, generator=data)
            loss = (replica(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss.detach())
            run.step()
            if rank == 0 and step == HEARD_AFTER:
                transport.alerts = [told("policy-entropy-collapse"), told("dormant-units")]
            if rank == 0 and step == 3 * HEARD_AFTER:
                transport.alerts = [*transport.alerts, told("non-finite")]
            if rank == 0 and run.session is not None:
                run.session.pipeline.settle(20)
            run.agree(every=5)
    except foreshock.StopTraining as stop:
        stopped = (step, str(stop))
    run.finish()
    outcome = {
        "stopped": stopped,
        "coefficients": coefficients,
        "rates": [group["lr"] for group in optimizer.param_groups],
        "recycled": recycling.recycled,
        "dead": int((model[0].bias < -50).sum()),
        "weights": [float(parameter.detach().double().sum()) for parameter in model.parameters()],
        "acted": [[one.step, one.action, one.state] for one in run.acted],
    }
    out.write_text(json.dumps(outcome), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
