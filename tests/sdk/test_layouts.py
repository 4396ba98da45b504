"""What is known of a rank's part of each place: declared by the user, read from placements, and told to the server."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.zoo.sharding import Replicate, Shard, interleaved
from torch import Tensor, nn

import foreshock
from foreshock.measure.finish import StepRow
from foreshock.measure.instruments import Instruments
from foreshock.measure.layout import Layout, laid
from foreshock.measure.layouts import Layouts, declared
from foreshock.measure.placements import Placed, layout_of, ranks_along
from foreshock.measure.probes.sharing import sharing
from foreshock.measure.statistics import STATISTICS, parameters
from foreshock.series import SeriesSpec


class Mesh:
    """The part of a DeviceMesh that is read."""

    def __init__(self, ranks: Any, me: int) -> None:
        self.mesh = torch.tensor(ranks)
        self.ndim = self.mesh.dim()
        self._me = me

    def get_coordinate(self) -> list[int] | None:
        found: list[list[int]] = (self.mesh == self._me).nonzero().tolist()
        return found[0] if found else None

    def size(self, dim: int | None = None) -> int:
        return self.mesh.numel() if dim is None else self.mesh.shape[dim]


GRID = [[0, 1], [2, 3]]  # dp by tp


@pytest.mark.parametrize(
    ("rank", "placements", "expected"),
    [
        (3, [Shard(0), Replicate()], Layout("replicated", 2)),
        (3, [Shard(0), Shard(2)], Layout("columns", 2, 1, 2, 8)),
        (2, [Shard(0), Shard(-1)], Layout("columns", 2, 0, 2, 8)),
        (3, [Shard(0), Shard(1)], Layout("rows", 3)),
        (1, [Replicate(), Replicate()], Layout("replicated", 0)),
        (2, [Replicate(), Shard(2)], Layout("columns", 0, 0, 2, 8)),
        (3, [Shard(2), Shard(2)], Layout("columns", 0, 3, 4, 8)),
    ],
)
def test_placements_say_which_part_a_rank_holds(rank: int, placements: list[Any], expected: Layout) -> None:
    assert layout_of(Placed(Mesh(GRID, rank), placements, 3), rank, 8) == expected


def test_a_rank_outside_of_a_mesh_is_along_nothing() -> None:
    assert ranks_along(Mesh(GRID, 9), [0, 1]) == []
    assert ranks_along(Mesh(GRID, 2), [1]) == [2, 3]


def told(spec: SeriesSpec) -> Any:
    return spec.on_wire()["about"]


def series(name: str, **labels: str) -> SeriesSpec:
    return STATISTICS[name].series("mlp.act", labels)


def test_copies_and_columns_are_told_so_that_an_older_server_merges_neither() -> None:
    copy = told(laid([series("n_eff")], Layout("replicated", 2))[0])
    assert "merge" not in copy
    assert copy["layout"] == {"part": 2, "merge": "sum"}
    (shard,) = laid([series("zero_activation_share")], Layout("columns", 2, 1, 4, 16))
    assert shard.key == series("zero_activation_share").key
    assert told(shard)["layout"] == {
        "part": 2,
        "merge": "mean",
        "weight": "unit_samples",
        "columns": "mean",
        "shard": 1,
        "shards": 4,
        "width": 16,
    }
    assert "merge" not in told(shard)


def test_what_needs_all_columns_is_named_by_its_shard() -> None:
    (one,) = laid([series("effective_rank", centered="true")], Layout("columns", 0, 1, 2, 16))
    assert one.key == "effective_rank{centered=true,place=mlp.act,shard=1/2}"
    assert "columns" not in told(one)["layout"]
    heads = laid(
        [STATISTICS["attention_logit_max"].series("attn", {"head": "0"}, "head"),
         STATISTICS["attention_logit_max"].series("attn", {"heads": "max"}),
         STATISTICS["attention_entropy_normalized"].series("attn", {"heads": "p10"})],
        Layout("columns", 0, 0, 2, 4),
    )  # fmt: skip
    assert ["shard" in dict(one.labels) for one in heads] == [True, False, True]


def test_other_rows_are_told_as_ever_and_what_nobody_knows_is_not_merged() -> None:
    assert told(laid([series("n_eff")], Layout("rows", 1))[0])["merge"] == "sum"
    unknown = told(laid([series("n_eff")], Layout("unknown"))[0])
    assert "merge" not in unknown
    assert "layout" not in unknown


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({"blocks.*": "colums"}, r"layout\['blocks.\*'\] is 'colums'; write 'replicated'.*'rows'.*'columns'"),
        ({"blocks.*": ("columns", "tp")}, "write a DeviceMesh of one dimension"),
        ({"layers.*": "columns"}, r"matches no place; places are named like \['blocks.0', 'blocks.1'"),
        ("columns", "write a mapping such as"),
    ],
)
def test_a_wrong_layout_says_what_to_write(layout: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        foreshock.describe(Mlp(), layout=layout)


def test_the_table_shows_what_is_declared_and_has_no_such_column_otherwise() -> None:
    plain = foreshock.describe(Mlp())
    assert "layout" not in str(plain)
    table = foreshock.describe(Mlp(), layout={"blocks.*": "replicated", "blocks.*.1": "columns"})
    by_place = {(row.place, row.kind): row.layout for row in table.rows}
    assert by_place["blocks.0", "activations"] == "replicated"
    assert by_place["blocks.1.1", "units"] == "columns"
    assert not any(row.layout for row in table.rows if row.module == "parameters")
    lines = str(table).splitlines()
    assert lines[0].endswith("layout")
    assert any(line.startswith("blocks.0…1.1 (2)") and line.endswith("columns") for line in lines)
    assert "<th>layout</th>" in table._repr_html_()


def test_a_declaration_without_ranks_needs_a_job_and_one_for_others_is_refused() -> None:
    layouts = Layouts(rank=5)
    with pytest.raises(ValueError, match="write the ranks too"):
        layouts.add(Mlp(), "", declared({"blocks.*": "columns"}))
    with pytest.raises(ValueError, match="this is rank 5"):
        layouts.add(Mlp(), "", declared({"blocks.*": ("columns", [0, 1])}))


def read(
    layout: dict[str, Any] | None, rank: int = 1, mark: Callable[[nn.Module], object] = id
) -> dict[str, SeriesSpec]:
    """Two steps of a model that is split over ranks by hand: the series by key without the rank."""
    torch.manual_seed(0)
    model, rows = Mlp(), list[StepRow]()
    mark(model)
    every = {"activations": 1, "units": 1, "optimiser": 1, "gradients": 1}
    instruments = Instruments(every=every, rank=rank, world_size=4, on_row=rows.append)
    instruments.watch(model, layout=layout)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(2):
        model(torch.randn(12, 8)).square().mean().backward()
        optimizer.step()
        instruments.step(step, 0.0)
    instruments.close(0)
    return {
        spec.key.replace(f"rank={rank},", "")
        .replace(f",rank={rank}", "")
        .replace(f"{{rank={rank}}}", ""): spec
        for row in rows
        for spec in row.frame.series
    }


def test_what_is_declared_by_hand_is_what_is_told() -> None:
    found = read({"blocks.*.1": ("columns", [0, 1]), "blocks.1": ("rows", [0, 1])}, rank=1)
    assert dict(found["dead_unit_share{place=blocks.0.1}"].layout)["columns"] == "mean"
    assert dict(found["dead_unit_share{place=blocks.0.1}"].layout)["width"] == 16
    assert found["n_eff{place=blocks.1}"].merge == "sum"  # tokens of its own
    assert dict(found["n_eff{place=blocks.0}"].layout) == {"part": 0, "merge": "sum"}  # not said: the group's
    assert found["gradient_norm"].merge is None  # nobody says how the weights lie
    assert not found["gradient_norm"].layout


def test_weights_that_megatron_has_split_are_merged_as_parts() -> None:
    def split(model: nn.Module) -> None:
        for p in model.parameters():
            p.tensor_model_parallel = p.dim() == 2  # type: ignore[attr-defined]

    found = read({"blocks.*.1": ("columns", [0, 1])}, rank=1, mark=split)
    assert found["gradient_norm"].merge == "norm"


def test_without_a_split_model_nothing_is_laid() -> None:
    found = read(None)
    assert {spec.layout for spec in found.values()} == {()}
    assert found["n_eff{place=blocks.0}"].merge == "sum"


def parameter(placements: list[Any] | None, mesh: Mesh | None) -> Any:
    return SimpleNamespace(placements=placements, device_mesh=mesh, dim=lambda: 2)


def test_parameters_on_several_meshes_count_their_copies() -> None:
    grid, dp = Mesh(GRID, 3), Mesh([1, 3], 3)
    both = sharing([
        parameter([Shard(0), Shard(1)], grid),
        parameter([Shard(0)], dp),  # a norm: over dp alone
        parameter([Shard(0), Replicate()], grid),
        parameter([interleaved(0, 2), Shard(0)], grid),  # columns, and FSDP2 over them
        parameter(None, None),
    ])  # fmt: skip
    assert both.copies == (1, 2, 2, 1, 4)
    assert (both.held, both.ranks, both.part) == ("parts", 4, 3)
    assert sharing([parameter(None, None)]).held == "alike"
    assert sharing([parameter([Replicate()], dp)]).held == "alike"


def test_shares_of_norms_and_counts_add_up_to_the_whole() -> None:
    g = torch.Generator().manual_seed(0)
    split, alike = torch.randn(8, 4, generator=g), torch.randn(5, generator=g)
    alike[2] = math.nan
    counted = [parameters.count_shares([[part, alike]], [[1, 2]]) for part in split.chunk(2)]
    assert sum(one.item() for one in counted) == 1.0
    alike[2] = 0.0
    norms = [parameters.norm_shares([[part, alike]], [[1, 2]]) for part in split.chunk(2)]
    whole = parameters.norms([[split, alike]])
    torch.testing.assert_close(torch.stack(norms).square().sum(0).sqrt(), whole)
