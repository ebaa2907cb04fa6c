"""What somebody speaks who does not speak as a peer does: told in words, not in numbers of bytes.

Each is a class of its own, because the log tells each once per peer and class.
"""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL

from raftdb.errors import RemoteProtocolError

_TLS_HANDSHAKE: Final = 0x16
_HTTP_METHODS: Final = (b"GE", b"HE", b"PO", b"PU", b"DE", b"OP", b"PA", b"CO", b"TR", b"PR")
"""How requests begin: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT, TRACE, and PRI of HTTP/2."""

_NO_TLS: Final = frozenset(
    {
        "wrong version number",
        "packet length too long",
        "unknown protocol",
        "unexpected message",
        "unexpected record",
        "bad record type",
        "record layer failure",
    }
)
_ALERTS: Final = {
    "unknown ca": "it does not know the authority that has signed this node's certificate",
    "certificate expired": "it says that this node's certificate has expired",
    "bad certificate": "it does not take this node's certificate",
    "certificate unknown": "it does not take this node's certificate",
    "certificate required": "it wants a certificate of this node, and has seen none",
    "handshake failure": "it does not go on with TLS as this node speaks it",
}


class SpeaksTLS(RemoteProtocolError):
    """TLS where none is spoken."""


class SpeaksNoTLS(RemoteProtocolError):
    """Something else where TLS is spoken."""


class SpeaksHTTP(RemoteProtocolError):
    """A client at the port for peers."""


class TLSFailed(RemoteProtocolError):
    """TLS ended in another way."""


def speaks_otherwise(prefix: int) -> RemoteProtocolError | None:
    """Return what begins with these two bytes, read as the length of a key, if it is known."""
    if prefix >> 8 == _TLS_HANDSHAKE:
        return SpeaksTLS("it speaks TLS: all nodes need --peer-tls, or none")
    if prefix.to_bytes(2, "big") in _HTTP_METHODS:
        return _http()
    return None


def tls_trouble(error: BaseException | None) -> RemoteProtocolError | None:
    """Return in words what OpenSSL tells as a list of tuples; None where it tells nothing."""
    if not isinstance(error, SSL.Error):
        return None
    reasons = _reasons(error)
    said = " ".join(reasons)
    if "http request" in reasons or "https proxy request" in reasons:
        return _http()
    if "peer did not return a certificate" in reasons:
        return TLSFailed("it has shown no certificate: all nodes need --peer-tls, or none")
    if _NO_TLS.intersection(reasons):
        return SpeaksNoTLS("it speaks no TLS: all nodes need --peer-tls, or none")
    for alert, meaning in _ALERTS.items():
        if f"alert {alert}" in said:
            return TLSFailed(f"{meaning} (TLS: {said})")
    return TLSFailed(f"TLS: {said or 'ended without a reason'}")


def _http() -> SpeaksHTTP:
    return SpeaksHTTP("it speaks HTTP: this port is for nodes; clients go to --haddr")


def _reasons(error: SSL.Error) -> list[str]:
    """Return the reasons in an error of OpenSSL: ``[(library, function, reason), …]``."""
    listed = error.args[0] if error.args else ()
    if not isinstance(listed, list | tuple):
        return [str(listed)]
    return [str(each[-1]) for each in listed if isinstance(each, tuple) and each]
