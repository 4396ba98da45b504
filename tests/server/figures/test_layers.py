"""A statistic at many places is offered as a map of layers by steps, and drawn from means."""

from __future__ import annotations

import base64

import numpy as np


def test_many_places_are_a_map_and_few_are_not(trainer, wire):
    places = [f"layer.{i}" for i in range(14)]

    def named(statistic: str, some: list[str]) -> list[dict]:
        return [
            wire.series(
                statistic, key=f"{statistic}{{place={p}}}", statistic=statistic, place=p, labels={"place": p}
            )
            for p in some
        ]

    series = named("norm", places) + named("gain", places[:3])
    table = np.tile(np.arange(17.0), (100, 1)) + np.arange(100)[:, None]
    trainer.send(1, [wire.rows(1, range(100), table)], [{"frame": 1, "series": series}])
    listed = {one["name"]: one for one in trainer.get("/figures")["figures"]}
    assert "layers.gain" not in listed
    assert listed["layers.norm"]["family"] == "training"
    figure = trainer.get("/figures/layers.norm")
    (trace,) = figure["data"]
    z = np.frombuffer(base64.b64decode(trace["z"]["bdata"]), trace["z"]["dtype"])
    z = z.reshape([int(n) for n in trace["z"]["shape"].split(",")])
    np.testing.assert_allclose(z, table.T[:14], rtol=1e-6)
    assert figure["layout"]["yaxis"]["ticktext"][0] == "layer.0"
    assert trainer.client.get("/api/v1/runs/run-1/figures/layers.gain").status_code == 404
