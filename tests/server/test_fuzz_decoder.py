"""Whatever bytes come, the decoder takes or refuses them: nothing else is raised, nothing hangs, and memory stays within the bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.decoding import heaviest
from tests.server.mutations import MSGPACK, attack

from foreshock_server.errors import MalformedBlock
from foreshock_server.ingest import decode

SEEDS = int(os.environ.get("FORESHOCK_TEST_FUZZ", "1500"))
LIMIT = 16 * 2**20  # the default of FORESHOCK_MAX_BLOCK_BYTES
BOUND = 10 * LIMIT  # what one body may make the process grow by, as telemetry/README.md states it
ROOT = Path(__file__).parents[2]


def run(seeds: int, bound: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.server.decoding", str(seeds), str(bound), str(LIMIT)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False)


def test_no_body_breaks_the_decoder_or_makes_it_grow_beyond_its_bound():
    ended = run(SEEDS, BOUND)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["taken"] > SEEDS / 20  # else the mutations only ever try the first check
    assert told["refused"] > SEEDS / 2
    assert told["grown"] <= BOUND


def test_the_bound_would_be_noticed():
    ended = run(0, 16 * 2**20)
    assert ended.returncode == 1
    assert "MemoryError" in ended.stderr


def test_a_seed_makes_the_same_request_everywhere():
    assert attack(7) == attack(7)
    assert len({attack(seed).body for seed in range(50)}) > 45


@pytest.mark.parametrize("name", ["texts of two letters", "integers", "doubles"])
def test_entries_are_counted_over_all_lists(name):
    body = heaviest(LIMIT)[name]
    with pytest.raises(MalformedBlock, match="entries of maps and lists"):
        decode.parse(decode.decompress(body.body, "", LIMIT), MSGPACK, LIMIT)
