"""The table of what is watched: chosen by pattern and family, readable on 100 columns, made without touching the model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser

import pytest
import torch
from tests.zoo import feedforward, huggingface, mixtures, transformers
from torch import nn

import foreshock
from foreshock.config import ASKED, EVERY, FAMILIES
from foreshock.measure.instruments import Instruments
from foreshock.measure.probes import activations
from foreshock.measure.probes import all as probes
from foreshock.measure.probes.families import Wishes, choose
from foreshock.measure.probes.subject import Attached, Planned, Subject
from foreshock.measure.probes.table import Watched, WatchTable
from foreshock.measure.probes.widths import widths
from foreshock.measure.statistics import table
from foreshock.testing import recording

torch.set_num_threads(1)


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    )


# -- describing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [transformers.NanoGPT, huggingface.GPT2WithValueHead, feedforward.ResNet, feedforward.mlp]
)
def test_what_is_described_is_what_is_watched_and_describing_touches_nothing(
    make: type[nn.Module],
) -> None:
    model = make()
    state = torch.get_rng_state()
    described = foreshock.describe(model)
    assert hooks(model) == 0
    assert torch.equal(torch.get_rng_state(), state)
    instruments = Instruments(on_row=lambda row: None)
    watched = instruments.watch(model)
    assert hooks(model) > 0
    assert watched == described
    instruments.close(0)
    assert hooks(model) == 0


def test_a_model_without_storage_can_be_described_and_watched_before_it_gets_some() -> None:
    with torch.device("meta"):
        model = transformers.NanoGPT(2)
    assert foreshock.describe(model).parameters == sum(
        p.numel() for p in transformers.NanoGPT(2).parameters()
    )
    with recording(every={"activations": 1}) as recorded:
        recorded.run.watch(model, quiet=True)
        model.to_empty(device="cpu")
        for p in model.parameters():
            nn.init.normal_(p)
        model(transformers.tokens()).sum().backward()
        recorded.run.step()
        assert recorded.columns("n_eff{place=transformer.h.1}").values.tolist() == [48]


def test_a_model_whose_layers_are_lazy_can_be_described() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2))
    assert foreshock.describe(model).parameters == 0
    assert "?" in str(foreshock.describe(model))


def test_settings_count_as_they_do_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOCK_EVERY", "activations=7")
    monkeypatch.setenv("FORESHOCK_FAMILIES", "representation")
    described = foreshock.describe(transformers.NanoGPT())
    assert {(row.family, row.every) for row in described.rows if row.kind == "activations"} == {
        ("representation", 7)
    }
    assert {row.family for row in described.rows} == {"representation"}
    with recording(every={"activations": 7}, families="representation") as recorded:
        assert recorded.run.watch(transformers.NanoGPT(), quiet=True) == described
    described = foreshock.describe(transformers.NanoGPT(), every={"activations": 3}, families=["all"])
    assert {row.every for row in described.rows if row.kind == "activations"} == {3}
    assert "optimiser" in {row.family for row in described.rows}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"include": ["layers.*"]}, "matches no module; modules are named like"),
        ({"families": ["atention"]}, "families names 'atention'; it can name policy entropy, RL signal"),
        ({"without": ["all"]}, "families names '-all'"),
        ({"families": "attention"}, r"write lists, such as families=\['attention'\]"),
        ({"every": {"activation": 1}}, "every names 'activation'"),
    ],
)
def test_a_wrong_wish_says_what_to_write(arguments: Mapping[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        foreshock.describe(transformers.NanoGPT(), **arguments)


def test_what_is_no_module_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"got a dict; pass a torch.nn.Module"):
        foreshock.describe({})


def test_a_probe_that_fails_leaves_the_others_their_lines(
    lenient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(subject: Subject) -> list[Planned]:
        raise KeyError(subject)

    monkeypatch.setattr(probes, "PROBES", (broken, activations.plan))
    assert [row.place for row in foreshock.describe(feedforward.mlp()).rows] == ["1", "4"]


# -- families -----------------------------------------------------------------------------------------------------------


def test_the_settings_know_the_families_of_the_catalogue() -> None:
    assert FAMILIES == table.FAMILIES


def families(**wishes: Sequence[str]) -> set[str]:
    return {row.family for row in foreshock.describe(huggingface.GPT2WithValueHead(), **wishes).rows}


def test_families_are_chosen_by_name_and_left_out_by_name() -> None:
    everything = families()
    assert {"representation", "plasticity", "optimiser"} <= everything
    assert families(families=["representation"]) == {"representation"}
    assert families(families=["representation", "optimiser"]) == {"representation", "optimiser"}
    assert families(without=["optimiser"]) == everything - {"optimiser"}
    assert families(families=["-optimiser"]) == everything - {"optimiser"}
    assert families(families=["all"], without=["plasticity"]) >= everything - {"plasticity"}


def test_patterns_choose_among_the_modules_of_every_probe() -> None:
    described = foreshock.describe(
        huggingface.GPT2WithValueHead(3),
        include=["transformer.h.*", "**.ln_2", "v_head.summary"],
        exclude=["**.1", "**.1.**"],
        families=["representation", "plasticity"],
    )
    found = {(row.place, row.family) for row in described.rows if row.kind in ("activations", "units")}
    assert {
        ("transformer.h.0", "representation"),
        ("transformer.h.2", "representation"),
        ("transformer.h.0.ln_2", "plasticity"),
        ("transformer.h.2.ln_2", "plasticity"),
        ("v_head.summary", "plasticity"),
        ("v_head.summary.input", "representation"),
    } <= found
    assert not [place for place, _ in found if ".h.1" in place]


def test_a_family_that_the_model_has_not_is_named_below_the_table() -> None:
    described = foreshock.describe(feedforward.mlp(), families=["codebook"])
    assert described.rows == ()
    assert described.absent == ("codebook",)
    assert str(described).splitlines()[0] == "nothing to watch"
    assert "Not found in this model: codebook" in str(described)


def test_a_family_that_the_patterns_keep_out_is_said_to_be_there_and_how_to_reach_it() -> None:
    model = mixtures.Mixture()
    for patterns in ({"include": ["layers.*.mlp"]}, {"exclude": ["**.gate", "**.router"]}):
        described = foreshock.describe(model, families=["experts", "codebook"], **patterns)
        assert described.rows == ()
        assert described.absent == ("codebook",)
        assert described.kept_out == (("experts", "layers.0.mlp.gate"),)
        said = " ".join(str(described).split())
        assert "Not among what include= and exclude= choose: experts (layers.0.mlp.gate)." in said
        assert "include=['blocks.*.moe.**']" in said
        assert "Not found in this model: codebook." in said
    inside = foreshock.describe(model, include=["layers.*.mlp.**"], families=["experts"])
    assert inside.rows
    assert inside.kept_out == ()


def line(family: str, kind: str) -> Planned:
    return Planned(
        place=f"{family}.{kind}",
        module="",
        measured="",
        family=family,
        kind=kind,
        attach=lambda sites: Attached(),
    )


OFF = {**EVERY, "curvature": 0, "drift": 0, "weights": 500}
PLAN = [line("optimiser", "curvature"), line("optimiser", "optimiser"), line("latents", "drift")]


@pytest.mark.parametrize(
    ("wishes", "fixed", "taken", "switched"),
    [
        (Wishes.of(None), (), ["optimiser"], {}),
        (Wishes.of(["latents"]), (), ["drift"], {"drift": ASKED}),
        (
            Wishes.of(["optimiser"]),
            (),
            ["optimiser"],
            {},
        ),  # a part of it is on: the rest is costly, and stays off
        (Wishes.of(["all"]), (), ["curvature", "optimiser", "drift"], {"curvature": ASKED, "drift": ASKED}),
        (Wishes.of(["all"]), ("drift",), ["curvature", "optimiser"], {"curvature": ASKED}),
        (Wishes.of(["all"], ["optimiser"]), (), ["drift"], {"drift": ASKED}),
        (Wishes.of(["latents"]), ("drift",), [], {}),
    ],
)
def test_what_is_off_is_switched_on_by_asking_and_never_what_the_user_has_switched_off(
    wishes: Wishes, fixed: Sequence[str], taken: list[str], switched: dict[str, int]
) -> None:
    choice = choose(PLAN, wishes, OFF, fixed)
    assert [line.kind for line in choice.lines] == taken
    assert choice.switched_on == switched
    wanted = [line for line in PLAN if wishes.want(line.family)]
    assert [line.kind for line in choice.off] == [one.kind for one in wanted if one.kind not in taken]


def test_a_kind_that_is_never_read_is_named_below_the_table_and_not_hooked() -> None:
    model = transformers.NanoGPT()
    instruments = Instruments(every=dict.fromkeys(EVERY, 0), on_row=lambda row: None)
    watched = instruments.watch(model, families=["all"])
    assert watched.rows == ()
    assert hooks(model) == 0
    assert "Off unless asked for: activations," in str(watched)
    instruments.close(0)


def test_a_family_that_is_off_is_recorded_once_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from foreshock.measure import sites

    monkeypatch.setattr(sites, "EVERY", {**EVERY, "units": 0})
    model = huggingface.LlamaForCausalLM()
    rows = []
    instruments = Instruments(on_row=rows.append)
    assert "plasticity" not in {row.family for row in instruments.watch(model).rows if row.kind == "units"}
    named = instruments.watch(model, families=["plasticity"])
    assert {row.every for row in named.rows if row.kind == "units"} == {ASKED}
    model(transformers.tokens())
    instruments.step(0, 0.0)
    instruments.close(0)
    assert any(spec.statistic == "stream_rms" for row in rows for spec in row.frame.series)


# -- the table ----------------------------------------------------------------------------------------------------------


def test_a_deep_model_is_readable_on_a_hundred_columns() -> None:
    with torch.device("meta"):
        model = huggingface.LlamaForCausalLM(48)
    described = foreshock.describe(model, families=["all"])
    lines = str(described).splitlines()
    assert len(described.rows) > 48 * 3
    assert len(lines) < 50
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["place", "module", "measured", "every", "cost"]
    assert lines[1].split()[:3] == ["model.layers.0…47", "(48)", "LlamaDecoderLayer"]
    assert "10 steps" in lines[1]


def row(place: str, **more: object) -> Watched:
    return Watched(**{"place": place, "module": "Block", "measured": "ranks", "every": 10, **more})


def test_places_share_a_line_when_their_numbers_alone_differ() -> None:
    rows = (
        row("h.0.attn"),
        row("h.0.mlp"),
        row("h.2.attn"),
        row("h.2.mlp", module="Sparse"),
        row("h.10.attn"),
        row("a.0.b.3"),
        row("a.1.b.7"),
        row("norm", every=1),
    )
    lines = str(WatchTable(rows)).splitlines()
    assert [line.split("  ")[0] for line in lines[1:6]] == [
        "h.0…10.attn (3)",
        "h.0.mlp",
        "h.2.mlp",
        "a.0…1.b.3…7 (2)",
        "norm",
    ]
    assert lines[5].split()[-2:] == ["step", "?"]
    assert lines[6] == "8 lines, 0+ series."


def test_long_names_are_shortened_and_long_descriptions_wrapped() -> None:
    described = WatchTable(
        (row("a" * 60 + ".end", module="Start" + "b" * 60, measured="one two three " * 8, series=3),)
    )
    lines = str(described).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("…a")
    assert ".end  Startb" in lines[1]
    assert " ".join(
        word for line in lines[1:-1] for word in line.split() if word in "one two three"
    ).split() == (["one", "two", "three"] * 8)


def test_the_cost_is_what_the_lines_estimate_over_the_forward_pass() -> None:
    described = WatchTable(
        (
            row("a", operations=4e6, values=10, every=10, series=4),
            row("b", operations=0.0, values=2e5, every=1, series=3),
            row("c", every=5, series=1),
        ),
        parameters=1000,
    )
    share = (4e6 / 10 + 2e5) / (2 * 1000 * 4096)
    assert described.share == pytest.approx(share)
    text = str(described)
    assert [line.split("steps")[-1].split()[-2:] for line in text.splitlines()[1:3]] == [
        ["4.9", "%"],
        ["2.4", "%"],
    ]
    assert text.splitlines()[3].endswith("?")
    assert "3 lines, 8 series. Cost is estimated ('?': not): about 7.3 %" in text


def test_widths_are_told_from_names_and_shapes() -> None:
    model = huggingface.GPT2WithValueHead()
    wide = widths(model)
    assert wide["transformer.h.0"] == wide["transformer.ln_f"] == wide["transformer.h.1.attn"] == 24
    assert wide["transformer.h.0.mlp.c_fc"] == 96
    assert widths(feedforward.mlp())["1"] == 16
    assert widths(feedforward.ResNet())["layer1"] == 8
    assert widths(nn.Sequential(nn.Flatten()))["0"] == 0


class Cells(HTMLParser):
    """The text of every cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_a_notebook_shows_the_same_lines() -> None:
    page = Cells()
    page.feed(WatchTable((row("<b>", series=2), row("h.0"), row("h.1")))._repr_html_())
    assert page.cells[:5] == ["place", "module", "measured", "every", "cost"]
    assert page.cells[5:10] == ["<b>", "Block", "ranks", "10 steps", "?"]
    assert page.cells[10] == "h.0…1 (2)"
    assert page.cells[-1].endswith("3 lines, 2+ series.")


