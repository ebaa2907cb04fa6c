"""Every limit of the HTTP side, with its unit and its reason, in one value."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may use up before it is refused.

    The total time of a request is ``receive_timeout_s + answer_timeout_s + send_timeout_s``,
    however slowly its bytes trickle: each part has its own deadline, none is re-armed by a byte.

    :param body_bytes_max: a request's body; refused while it arrives, not after
    :param key_bytes_max: a key, in bytes
    :param pairs_max: keys in one atomic write; a bigger one would stall the event loop
    :param connections_max: open connections; a further one is told 503 and closed
    :param refusals_max: connections beyond that which may wait for their 503 at a time; others
        are closed without a word
    :param waiting_max: requests that wait for an answer at a time; a further one gets a 503
    :param held_bytes_max: bodies arriving and answers not yet taken, all clients together
    :param receive_timeout_s: from the first byte of a request to its last
    :param answer_timeout_s: from its last byte until the answer is known
    :param send_timeout_s: how long a client may leave an answer untaken
    :param idle_timeout_s: how long a connection may stay open between two requests
    :param linger_s: how long a refused client may go on sending, so that it can read why
    """

    body_bytes_max: int = 3 * 512 * 1024
    key_bytes_max: int = 4096
    pairs_max: int = 5_000
    connections_max: int = 900
    refusals_max: int = 50
    waiting_max: int = 512
    held_bytes_max: int = 64 * 1024 * 1024
    receive_timeout_s: float = 10.0
    answer_timeout_s: float = 10.0
    send_timeout_s: float = 10.0
    idle_timeout_s: float = 60.0
    linger_s: float = 2.0

    def __post_init__(self) -> None:
        """Check that the limits nest [R30]: what is inside one must fit the other."""
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if self.key_bytes_max > self.body_bytes_max:
            raise ValueError("key_bytes_max must not exceed body_bytes_max")
        if self.body_bytes_max > self.held_bytes_max:
            raise ValueError("body_bytes_max must not exceed held_bytes_max")
