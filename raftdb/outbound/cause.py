"""What was met in place of an answer, in words."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError

__all__ = ["cause_of", "handshake_failed"]

_PLAIN_HINT = "a port without TLS takes http:// alone"
_TLS_ALERT = b"\x15\x03"
"""How a port with TLS answers what is none."""


def cause_of(error: BaseException) -> str:
    """Return what is behind twisted.web's wrappers."""
    reasons: list[Failure] = getattr(error, "reasons", [])
    if reasons and reasons[0].value is not None:
        return cause_of(reasons[0].value)
    if isinstance(error, ParseError):
        return _no_http(error.data)
    if isinstance(error, SSL.Error):
        return _tls_reason(error)
    return str(error) or type(error).__name__


def _no_http(data: object) -> str:
    if isinstance(data, bytes) and data.startswith(_TLS_ALERT):
        return "it speaks TLS; write https://"
    return f"what came back is no HTTP: {data!r:.100}"


def handshake_failed(error: BaseException | None) -> str:
    """Return why a TLS handshake came to nothing."""
    if isinstance(error, SSL.Error):
        reason = _tls_reason(error)
        hint = f"; {_PLAIN_HINT}" if "version number" in reason or "http request" in reason else ""
        return f"the TLS handshake failed: {reason}{hint}"
    if error is None or isinstance(error, ConnectionDone | ConnectionLost):
        return f"the TLS handshake was cut off; {_PLAIN_HINT}"
    return f"the TLS handshake failed: {cause_of(error)}"


def _tls_reason(error: SSL.Error) -> str:
    """Return OpenSSL's last words without its bookkeeping."""
    queue = error.args[0] if error.args else ()
    reasons = [str(entry[-1]) for entry in queue if entry] if isinstance(queue, list) else []
    return ", ".join(reasons) or str(error) or "TLS ended early"
