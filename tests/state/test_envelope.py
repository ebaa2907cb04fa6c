"""The envelope around every command: fixed bytes, and strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import RemoteProtocolError
from raftdb.state import ClientRequest, KeyedRequest, RequestID
from raftdb.state.envelope import Envelope, decode_envelope, encode_envelope

names: st.SearchStrategy[RequestID] = st.one_of(
    st.builds(KeyedRequest, st.binary(min_size=1, max_size=128)),
    st.builds(
        ClientRequest, st.binary(min_size=1, max_size=64), st.integers(9, 2**62), st.integers(1, 9)
    ),
)


class TestEnvelope:
    """Format, part, flags, time, name, body."""

    def test_golden(self) -> None:
        """The layout does not drift."""
        plain = encode_envelope(2, b"body", wall_ms=258)
        assert plain.hex() == "02" + "02" + "00" + "0000000000000102" + b"body".hex()
        named = encode_envelope(1, b"b", wall_ms=0, request=KeyedRequest(b"k"))
        assert named.hex() == "02" + "01" + "01" + "00" * 8 + "0005" + "9202c4016b" + "62"

    @given(
        st.builds(
            Envelope,
            st.integers(0, 255),
            st.integers(0, 2**64 - 1),
            st.none() | names,
            st.binary(max_size=20),
        )
    )
    def test_round_trip(self, envelope: Envelope) -> None:
        """Every envelope comes back."""
        data = encode_envelope(
            envelope.part,
            bytes(envelope.body),
            wall_ms=envelope.wall_ms,
            request=envelope.request,
        )
        assert decode_envelope(data) == envelope

    @pytest.mark.parametrize(
        "data",
        [
            "",
            "02010000000000000000",  # cut off
            "0101000000000000000000",  # format 1
            "0201020000000000000000" + "00" * 16,  # flag 2
            "0201010000000000000000" + "00",  # the length of the name cut off
            "0201010000000000000000" + "00059202c401",  # the name cut off
            "0201010000000000000000" + "000190",  # no name
        ],
    )
    def test_what_is_unknown_is_refused(self, data: str) -> None:
        """Nothing unknown is guessed."""
        with pytest.raises(RemoteProtocolError):
            decode_envelope(bytes.fromhex(data))
