"""What is wrong with a JSON body is told in words that lead to the mistake."""

from __future__ import annotations

import msgspec
import pytest

from raftdb.errors import InvalidRequest
from raftdb.http.bodies import decode_json
from raftdb.membership import decode_join_request

PAIRS = msgspec.json.Decoder(dict[str, str])


class TestReasons:
    """Each names what is wrong, and where that helps, what would be right."""

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b'{"a":"x","b":1}', "Expected `str`, got `int` - at `$['b']`"),
            (b'{"a":"x","":null}', "Expected `str`, got `null` - at `$['']`"),
            (b'{"\\ud83d\\ude00":[]}', "at `$['\U0001f600']`"),
            (b'\xef\xbb\xbf{"a":"b"}', "byte order mark (EF BB BF)"),
            (b'{"a":"\\uD800"}', "holds \\ud800, half of a surrogate pair"),
            (b'{"a":"\\ud800x"}', "holds \\ud800, half of a surrogate pair"),
            (b'{"a":"\\ud800\\n"}', "holds \\ud800, half of a surrogate pair"),
            (b'{"a":"\\ud800 \\udc00"}', "holds \\ud800, half of a surrogate pair"),
            (b'{"\\udc00":"x"}', "holds \\udc00, half of a surrogate pair"),
            (b'{"a":"\\ud83d\\ude00\\udfff"}', "holds \\udfff, half of a surrogate pair"),
            (b'{"a":"\\ud83d\\ude00"', "truncated"),
            (b'{"a":"\\\\ud800"', "truncated"),
            (b'{"a":"b"} x', "trailing characters (byte 11)"),
            (b'{"a":"\xff"}', "Invalid UTF-8"),
            (b"[1]", "Expected `object`, got `array`"),
        ],
    )
    def test_of_an_object_of_strings(self, body: bytes, told: str) -> None:
        """As ``POST /key`` takes it."""
        with pytest.raises(InvalidRequest) as refused:
            decode_json(PAIRS, body, "an object of strings")
        assert str(refused.value).startswith("the body must be an object of strings: ")
        assert told in str(refused.value)

    def test_a_long_key_is_shortened(self) -> None:
        """The message is not as long as the body."""
        with pytest.raises(InvalidRequest) as refused:
            decode_json(PAIRS, b'{"%b":1}' % (b"k" * 100_000), "an object of strings")
        assert len(str(refused.value)) < 300

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b'{"id":"\\ud800"}', "half of a surrogate pair"),
            (b'{"id":1}', "at `$.id`"),
        ],
    )
    def test_of_a_join_request(self, body: bytes, told: str) -> None:
        """The same words."""
        with pytest.raises(InvalidRequest, match="this is no join request") as refused:
            decode_join_request(body)
        assert told in str(refused.value)
