"""One message when an incident begins and one when it is over, whatever silences, inhibits, storms and repeats in between."""

from __future__ import annotations

import pytest

from foreshock_server.models import Delivery, Run
from foreshock_server.store import digests
from foreshock_server.store.removal import remove_some
from foreshock_server.store.runs import delete_run
from foreshock_server.store.telling import LOOK_AGAIN

pytestmark = pytest.mark.usefixtures("channel")


def test_rules_of_one_family_are_one_incident_and_one_message(world):
    world.says("entropy/a!")
    world.says("entropy/b!", "entropy/c!")
    world.says("entropy/a.", "entropy/c.")
    assert world.told() == ["ops: fired a"]
    world.now += 1
    world.says("entropy/b.")
    assert world.told() == ["ops: fired a", "ops: resolved a"]
    [incident] = world.incidents()
    assert (incident.state, incident.rules, incident.firing) == ("resolved", ["a", "b", "c"], [])


def test_other_families_are_other_incidents_and_numbers_go_on(world):
    world.says("entropy/a!", "rank/b!")
    world.says("rank/b.")
    world.says("rank/b!")
    assert [(one.number, one.family, one.state) for one in world.incidents()] == [
        (1, "entropy", "open"),
        (2, "rank", "resolved"),
        (3, "rank", "open"),
    ]
    assert sorted(world.told()) == ["ops: fired a", "ops: fired b", "ops: fired b", "ops: resolved b"]


def test_a_critical_rule_that_joins_a_warning_is_told_once_more(world):
    world.says("f/a!")
    world.says("f/B!")
    world.says("f/C!")
    assert world.told() == ["ops: fired a", "ops: escalated b"]
    assert world.incidents()[0].severity == "critical"


def test_what_grows_critical_is_told_where_the_rule_asks_for_it_or_the_channel_knows_of_nothing(world):
    world.channel("pager", matches={"severity": "critical"})
    world.says("f/a!", "g/b!")
    world.now += 1
    world.says("f/a^")
    assert world.told()[2:] == ["pager: escalated a"]
    world.now += 1
    world.says("g/b^^")
    assert world.told()[3:] == ["ops: escalated b", "pager: escalated b"]
    world.now += 1
    world.says("f/a.", "g/b.")
    assert world.told()[5:] == [
        "ops: resolved a",
        "pager: resolved a",
        "ops: resolved b",
        "pager: resolved b",
    ]


def test_a_storm_is_one_message_and_its_end_another(world):
    families = [f"f{number}" for number in range(50)]
    world.says(*(f"{family}/r{number}!" for number, family in enumerate(families)))
    assert world.told() == ["ops: fired r0"]
    world.says(*(f"{family}/r{number}." for number, family in enumerate(families)))
    assert sorted(world.told()) == ["ops: fired r0", "ops: resolved r0"]
    assert [one.family for one in world.incidents()] == ["several families"]


def test_a_storm_that_comes_bit_by_bit_is_told_until_it_is_one(world):
    for number in range(20):
        world.says(f"f{number}/r{number}!")
        world.now += 1
    assert world.told() == ["ops: fired r0", "ops: fired r1", "ops: fired r2", "ops: fired r3"]
    assert len(world.incidents()) == 4


def test_families_that_begin_far_apart_are_no_storm(world):
    for number in range(6):
        world.says(f"f{number}/r{number}!")
        world.now += 61
    assert len(world.told()) == 6


@pytest.mark.parametrize(
    "matches",
    [
        {"rule": "a"},
        {"rule": "*"},
        {"project": "p", "run": "brisk-*", "family": "f", "place": "layer.?", "severity": "warning"},
        {"run": "run-1", "statistic": "stat_f", "labels": {"rank": "0"}},
    ],
)
def test_what_a_silence_fits_is_not_told_and_its_end_neither(world, matches):
    world.silence(**matches)
    world.says("f/a@layer.1!", labels={"rank": "0"})
    assert world.told() == []
    assert world.incidents()[0].muted.startswith("silence ")
    world.says("f/a@layer.1.")
    assert world.told() == []
    assert world.incidents()[0].state == "resolved"


