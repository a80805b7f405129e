"""A certificate authority to throw away, and what it issues to a server on loopback."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Identity(NamedTuple):
    """Files in PEM: what a server shows, and the authority that says it is right."""

    certificate: Path
    key: Path
    authority: Path


def new_authority(directory: Path) -> None:
    """Make an authority: ``authority.pem`` and ``authority.key``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("an authority of these tests")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key, expired=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(directory, "authority", certificate, key)


def issue(directory: Path, expired: bool = False) -> Identity:
    """Issue a certificate for 127.0.0.1 by the authority of the directory.

    :param expired: it ended yesterday.
    """
    issuer = x509.load_pem_x509_certificate((directory / "authority.pem").read_bytes())
    signer = serialization.load_pem_private_key(
        (directory / "authority.key").read_bytes(), password=None
    )
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        _builder(_name("127.0.0.1"), issuer.subject, key, expired)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(by, critical=False)
        .sign(signer, hashes.SHA256())
    )
    name = "expired" if expired else "server"
    _write(directory, name, certificate, key)
    return Identity(
        directory / f"{name}.pem", directory / f"{name}.key", directory / "authority.pem"
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, expired: bool
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + (-DAY if expired else DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - 10 * DAY)
        .not_valid_after(end)
    )


def _write(
    directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
