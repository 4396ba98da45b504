"""Instruments for what is read when an optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sdk.recorded import Recorded

from foreshock.config import EVERY

KINDS = ("optimiser", "moments", "gradients", "noise")


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded(dict.fromkeys(EVERY, 0) | dict.fromkeys(KINDS, 1))
    yield made
    made.instruments.close(0)
