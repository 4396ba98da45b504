"""Whatever happens to the bytes of a spool file, every record that is still whole is read, in order, and no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foreshock.spool.segment import Kind, Record, parse

records = st.lists(
    st.builds(
        Record,
        st.sampled_from(Kind),
        st.binary(max_size=60) | st.just(Record(Kind.BLOCK, b"a record in a record", 9, 1).encoded),
        st.integers(0, 2**40),
        st.integers(0, 50),
    ),
    max_size=6,
)


@given(records)
def test_what_was_written_is_read(written: list[Record]) -> None:
    data = b"".join(record.encoded for record in written)
    parsed = parse(data, complete=True)
    assert (list(parsed.records), parsed.end, parsed.damaged) == (written, len(data), 0)


@given(records, st.data())
def test_a_file_torn_at_any_byte_yields_every_whole_record(
    written: list[Record], data: st.DataObject
) -> None:
    whole = b"".join(record.encoded for record in written)
    torn = whole[: data.draw(st.integers(0, len(whole)))]
    ends, end = [], 0
    for record in written:
        end += len(record.encoded)
        ends.append(end)
    expected = [record for record, end in zip(written, ends, strict=True) if end <= len(torn)]
    growing, final = parse(torn, complete=False), parse(torn, complete=True)
    assert list(growing.records)[: len(expected)] == expected
    assert growing.damaged == 0 or len(growing.records) > len(
        expected
    )  # the torn payload may hold a record itself
    assert list(final.records)[: len(expected)] == expected
    assert (final.damaged > 0) == (len(torn) not in (0, *ends))


@given(records.filter(bool), st.data())
def test_a_flipped_bit_costs_the_record_it_hit_and_no_other(
    written: list[Record], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(record.encoded for record in written))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    end, hit = 0, 0
    for index, record in enumerate(written):
        end += len(record.encoded)
        if position < end:
            hit = index
            break
    read = list(parse(bytes(whole), complete=True).records)
    inner = Record(Kind.BLOCK, b"a record in a record", 9, 1)
    survivors = written[:hit] + written[hit + 1 :]
    assert [record for record in read if record != inner] == [
        record for record in survivors if record != inner
    ]


@given(st.binary(max_size=400))
def test_noise_is_no_record(noise: bytes) -> None:
    parsed = parse(noise, complete=True)
    assert parsed.records == ()
    assert parsed.end == len(noise)
    assert parsed.damaged >= bool(noise)


def test_a_broken_record_still_says_how_many_readings_it_held() -> None:
    broken = bytearray(Record(Kind.BLOCK, b"x" * 100, 1, 42).encoded)
    broken[-1] ^= 1
    assert parse(bytes(broken) + Record(Kind.CLOSE, b"{}").encoded, complete=False).damaged == 42


def test_an_unfinished_tail_of_a_growing_file_is_read_when_it_is_finished() -> None:
    first, second = Record(Kind.BLOCK, b"one", 1, 1), Record(Kind.BLOCK, b"two", 2, 1)
    data = first.encoded + second.encoded
    early = parse(data[:-1], complete=False)
    assert early.records == (first,)
    assert parse(data[early.end :], complete=False).records == (second,)