@pytest.mark.parametrize(
    "matches",
    [
        {"rule": "b"},
        {"place": "layer"},
        {"labels": {"rank": "1"}},
        {"labels": {"node": "*"}},
        {"project": "P"},
    ],
)
def test_a_silence_that_does_not_fit_mutes_nothing(world, matches):
    world.silence(**matches)
    world.says("f/a@layer.1!", labels={"rank": "0"})
    assert world.told() == ["ops: fired a"]


def test_a_silence_of_another_project_mutes_nothing(world):
    world.silence(project="q", rule="*")
    world.says("f/a!")
    assert world.told() == ["ops: fired a"]


def test_what_still_goes_on_when_the_silence_ends_is_told_then(world):
    world.silence(seconds=100, rule="a")
    world.says("f/a!")
    world.later(50)
    assert world.told() == []
    world.later(51)
    world.later(51)
    assert world.told() == ["ops: fired a"]
    assert world.incidents()[0].muted is None
    world.now += 1
    world.says("f/a.")
    assert world.told() == ["ops: fired a", "ops: resolved a"]


def test_a_silence_that_is_taken_back_mutes_no_longer(world):
    silence = world.silence(rule="a")
    world.says("f/a!")
    world.end(silence)
    assert world.later(LOOK_AGAIN) == 1
    assert world.told() == ["ops: fired a"]


def test_another_rule_of_the_family_that_no_silence_fits_is_told_of(world):
    world.silence(rule="a")
    world.says("f/a!")
    world.says("f/b!")
    assert world.told() == ["ops: fired b"]
    world.now += 1
    world.says("f/b.")
    assert world.told() == ["ops: fired b"], "a goes on"
    world.says("f/a.")
    assert world.told() == ["ops: fired b", "ops: resolved b"]


def test_a_silence_made_later_does_not_keep_back_the_end(world):
    world.says("f/a!")
    world.silence(rule="*")
    world.now += 1
    world.says("f/a.")
    assert world.told() == ["ops: fired a", "ops: resolved a"]


def test_what_follows_from_numbers_that_are_lost_is_not_told(world):
    world.says("training/n!!")
    world.says("entropy/a!", "rank/b!")
    assert world.told() == ["ops: fired n"]
    assert [one.muted for one in world.incidents()] == [None, "incident 1", "incident 1"]
    world.says("entropy/a.")
    world.now += 1
    world.says("training/n.")
    assert sorted(world.told()[1:]) == ["ops: fired b", "ops: resolved n"], "b goes on, a is over"


def test_what_was_told_before_goes_on_when_numbers_are_lost(world):
    world.says("entropy/a!")
    world.says("training/n!!")
    world.now += 1
    world.says("entropy/a.")
    assert world.told() == ["ops: fired a", "ops: fired n", "ops: resolved a"]


def test_a_channel_gets_what_it_is_for(world):
    world.channel("mine", project="p")
    world.channel("theirs", project="q")
    world.channel("off", enabled=False)
    world.channel("entropy", matches={"family": "entropy"})
    world.channel("node-3", matches={"labels": {"node": "3"}})
    world.says("entropy/a!", labels={"node": "3"})
    world.says("rank/b!", labels={"node": "4"})
    to = {(one.split(":")[0], one.split()[-1]) for one in world.told()}
    assert to == {("ops", "a"), ("mine", "a"), ("entropy", "a"), ("node-3", "a"), ("ops", "b"), ("mine", "b")}


def test_what_nobody_acknowledges_goes_to_the_second_channel_once(world):
    world.channel("boss", after_seconds=900.0)
    world.says("f/a!")
    world.later(899)
    assert world.told() == ["ops: fired a"]
    world.later(1)
    world.later(1000)
    assert world.told() == ["ops: fired a", "boss: fired a"]
    world.says("f/a.")
    assert world.told()[2:] == ["boss: resolved a", "ops: resolved a"]


def test_the_second_channel_hears_nothing_of_what_is_acknowledged_or_over(world):
    world.channel("boss", after_seconds=900.0)
    world.says("f/a!", "g/b!")
    world.later(100)
    world.acknowledge(1)
    world.says("g/b.")
    world.later(1000)
    assert not any(one.startswith("boss") for one in world.told())
    world.says("f/a.")
    assert world.told()[-1] == "ops: resolved a"


