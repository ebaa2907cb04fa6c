"""The bytes on the disk, read by hand as docs/storage.md tells them, and pinned."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from raftdb.codec import encode_entries, encode_hard_state, encode_member_id
from raftdb.errors import RemoteProtocolError
from raftdb.raft.types import ZERO, EntryID, HardState, SnapshotMetadata
from raftdb.simulation.disk.storage_fixture import (
    CONF_STATE,
    IDENTITY,
    StorageFixture,
    entries_of,
    metadata_at,
    save,
    take_snapshot,
)
from raftdb.storage import batch
from raftdb.storage.record import Record, decode_record, encode_record
from raftdb.storage.replay import Replay

SALT = bytes(range(16))
CHAIN = bytes(range(100, 116))
PLACE = batch.Place(segment=3, offset=4096, sequence=77)


def encoded(payload: bytes, place: batch.Place = PLACE) -> bytes:
    image, _ = batch.encode(
        payload, kind=batch.Kind.SAVE, place=place, first=5, last=9, salt=SALT, chain=CHAIN
    )
    return image


def bits_in(content: bytes) -> int:
    return int.from_bytes(content).bit_count()


class TestABatch:
    """The framing of one batch."""

    def test_byte_by_byte(self) -> None:
        """Two sectors: header, payload, padding, a mark, an end mark."""
        image = encoded(b"\x07" * 500)
        assert len(image) == 1024
        assert image[:4] == b"rdbB"
        assert tuple(image[4:6]) == (1, 1)
        assert unpack_from(">HIIQQQQQ", image, 6) == (0, 2, 500, 3, 4096, 77, 5, 9)
        stream = image[:511] + image[512:1016]
        assert image[511] == 0xA5
        assert stream[80:580] == b"\x07" * 500
        assert not any(stream[580:])
        digest = blake2b(image[:56], digest_size=16, key=CHAIN)
        digest.update(stream[80:])
        assert image[56:72] == digest.digest()
        assert image[72:80] == blake2b(image[:72], digest_size=8, key=SALT).digest()
        mark = int.from_bytes(SALT[:8]) ^ (77 * 0x9E3779B97F4A7C15 % 2**64)
        assert image[1016:] == bytes(byte | 0x24 for byte in mark.to_bytes(8))

    @given(st.integers(0, 4000), st.integers(0, 2**40), st.sampled_from([0, 255, 1]))
    def test_no_sector_has_fewer_than_two_bits(self, size: int, sequence: int, fill: int) -> None:
        """Nor any byte of an end mark; whatever the values are."""
        image = encoded(bytes((fill,)) * size, PLACE._replace(sequence=sequence))
        assert len(image) == batch.extent_for(size)
        for at in range(0, len(image), 512):
            assert bits_in(image[at : at + 512]) >= 2
        assert all(byte.bit_count() >= 2 for byte in image[-8:])

    @given(st.binary(max_size=3000))
    def test_gives_back_its_payload(self, payload: bytes) -> None:
        """In its place, with its salt and its chain; not with another chain."""
        place = PLACE._replace(offset=512)
        image = bytes(512) + encoded(payload, place) + bytes(512)
        header = batch.read_header(image, 512, SALT)
        assert header is not None
        assert header.place == place
        assert (header.first, header.last) == (5, 9)
        assert batch.read_payload(image, header, salt=SALT, chain=CHAIN) == payload
        assert batch.read_payload(image, header, salt=SALT, chain=SALT) is None
        assert batch.read_header(image, 512, CHAIN) is None

    def test_takes_no_more_sectors_than_it_needs(self) -> None:
        """511 bytes of the stream fit into a sector, 504 into the last."""
        assert batch.sectors_for(0) == 1
        assert batch.sectors_for(504 - 80) == 1
        assert batch.sectors_for(504 - 80 + 1) == 2
        assert batch.sectors_for(511 + 504 - 80) == 2
        assert batch.sectors_for(511 + 504 - 80 + 1) == 3


class TestASegment:
    """A whole file, from its first byte to its last."""

    def test_byte_by_byte(self) -> None:
        """Header, two batches chained to it, zeros."""
        bench = StorageFixture(Random(1))
        storage = bench.begin()
        save(storage, entries_of(1, b"a"))
        save(storage, entries_of(2, b"b"), commit=1)
        image = bench.disk.contents(bench.segments()[0])
        fields = unpack_from(">8sHI16sQQQ16s16sQQHH", image)
        member, hard_state = encode_member_id(IDENTITY.member), encode_hard_state(HardState())
        assert fields[:4] == (b"raftdbW\n", 1, 0, IDENTITY.cluster_id.to_bytes(16))
        assert fields[4:7] == (1, len(image), 1)
        assert fields[8:] == (bytes(16), 0, 0, len(member), len(hard_state))
        assert image[106:].startswith(member + hard_state)
        header_digest = blake2b(image[:4080], digest_size=16).digest()
        assert image[4080:4096] == header_digest
        first, second = image[4096:4608], image[4608:5120]
        for sector, chain in ((first, header_digest), (second, first[56:72])):
            digest = blake2b(sector[:56], digest_size=16, key=chain)
            digest.update(sector[80:504])
            assert sector[56:72] == digest.digest()
        payload = second[80 : 80 + unpack_from(">I", second, 12)[0]]
        state = encode_hard_state(HardState(1, IDENTITY.member, 1))
        assert payload == b"".join(
            (
                b"\x01",
                len(state).to_bytes(4),
                state,
                bytes(4),
                encode_entries(entries_of(2, b"b")),
            )
        )
        assert not any(image[5120:])

    def test_is_pinned(self) -> None:
        """If this fails the format has changed: raise its number, and keep reading the old one."""
        bench = StorageFixture(Random(1))
        storage = bench.begin()
        save(storage, entries_of(1, b"a" * 600, b""), vote=None)
        save(storage, commit=2)
        take_snapshot(storage, 2)
        image = bench.disk.contents(bench.segments()[0])
        assert blake2b(image, digest_size=16).hexdigest() == "62852bb191a3ea298e38dc257617561f"
        path = f"{bench.path}/snapshots/{bench.snapshot_names()[0]}"
        assert bench.snapshot_names() == [f"{2:016d}-{1:016d}.snapshot"]
        snapshot = bench.disk.contents(path)
        assert blake2b(snapshot, digest_size=16).hexdigest() == "2765464840a5ace1a408f836a538ccc7"
        identity = bench.disk.contents(f"{bench.path}/identity")
        assert blake2b(identity, digest_size=16).hexdigest() == "b4cbe7d88e94d6f48d063aa613987e73"


class TestARecord:
    """The payload of a batch."""

    def test_comes_back(self) -> None:
        """With every part, and with none."""
        for record in (
            Record(None),
            Record(HardState(3, IDENTITY.member, 2)),
            Record(HardState(3), metadata_at(9), entries_of(10, b"", b"x")),
        ):
            assert decode_record(encode_record(record)) == record

    def test_an_unknown_format_is_refused(self) -> None:
        """Or one that is cut off."""
        whole = encode_record(Record(HardState(3, IDENTITY.member, 2)))
        for payload in (b"", b"\x02" + whole[1:], whole[:3], whole[:12]):
            try:
                decode_record(payload)
            except RemoteProtocolError:
                continue
            raise AssertionError(payload)


class TestReplay:
    """What the records amount to."""

    def test_an_install_drops_a_tail_of_another_history(self) -> None:
        """Only if the entry at the snapshot's index has its term the rest survives [R23]."""
        replay = Replay()
        replay.apply(Record(HardState(2), None, entries_of(1, *[b"x"] * 9, term=2)))
        replay.apply(Record(HardState(3, None, 5), metadata_at(5, term=3)))
        assert replay.entries == []
        assert replay.last == EntryID(3, 5)

    def test_an_install_keeps_a_tail_of_its_own_history(self) -> None:
        """It was acknowledged, and by Log Matching it belongs there."""
        replay = Replay()
        replay.apply(Record(HardState(2), None, entries_of(1, *[b"x"] * 9, term=2)))
        replay.apply(Record(HardState(3, None, 5), metadata_at(5, term=2)))
        assert [entry.index for entry in replay.entries] == [6, 7, 8, 9]

    def test_a_gap_is_refused(self) -> None:
        """Entries follow one another."""
        replay = Replay()
        replay.apply(Record(HardState(2), None, entries_of(1, b"x")))
        try:
            replay.apply(Record(HardState(2), None, entries_of(3, b"x")))
        except RemoteProtocolError:
            return
        raise AssertionError("the gap was not seen")

    def test_what_was_cut_back_below_the_first_kept_segment(self) -> None:
        """The term before it is unknown, so the log begins one entry later."""
        replay = Replay(EntryID(5, 60))
        replay.apply(Record(HardState(6), None, entries_of(40, *[b"x"] * 50, term=6)))
        snapshot = SnapshotMetadata(EntryID(6, 70), CONF_STATE)
        assert replay.usable([snapshot]) == [snapshot]
        log = replay.storage([snapshot])
        assert (log.first_index(), log.term(40), log.last_index()) == (41, 6, 89)

    def test_the_commit_index_covers_the_snapshot(self) -> None:
        """It may have been lost, but what the own state holds was committed."""
        replay = Replay()
        replay.apply(Record(HardState(2, None, 1), None, entries_of(1, *[b"x"] * 9)))
        snapshot = metadata_at(5)
        hard_state, conf_state = replay.storage([snapshot]).initial_state()
        assert hard_state == HardState(2, None, 5)
        assert conf_state == CONF_STATE

    def test_a_snapshot_beyond_the_log_is_not_used(self) -> None:
        """It was received and never installed; the same index with another term is no better."""
        replay = Replay(ZERO)
        replay.apply(Record(HardState(2), None, entries_of(1, *[b"x"] * 9)))
        assert replay.usable([metadata_at(10), metadata_at(9, term=2)]) == []
