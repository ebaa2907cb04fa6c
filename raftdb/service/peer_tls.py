"""TLS between the nodes, checked on both ends: who has no certificate of the group is no peer.

A stranger is refused before a byte of it is read. Who dials also checks that the certificate is for
the host it dialled; who listens cannot, since nodes may call from other addresses.
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory

from raftdb.errors import InvalidRequest

AUTHORITY = "ca.pem"
"""The certificates of the authorities whose signature makes a peer."""

CERTIFICATE = "node.pem"
"""This node's certificate first, then the chain that leads from it to an authority, if any."""

KEY = "node.key"
"""Its private key, without a passphrase."""

_END = b"-----END CERTIFICATE-----"


class PeerTLS:
    """What a node needs to prove itself to its peers, and to have them prove themselves.

    :param directory: holds ``ca.pem``, ``node.pem`` and ``node.key``; read once, here
    :raises InvalidRequest: naming the file that is missing or cannot be used, and how
    """

    def __init__(self, directory: Path) -> None:
        self._trust = trustRootFromCertificates(_certificates(directory / AUTHORITY))
        own, *chain = _certificates(directory / CERTIFICATE)
        self._own = {
            "privateKey": _key(directory / KEY).original,
            "certificate": own.original,
            "extraCertChain": [one.original for one in chain],
        }
        self._server = CertificateOptions(trustRoot=self._trust, **self._own)
        try:
            self._server.getContext().check_privatekey()
        except SSL.Error as error:
            raise InvalidRequest(
                f"{directory / KEY} is not the key of {directory / CERTIFICATE}"
            ) from error

    def dial(self, endpoint: IStreamClientEndpoint, host: str) -> IStreamClientEndpoint:
        """Return ``endpoint`` with TLS on top; the certificate there must be for ``host``."""
        options = optionsForClientTLS(
            host, trustRoot=self._trust, extraCertificateOptions=dict(self._own)
        )
        return wrapClientTLS(options, endpoint)

    def listen(self, factory: IProtocolFactory) -> IProtocolFactory:
        """Return ``factory`` behind TLS; whoever connects must show a certificate."""
        return TLSMemoryBIOFactory(self._server, isClient=False, wrappedFactory=factory)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read ({error.strerror}); it must hold {AUTHORITY}, {CERTIFICATE} and"
            f" {KEY}"
        ) from error


def _certificates(path: Path) -> list[Certificate]:
    found = [piece + _END for piece in _read(path).split(_END)[:-1]]
    try:
        certificates = [Certificate.loadPEM(piece) for piece in found]
    except (crypto.Error, ValueError) as error:
        raise InvalidRequest(f"{path} holds something that is no PEM certificate") from error
    if not certificates:
        raise InvalidRequest(f"{path} holds no PEM certificate")
    return certificates


def _key(path: Path) -> KeyPair:
    try:
        return KeyPair.load(_read(path), crypto.FILETYPE_PEM)
    except (crypto.Error, ValueError, TypeError) as error:
        raise InvalidRequest(f"{path} holds no PEM private key without a passphrase") from error
