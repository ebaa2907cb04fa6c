"""Makes certificate authorities and the directories that ``--peer-tls`` names, for tests alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Authority:
    """Signs nodes' certificates.

    :param name: its own
    """

    def __init__(self, name: str = "the group's authority") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        self._certificate = builder.sign(self._key, SHA256())

    def issue(
        self,
        directory: Path,
        *,
        ip: str = "127.0.0.1",
        name: str = "node",
        days: tuple[float, float] = (-1, 30),
    ) -> Path:
        """Write what a node needs that lives at ``ip``; return the directory.

        :param days: from now on, in which its certificate is valid
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(ip))])
        builder = self._builder(subject, key, days).add_extension(alternative, critical=False)
        certificate = builder.sign(self._key, SHA256())
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ca.pem").write_bytes(self._certificate.public_bytes(Encoding.PEM))
        (directory / "node.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (directory / "node.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return directory

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: tuple[float, float] = (-1, 30),
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
        )
