"""What is wrong with a certificate, in words: whose it is, for which host, since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from raftdb.errors import RemoteProtocolError

SOON = timedelta(days=14)
"""Before the end of a node's own certificate its log says so at each start."""

_NOT_YET_VALID = 9
_EXPIRED = 10
"""OpenSSL's numbers, X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


class Untimely(RemoteProtocolError):
    """A certificate that has expired, or is not valid yet."""


class Foreign(RemoteProtocolError):
    """A certificate that no authority of the group has signed."""


class Misnamed(RemoteProtocolError):
    """A certificate for another host."""


def untrusted(certificate: x509.Certificate, number: int) -> RemoteProtocolError:
    """Return what is wrong with a certificate that OpenSSL does not believe.

    :param number: OpenSSL's reason
    """
    whose = f"the certificate of {_name(certificate.subject)}"
    if number == _EXPIRED:
        return Untimely(f"{whose} expired on {_day(certificate.not_valid_after_utc)}")
    if number == _NOT_YET_VALID:
        begins = _day(certificate.not_valid_before_utc)
        return Untimely(f"{whose} is not valid before {begins}; see to the clocks")
    if certificate.subject == certificate.issuer:  # the end of the chain that was shown
        return Foreign(
            f"its certificate comes from {_name(certificate.subject)}, an authority that is not in"
            f" ca.pem (OpenSSL's reason {number})"
        )
    return Foreign(
        f"{whose}, issued by {_name(certificate.issuer)}, is signed by no authority in ca.pem"
        f" (OpenSSL's reason {number})"
    )


def misnamed(certificate: x509.Certificate, host: str) -> Misnamed | None:
    """Return what is wrong where a certificate is not for ``host``, a name or an IP address."""
    try:
        if is_ip(host):
            verify_certificate_ip_address(certificate, host)
        else:
            verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return Misnamed(
            f"the certificate of {_name(certificate.subject)} is for {_hosts(certificate)}, not for"
            f" {host}"
        )
    return None


def unsound(certificate: x509.Certificate, now: datetime | None = None) -> str | None:
    """Say what is or will soon be wrong with the time of one's own certificate."""
    now = now or datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    whose = f"the certificate of {_name(certificate.subject)}"
    if now >= ends:
        return f"{whose} expired on {_day(ends)}: no node with --peer-tls will speak to this one"
    if now < begins:
        return f"{whose} is not valid before {_day(begins)}: no node will speak to this one"
    if now >= ends - SOON:
        return f"{whose} expires on {_day(ends)}: renew it, and start the nodes again one by one"
    return None


def has_ended(certificate: x509.Certificate, now: datetime | None = None) -> bool:
    """Whether nobody believes a certificate at this time."""
    now = now or datetime.now(UTC)
    return not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _name(name: x509.Name) -> str:
    return name.rfc4514_string()[:200] or "nobody"


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _hosts(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no host (it has no subject alternative name)"
    hosts = [*found.get_values_for_type(x509.DNSName)]
    hosts += [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return ", ".join(hosts)[:200] or "no host"


def is_ip(host: str) -> bool:
    """Whether ``host`` is an IP address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
