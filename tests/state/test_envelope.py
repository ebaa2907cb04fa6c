"""The envelope around every command: fixed bytes, and strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import RemoteProtocolError
from raftdb.state import Envelope, Machine, Session, decode_envelope, encode_envelope


class TestEnvelope:
    """Format, machine, flags, time, session, body."""

    def test_golden(self) -> None:
        """The layout does not drift."""
        plain = encode_envelope(Machine.MEMBERS, b"body", wall_ms=258)
        assert plain.hex() == "01" + "02" + "00" + "0000000000000102" + b"body".hex()
        named = encode_envelope(Machine.KV, b"", wall_ms=0, session=Session(3, 4))
        assert named.hex() == "01" + "01" + "01" + "00" * 8 + "00000000000000030000000000000004"

    @given(
        st.builds(
            Envelope,
            st.just(Machine.KV),
            st.integers(0, 2**64 - 1),
            st.none() | st.builds(Session, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
            st.binary(max_size=20),
        )
    )
    def test_round_trip(self, envelope: Envelope) -> None:
        """Every envelope comes back."""
        data = encode_envelope(
            envelope.machine, envelope.body, wall_ms=envelope.wall_ms, session=envelope.session
        )
        assert decode_envelope(data) == envelope

    @pytest.mark.parametrize(
        "data",
        [
            "",
            "01010000000000000000",  # cut off
            "0201000000000000000000",  # format 2
            "0105000000000000000000",  # machine 5
            "0101020000000000000000" + "00" * 16,  # flag 2
            "0102010000000000000000" + "00" * 16,  # a session on the members
            "0101010000000000000000" + "00" * 15,  # session cut off
        ],
    )
    def test_what_is_unknown_is_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            decode_envelope(bytes.fromhex(data))
