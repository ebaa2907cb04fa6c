"""The store's bytes in a snapshot: sliced, strict, checked by the hash."""

from __future__ import annotations

import pytest

from raftdb.errors import Corrupt
from raftdb.state.frames import SLICE_BYTES_MAX, Unframer, framed, packed
from raftdb.state.kv.commands import Delete, Put, SetRetention
from raftdb.state.kv.store import KeyValueStore, StoreRestorer
from raftdb.state.kv.values import VERSION_HEADER_BYTES, Retention, version_bytes
from raftdb.state.part import Context

NOW = Context(1, 0)

VERSION = version_bytes(b"000", b"00", 1, 1, 1)


def history() -> KeyValueStore:
    """Return a store with a past."""
    store = KeyValueStore()
    store.apply(NOW, SetRetention(Retention(revisions=3)))
    for n in range(4):
        store.apply(NOW, Put(((b"a", b"%d" % n), (b"b", b""))))
    store.apply(NOW, Delete((b"b",)))
    return store


def restored(stream: bytes, step: int) -> KeyValueStore:
    """Return the store in ``stream``, fed ``step`` bytes at a time."""
    restorer = StoreRestorer()
    for at in range(0, len(stream), step):
        restorer.feed(stream[at : at + step])
    return restorer.finish()


class TestStream:
    """The pieces a stream comes in do not matter; its bytes do."""

    @pytest.mark.parametrize("step", [1, 3, 64, 10_000])
    def test_any_pieces(self, step: int) -> None:
        """Storage and wire may cut it as they like."""
        store = history()
        stream = b"".join(store.pieces())
        assert restored(stream, step).state_hash == store.state_hash

    def test_golden(self) -> None:
        """The layout does not drift."""
        store = KeyValueStore()
        store.apply(NOW, Put(((b"k", b"v"),)))
        assert b"".join(store.pieces()).hex() == (
            "00000031"
            "03" + "0000000000000002" + "0000000000000001"
            "0000000000002710" + "0000000004000000"
            "0174a69e6bdef92642468e972c61a8e5"
            "00000024"
            "0001" + "0000000000000002" * 2 + "0000000000000001" + "0000000000000000" + "6b76"
            "00000001ff"
        )

    def test_cut_off_anywhere_is_corrupt(self) -> None:
        """A snapshot without its end is none."""
        stream = b"".join(history().pieces())
        for end in range(len(stream)):
            with pytest.raises(Corrupt):
                restored(stream[:end], 1_000)

    def test_every_flipped_bit_is_noticed(self) -> None:
        """The header is compared by whoever knows it; versions are under the hash."""
        stream = b"".join(history().pieces())
        original = history()
        for bit in range(8 * len(stream)):
            broken = bytearray(stream)
            broken[bit // 8] ^= 1 << bit % 8
            try:
                store = restored(bytes(broken), 1_000)
            except Corrupt:
                continue
            # Only the header's numbers are left, which the state's own hash covers.
            assert (store.revision, store.compact_revision, store.retention) != (
                original.revision,
                original.compact_revision,
                original.retention,
            )

    def test_a_restored_store_compacts_like_the_original(self) -> None:
        """What is superseded is put back in the order of revisions, not of keys."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(revisions=4)))
        for key in (b"z", b"a", b"z", b"a"):
            store.apply(NOW, Put(((key, b""),)))
        copy = restored(b"".join(store.pieces()), 1_000)
        for one in (store, copy):
            for _ in range(3):
                one.apply(NOW, Put(((b"new", b""),)))
        assert copy.state_hash == store.state_hash

    def test_bytes_after_the_end_are_corrupt(self) -> None:
        """Two snapshots on end are no snapshot."""
        stream = b"".join(history().pieces())
        with pytest.raises(Corrupt):
            restored(stream + framed(b"more"), 1_000)

    @pytest.mark.parametrize("size", [1, 33, VERSION_HEADER_BYTES, VERSION_HEADER_BYTES + 3])
    @pytest.mark.parametrize("key_bytes", [0, 4])
    def test_a_version_without_its_key_is_corrupt(self, size: int, key_bytes: int) -> None:
        """It ends in its header, or before the end of the key that it tells of."""
        header = Unframer().feed(b"".join(history().pieces()))[0]
        version = bytes((0, key_bytes)).ljust(size, b"k")[:size]
        with pytest.raises(Corrupt, match="does not hold its key"):
            restored(framed(header) + framed(version), 1_000)


class TestSlices:
    """Each slice is bounded work and bounded bytes."""

    def test_large_values_are_cut(self) -> None:
        """No slice is larger than a box on the wire takes."""
        store = KeyValueStore()
        store.apply(NOW, Put(((b"a", bytes(1_000_000)), (b"b", b"x"))))
        pieces = list(store.pieces())
        assert max(map(len, pieces)) == SLICE_BYTES_MAX
        assert restored(b"".join(pieces), SLICE_BYTES_MAX).state_hash == store.state_hash

    def test_a_slice_that_finds_nothing_still_says_something(self) -> None:
        """Keys newer than the snapshot are walked over in bounded steps."""
        store = KeyValueStore()
        pieces = store.pieces(keys_max=10)
        store.apply(NOW, Put(tuple((b"%03d" % n, b"") for n in range(100))))
        found = list(pieces)
        assert len(found) > 10
        assert all(found)
        assert restored(b"".join(found), 7).revision == 1

    def test_keys_with_many_versions_are_walked_a_few_at_a_time(self) -> None:
        """A slice is bounded in versions, not in keys alone."""
        store = KeyValueStore()
        for n in range(30):
            store.apply(NOW, Put(tuple((b"%03d" % key, b"%d" % n) for key in range(40))))
        pieces = list(store.pieces(keys_max=10))
        versions = [len(piece) // len(framed(VERSION)) for piece in pieces]
        assert max(versions) < 4 * 10 + 30
        assert restored(b"".join(pieces), 1_000).state_hash == store.state_hash

    def test_what_was_written_since_costs_a_slice_nothing(self) -> None:
        """A key written again and again meanwhile, whose past waits for the snapshot."""
        store = KeyValueStore()
        store.apply(NOW, Put(((b"a", b"0"),)))
        pieces = store.pieces()
        for n in range(100):
            store.apply(NOW, Put(((b"a", b"%d" % n),)))
        assert len(store._history._past) == 100
        for one in store._history._garbage + store._history._retained:
            if one.revision > 2:
                one.replaced.clear()
        stream = b"".join(pieces)
        found = restored(stream, 1_000).get(b"a")
        assert found is not None
        assert found.value == b"0"

    def test_closing_lets_go_of_the_pin(self) -> None:
        """Also when nothing was read."""
        store = history()
        pieces = store.pieces()
        assert store._history._pins
        pieces.close()
        assert not store._history._pins


class TestFrames:
    """Records in a stream."""

    def test_packed_pieces_are_bounded_and_come_back(self) -> None:
        """Whatever the sizes of the records."""
        records = [b"x" * size for size in (1, 100_000, 3, 70_000)]
        pieces = list(packed(iter(records)))
        assert max(map(len, pieces)) <= SLICE_BYTES_MAX
        stream = Unframer()
        assert [record for piece in pieces for record in stream.feed(piece)] == records
        assert stream.is_empty
