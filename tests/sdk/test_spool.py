"""The spool keeps what it is given, in order, through full disks and other processes; it is bounded, and counts what it drops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foreshock.losses import Losses
from foreshock.spool.folder import Folder, Reader, folders_below, highest_attempt
from foreshock.spool.segment import MAGIC, Kind, Record
from foreshock.spool.spool import RETRY_DISK_SECONDS, Spool

OPEN = Record(Kind.OPEN, b'{"url": "", "body": {}}')
FRAMES = Record(Kind.FRAMES, b"\x90")


def block(seq: int, size: int = 100, readings: int = 10) -> Record:
    return Record(Kind.BLOCK, bytes([seq % 256]) * size, seq, readings)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.of(tmp_path / "spool", "run", 1, "r0-abcdef")


def seqs(records: list[Record]) -> list[int]:
    return [record.seq for record in records if record.kind is Kind.BLOCK]


def everything(spool: Spool) -> list[Record]:
    found: list[Record] = []
    while records := spool.read():
        found += records
    return found


def test_records_come_out_as_they_went_in(folder: Folder) -> None:
    spool = Spool(folder, Losses())
    written = [OPEN, FRAMES, *(block(seq) for seq in range(1, 6))]
    for record in written:
        spool.append(record)
    assert everything(spool) == written
    spool.append(block(6))
    assert everything(spool) == [block(6)]


def test_without_a_folder_it_works_the_same(folder: Folder) -> None:
    spool = Spool(None, Losses())
    for record in (OPEN, block(1), block(2)):
        spool.append(record)
    assert everything(spool) == [OPEN, block(1), block(2)]
    spool.acknowledge(1)
    spool.append(block(3))
    assert everything(spool) == [block(3)]
    assert spool.where is None


def test_each_file_begins_with_what_describes_its_blocks(folder: Folder) -> None:
    spool = Spool(folder, Losses(), max_bytes=2**16)
    for record in (OPEN, FRAMES, *(block(seq, 3000) for seq in range(1, 8))):
        spool.append(record)
    paths = folder.segments()
    assert len(paths) > 1
    for path in paths:
        assert path.read_bytes().startswith(MAGIC + OPEN.encoded + FRAMES.encoded)


def test_a_full_spool_drops_its_oldest_readings_and_counts_them(folder: Folder) -> None:
    losses = Losses()
    spool = Spool(folder, losses, max_bytes=2**16)
    for record in (OPEN, *(block(seq, 3000) for seq in range(1, 61))):
        spool.append(record)
    kept = seqs(everything(spool))
    assert kept == list(range(kept[0], 61))
    assert losses.by_reason() == {"spool full": 10 * (kept[0] - 1)}
    assert sum(path.stat().st_size for path in folder.segments()) <= 2**16


def test_what_was_delivered_is_no_loss_when_it_is_dropped(folder: Folder) -> None:
    losses = Losses()
    spool = Spool(folder, losses, max_bytes=2**16)
    for seq in range(1, 200):
        spool.append(block(seq, 3000))
        spool.acknowledge(seq)
    assert losses.total == 0
    assert folder.acknowledged == 199
    assert len(folder.segments()) == 1


def test_a_spool_emptied_by_another_process_makes_room_without_loss(folder: Folder) -> None:
    losses = Losses()
    spool = Spool(folder, losses, max_bytes=2**16)
    for seq in range(1, 16):
        spool.append(block(seq, 3000))
    Folder(folder.path).acknowledge(15)  # as `foreshock sync` does
    for seq in range(16, 30):
        spool.append(block(seq, 3000))
    assert losses.total == 0


def test_while_the_disk_is_away_memory_keeps_the_readings_and_the_disk_gets_them_later(
    folder: Folder,
) -> None:
    blocked = folder.path.parents[1]
    blocked.write_text("a file where the spool should be")
    losses, clock = Losses(), Clock()
    spool = Spool(folder, losses, clock=clock)
    for record in (OPEN, FRAMES, block(1), block(2)):
        spool.append(record)
    assert spool.where is None
    assert seqs(everything(spool)) == [1, 2]
    spool.acknowledge(1)
    blocked.unlink()
    spool.append(block(3))
    assert spool.where is None, "the disk is not tried again at once"
    clock.now += RETRY_DISK_SECONDS
    spool.append(block(4))
    assert spool.where == folder.path
    assert seqs(Reader(folder).read(complete=True)) == [2, 3, 4]
    assert seqs(everything(spool)) == [3, 4], "the sender has read 2 already"
    assert losses.total == 0


def test_memory_is_bounded_too_and_counts_what_it_drops() -> None:
    losses = Losses()
    spool = Spool(None, losses, max_bytes=2**16)
    for seq in range(1, 100):
        spool.append(block(seq, 3000))
    kept = seqs(everything(spool))
    assert kept == list(range(kept[0], 100))
    assert losses.by_reason() == {"no disk, memory full": 10 * (kept[0] - 1)}


def test_a_write_that_failed_halfway_leaves_no_trace(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(folder, Losses(), clock=Clock())
    spool.append(block(1))
    real = os.write

    def half(file: int, data: bytes) -> int:
        if len(data) > 60:
            return real(file, data[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    spool.append(block(2))
    monkeypatch.undo()
    reader = Reader(folder)
    assert seqs(reader.read(complete=True)) == [1]
    assert reader.damaged == 0
    assert seqs(everything(spool)) == [1, 2]
    assert spool.give_up() == 10


def test_what_cannot_be_read_for_a_while_is_not_overtaken(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, Losses(), clock=Clock())
    spool.append(block(1))
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda *_: _raise(OSError(5, "Input/output error")))
        spool.append(block(2))
        broken.setattr(Path, "open", lambda *_, **__: _raise(OSError(5, "Input/output error")))
        assert spool.read() == []
    assert seqs(everything(spool)) == [1, 2]


def _raise(error: Exception) -> None:
    raise error


def test_many_descriptions_do_not_crowd_out_the_readings(folder: Folder) -> None:
    spool = Spool(folder, Losses(), max_bytes=2**17)
    spool.append(Record(Kind.FRAMES, b"\x90" * 40_000))  # larger than a file's share of records
    for seq in range(1, 40):
        spool.append(block(seq, 3000))
    kept = seqs(everything(spool))
    assert kept == list(range(kept[0], 40))
    assert len(kept) >= 8


def test_a_torn_tail_and_a_broken_middle_cost_only_what_they_hit(folder: Folder) -> None:
    spool = Spool(folder, Losses())
    for seq in range(1, 6):
        spool.append(block(seq))
    spool.release()
    (path,) = folder.segments()
    data = bytearray(path.read_bytes())
    data[len(MAGIC) + len(block(1).encoded) + 60] ^= 0xFF  # in the payload of block 2
    path.write_bytes(bytes(data[:-7]))
    reader = Reader(Folder(folder.path))
    assert seqs(reader.read(complete=True)) == [1, 3, 4]
    assert reader.damaged == 20


def test_damage_is_counted_by_the_writer_that_meets_it(folder: Folder) -> None:
    losses = Losses()
    spool = Spool(folder, losses)
    for seq in range(1, 4):
        spool.append(block(seq))
    (path,) = folder.segments()
    with path.open("r+b") as file:
        file.seek(len(MAGIC) + 60)
        file.write(b"\0")
    assert seqs(everything(spool)) == [2, 3]
    assert losses.by_reason() == {"spool damaged": 10}


def test_a_file_without_its_beginning_is_still_searched(folder: Folder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "00000001.seg").write_bytes(b"\0" * 12 + block(7).encoded)
    assert seqs(Reader(folder).read(complete=True)) == [7]


def test_only_one_process_holds_the_folder(folder: Folder) -> None:
    spool = Spool(folder, Losses())
    spool.append(block(1))
    code = f"import sys; from pathlib import Path; from foreshock.spool.folder import Folder; sys.exit(Folder(Path({str(folder.path)!r})).lock())"
    other = [sys.executable, "-c", code]
    assert subprocess.run(other, check=False).returncode == 0, "it got no lock while we hold it"
    spool.release()
    assert subprocess.run(other, check=False).returncode == 1


def test_a_delivered_folder_leaves_a_tombstone_that_counts_the_attempt(
    folder: Folder, tmp_path: Path
) -> None:
    spool = Spool(folder, Losses())
    spool.append(block(1))
    root = tmp_path / "spool"
    assert highest_attempt(root, "run", 0) == 1
    spool.acknowledge(1)
    spool.discard()
    assert [path.name for path in (root / "run").iterdir()] == ["1-r0-abcdef.done"]
    assert highest_attempt(root, "run", 0) == 1
    assert highest_attempt(root, "run", 3) == 0, "another rank counts its own"
    assert highest_attempt(root, "other", 0) == 0
    assert list(folders_below(root)) == []


def test_a_refused_block_outlives_the_folder(folder: Folder) -> None:
    losses = Losses()
    spool = Spool(folder, losses)
    spool.append(block(1))
    where = spool.refuse(block(1), {"status": 422, "field": "rows[0]"})
    spool.acknowledge(1)
    spool.discard()
    assert where == str(folder.path / "rejected")
    assert (folder.path / "rejected" / "0000000001.block").read_bytes() == block(1).payload
    assert '"field": "rows[0]"' in (folder.path / "rejected" / "0000000001.json").read_text()
    assert losses.by_reason() == {"refused by the server": 10}
    assert [found.path for found in folders_below(folder.path.parents[1])] == [folder.path]