def test_it_is_said_again_until_somebody_acknowledges_it(world, database):
    world.channel("loud", repeat_seconds=600.0)
    world.says("f/a!")
    for _ in range(3):
        with database.writing() as session:  # what waits is delivered
            for one in session.query(Delivery):
                one.state = "delivered"
        world.later(600)
    assert world.told() == ["loud: fired a", "ops: fired a", *["loud: repeated a"] * 3]
    world.acknowledge()
    assert world.later(6000) == 0
    assert len(world.told()) == 5


def test_reminders_do_not_pile_up_at_a_receiver_that_is_down_nor_for_a_run_that_is_quiet(world):
    world.channel("loud", repeat_seconds=600.0)
    world.says("f/a!")
    for _ in range(5):
        world.later(600)
    assert world.told().count("loud: repeated a") == 0, "the firing itself still waits"
    world.says("g/b!")
    world.later(7200)
    assert "loud: repeated b" not in world.told()


def test_looking_twice_or_anew_changes_nothing(world):
    world.channel("boss", after_seconds=60.0)
    world.says("f/a!")
    world.later(60)
    before = world.told()
    for _ in range(3):
        world.later(0)
        world.later(600)
    assert world.told() == before


def test_a_digest_takes_what_was_collected_as_one_message(world, database):
    world.channel("daily", digest_seconds=3600.0, matches={"family": "d"})
    world.says("d/a!")
    world.now += 1800
    world.says("d/a.")
    assert deliveries(database, "daily") == [("fired", "collected"), ("resolved", "collected")]
    world.later(1799)
    assert len(deliveries(database, "daily")) == 2
    world.later(1)
    world.later(3600)
    assert deliveries(database, "daily") == [
        ("digest", "waiting"),
        ("fired", "collected"),
        ("resolved", "collected"),
    ]


def test_a_digest_outlives_the_run_that_it_travels_under(world, another, database):
    collect_of_two(world, another)
    [digest] = [one for one in waiting(database, "daily") if one.kind == "digest"]
    assert (digest.run_id, digest.rule) == ("run-1", "a")
    with database.writing() as session:
        delete_run(session, "run-1", world.now)
    while cleaned(database):
        pass
    [carried] = waiting(database, "daily")
    assert (carried.id, carried.kind, carried.run_id, carried.rule) == (digest.id, "digest", "run-2", "b")
    with database.reading() as session:
        assert [part.delivery.rule for part in digests.parts(session, digest.id)] == ["b"]
    with database.writing() as session:
        delete_run(session, "run-2", world.now)
    assert waiting(database, "daily") == [], "there is nothing left to say"


def test_a_digest_that_is_made_while_its_run_is_deleted_is_not_cleaned_up_with_it(world, another, database):
    collect_of_two(world, another)
    with database.writing() as session:  # on PostgreSQL the deletion does not see what is not yet committed
        session.get_one(Run, "run-1").deleted_at = world.now
    while cleaned(database):
        pass
    assert [(one.kind, one.run_id) for one in waiting(database, "daily")] == [("digest", "run-2")]


def test_one_message_alone_goes_as_what_it_is(world, database):
    world.channel("daily", digest_seconds=3600.0)
    world.says("f/a!")
    world.later(3600)
    assert deliveries(database, "daily") == [("fired", "waiting")]


def collect_of_two(world, another):
    """A digest of two runs that is due."""
    world.channel("daily", digest_seconds=3600.0, matches={"family": "d"})
    world.says("d/a!")
    another.now = world.now = world.now + 60
    another.says("d/b!")
    world.later(3600)


def waiting(database, channel):
    with database.reading() as session:
        return session.query(Delivery).filter_by(channel_id=channel, state="waiting").all()


def cleaned(database):
    with database.writing() as session:
        return remove_some(session, "run-1")


def deliveries(database, channel):
    with database.reading() as session:
        rows = session.query(Delivery).filter_by(channel_id=channel)
        return sorted((one.kind, one.state) for one in rows)


def test_nobody_is_told_of_a_run_in_the_trash_until_it_comes_back(world):
    with world.database.writing() as session:
        session.get_one(Run, world.run).trashed_at = world.now
    world.says("f/a!")
    assert world.told() == []
    assert world.incidents()[0].muted == "trash"
    with world.database.writing() as session:
        session.get_one(Run, world.run).trashed_at = None
    world.later(LOOK_AGAIN)
    assert world.told() == ["ops: fired a"]
