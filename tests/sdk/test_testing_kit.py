"""What users test their training code with does what it says, and what it says is run."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

import foreshock
from foreshock import testing
from foreshock.send.transport import Answer, Request, Undelivered
from foreshock.testing import MemoryTransport, recording


def test_its_example_runs() -> None:
    assert doctest.testmod(testing) == (0, 1)


def test_it_touches_no_disk(tmp_path: Path) -> None:
    with recording() as recorded:
        recorded.run.log(loss=1.0)
        recorded.run.step()
        assert recorded.columns("loss").values.tolist() == [1.0]
        assert recorded.run.spool is None
    assert list(tmp_path.iterdir()) == []


def test_a_series_that_is_not_there_names_those_that_are() -> None:
    with recording() as recorded:
        recorded.run.log(loss=1.0)
        recorded.run.step()
        with pytest.raises(KeyError, match=r"there is foreshock_budget_used, foreshock_dropped, .*loss"):
            recorded.columns("reward")


def test_it_takes_settings_as_init_does() -> None:
    with recording(project="mine", run="r7", every={"views": 4}) as recorded:
        assert (recorded.run.project, recorded.run.id) == ("mine", "r7")
    with pytest.raises(TypeError, match="does not know colour"), recording(colour="red"):
        pass


def test_the_memory_server_keeps_the_contract() -> None:
    transport = MemoryTransport()
    unknown = transport.exchange(Request("POST", "/api/v1/runs/r/blocks?floor=1", b""))
    assert (unknown.status, unknown.body["error"]) == (404, "UnknownRun")
    transport.fail_next(Answer(503), Undelivered("gone"))
    opening = Request("PUT", "/api/v1/runs/r", b'{"attempt": 1}')
    assert transport.exchange(opening).status == 503
    with pytest.raises(Undelivered):
        transport.exchange(opening)
    assert transport.exchange(opening).body["run"] == "r"


def test_tensors_features_and_watched_models_are_recorded_too() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recording(every={"activations": 1, "optimiser": 1}) as recorded:
        run = recorded.run
        table = run.watch(model, optimizer=optimizer)
        assert table is not None
        assert "ReLU" in str(table)
        for _ in range(5):
            hidden = model(torch.randn(16, 4))
            loss = hidden.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.observe.policy(hidden.detach())
            run.observe.features("head", hidden.detach())
            run.observe.views(hidden.detach(), hidden.detach() + 0.1)
            run.log(loss=loss, matrix=torch.zeros(2, 2), lr=0.1)
            run.step()
        run.finish()
        keys = recorded.series()
        loss_column = recorded.columns("loss")
        assert loss_column.steps.tolist() == list(range(5))
        assert np.isfinite(loss_column.values).all()
        assert run.lost == {"not a number": 5}
        for start in ("policy_entropy", "gradient_norm", "effective_rank{", "alignment", "update_ratio"):
            assert any(key.startswith(start) for key in keys), (start, keys)
        entropy = recorded.columns("policy_entropy").values
        assert ((entropy >= 0) & (entropy <= np.log(3) + 1e-6)).all()
    assert all(not module._forward_hooks for module in model.modules()), "nothing of ours is left"


def test_public_names_are_listed() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert foreshock.testing is testing
