"""Our bugs stop at the guard: counted, said once, and never in the way of the user's own exceptions."""

from __future__ import annotations

import logging

import pytest

from foreshock.guard import faults, guard, say_once


@pytest.mark.usefixtures("lenient")
def test_a_fault_is_swallowed_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with guard("a hook"):
            raise RuntimeError("ours")
    assert faults() == {"a hook": 3}
    assert [record.message for record in caplog.records] == [
        "foreshock: our fault, in a hook; training goes on without this reading, and this is said once"
    ]


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("theirs", [KeyboardInterrupt, SystemExit])
def test_what_is_not_ours_to_eat_passes(theirs: type[BaseException]) -> None:
    with pytest.raises(theirs), guard("a hook"):
        raise theirs
    assert faults() == {}


def test_strict_raises_and_still_counts() -> None:
    with pytest.raises(ValueError, match="ours"), guard("a hook"):
        raise ValueError("ours")
    assert faults() == {"a hook": 1}


def test_what_is_said_once_is_said_once_per_subject(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for subject in ("a", "b", "a"):
            say_once(subject, "about %s", subject)
    assert [record.message for record in caplog.records] == ["foreshock: about a", "foreshock: about b"]
