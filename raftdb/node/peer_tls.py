"""TLS between the nodes, checked on both ends: who has no certificate of the group is no peer.

A stranger is refused before a byte of it is read. Who dials also checks that the certificate is for
the host it dialled; who listens cannot, since nodes may call from other addresses.
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.node.certificates import has_ended, is_ip, misnamed, unsound, untrusted
from raftdb.peer.handshake import HelloRefused, Refusal
from raftdb.peer.protocol import PeerConnection

AUTHORITY = "ca.pem"
"""The certificates of the authorities whose signature makes a peer."""

CERTIFICATE = "node.pem"
"""This node's certificate first, then the chain that leads from it to an authority, if any."""

KEY = "node.key"
"""Its private key, without a passphrase."""

_END = b"-----END CERTIFICATE-----"


_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


class PeerTLS:
    """What a node needs to prove itself to its peers, and to have them prove themselves.

    :param directory: holds ``ca.pem``, ``node.pem`` and ``node.key``; read once, here
    :param host: in this node's peer address, for which its certificate has to be
    :raises InvalidRequest: naming the file that is missing or cannot be used, and how
    """

    _log = Logger()

    def __init__(self, directory: Path, host: str) -> None:
        authorities = _certificates(directory / AUTHORITY)
        own, *chain = _certificates(directory / CERTIFICATE)
        self._own = own.original.to_cryptography()
        self._options = CertificateOptions(
            trustRoot=trustRootFromCertificates(authorities),
            privateKey=_key(directory / KEY).original,
            certificate=own.original,
            extraCertChain=[one.original for one in chain],
        )
        try:
            self._options.getContext().check_privatekey()
        except SSL.Error as error:
            raise InvalidRequest(
                f"{directory / KEY} is not the key of {directory / CERTIFICATE}"
            ) from error
        wrong = misnamed(self._own, host)
        if wrong is not None:
            raise InvalidRequest(
                f"{directory / CERTIFICATE}: {wrong}, the host in --raddr: nobody could dial this"
                " node. Give it a certificate for that host, or correct --raddr"
            )
        for one in (own, *chain, *authorities):
            self._look_at_time(one)

    def dial(self, endpoint: IStreamClientEndpoint, host: str) -> IStreamClientEndpoint:
        """Return ``endpoint`` with TLS on top; the certificate there must be for ``host``."""
        return wrapClientTLS(_Dialling(self._options, host), endpoint)

    def listen(self, factory: IProtocolFactory) -> IProtocolFactory:
        """Return ``factory`` behind TLS; whoever connects must show a certificate."""
        return _Listening(_Accepting(self._options), isClient=False, wrappedFactory=factory)

    def check_caller(self, certificate: object, host: str) -> None:
        """Insist that who called has a certificate for the host at which it wants to be dialled.

        A member that nobody can dial would otherwise be known by its own calls alone, and vote.

        :param certificate: as OpenSSL has it
        :raises HelloRefused: it has not
        """
        assert isinstance(certificate, crypto.X509)
        wrong = misnamed(certificate.to_cryptography(), host)
        if wrong is not None:
            raise HelloRefused(Refusal.WRONG_CERTIFICATE, f"{wrong}, its peer address")

    def _look_at_time(self, certificate: Certificate) -> None:
        found = certificate.original.to_cryptography()
        said = unsound(found)
        if said is not None:
            tell = self._log.error if has_ended(found) else self._log.warn
            tell("--peer-tls: {said}", said=said)


class _Listening(TLSMemoryBIOFactory):
    """Turns away whom the factory behind it turns away."""

    def buildProtocol(  # type: ignore[override]  # a factory may turn somebody away
        self, addr: IAddress | None
    ) -> TLSMemoryBIOProtocol | None:
        """Return TLS with a connection in it, or None; Twisted's own would put None into it."""
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


@implementer(IOpenSSLServerConnectionCreator)
class _Accepting:
    """Makes the TLS of a connection that was accepted."""

    def __init__(self, options: CertificateOptions) -> None:
        self._options = options

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return it; it judges the certificate that the other side shows."""
        connection = SSL.Connection(self._options.getContext(), None)
        connection.set_verify(_VERIFY | SSL.VERIFY_CLIENT_ONCE, _Judge(tlsProtocol, None))
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _Dialling:
    """Makes the TLS of a connection that was dialled to ``host``."""

    def __init__(self, options: CertificateOptions, host: str) -> None:
        self._options = options
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return it; it judges the certificate that the other side shows, and for whom it is."""
        connection = SSL.Connection(self._options.getContext(), None)
        if not is_ip(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        connection.set_verify(_VERIFY, _Judge(tlsProtocol, self._host))
        return connection


class _Judge:
    """Says why a certificate is not believed; OpenSSL alone would say that verification failed.

    :param tls: of the connection
    :param host: for which the certificate has to be; None where the other side dialled
    """

    _log = Logger()

    def __init__(self, tls: TLSMemoryBIOProtocol, host: str | None) -> None:
        self._tls = tls
        self._host = host

    def __call__(
        self, connection: SSL.Connection, shown: crypto.X509, number: int, depth: int, ok: int
    ) -> bool:
        """Judge one certificate of the chain; what is raised here would be lost in OpenSSL."""
        del connection
        try:
            error: RemoteProtocolError | None = None
            if not ok:
                error = untrusted(shown.to_cryptography(), number)
            elif depth == 0 and self._host is not None:
                error = misnamed(shown.to_cryptography(), self._host)
            peer = self._tls.wrappedProtocol
            if error is not None and isinstance(peer, PeerConnection):
                peer.distrust(error)
        except Exception:  # noqa: BLE001  (whatever it is, nobody is believed)
            self._log.failure("a certificate could not be judged")
            return False
        return error is None


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