# -- printing -----------------------------------------------------------------------------------------------------------


def test_watching_prints_the_table_unless_it_is_to_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with recording() as recorded:
        shown = recorded.run.watch(feedforward.mlp())
        assert capsys.readouterr().out == f"{shown}\n"
        assert recorded.run.watch(feedforward.mlp(), quiet=True) is not None
        assert capsys.readouterr().out == ""


def test_ranks_beyond_the_first_do_not_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with recording(run="shared") as recorded:
        shown = recorded.run.watch(feedforward.mlp())
    assert shown is not None
    assert shown.rows
    assert capsys.readouterr().out == ""


def test_a_wrong_wish_in_the_loop_is_said_and_does_not_reach_it(
    lenient: None, caplog: pytest.LogCaptureFixture
) -> None:
    with recording() as recorded:
        assert recorded.run.watch(feedforward.mlp(), families=["nonsense"]) is None
        watched = recorded.run.watch(feedforward.mlp(), quiet=True)
    assert watched is not None
    assert "families names 'nonsense'; it can name" in caplog.text


def test_the_same_model_watched_again_adds_what_is_new() -> None:
    instruments = Instruments(on_row=lambda row: None)
    watch = functools.partial(instruments.watch, transformers.NanoGPT(2))
    first = watch(families=["representation"])
    again = watch(families=["representation", "plasticity"])
    assert {row.family for row in first.rows} == {"representation"}
    assert {row.family for row in again.rows} == {"plasticity"}
    assert watch(families=["plasticity"]).rows == ()
    instruments.close(0)
