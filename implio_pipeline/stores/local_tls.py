"""A local authority and the certificate it signs, so that a home answers over TLS on this machine from the start.

Clients trust `ca.pem`. The authority is bound to the names of this machine, so that whoever trusts it trusts it for
nothing else. For callers elsewhere a certificate of a public authority is configured instead.

Source: RFC 5280; 4.2.1.10 for the bound on names.
"""

import ipaddress
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from implio_pipeline.domain.errors import CertificateInvalid
from implio_pipeline.stores.durable import make_folder, write_whole

AUTHORITY_LASTS = timedelta(days=3650)
CERTIFICATE_LASTS = timedelta(days=397)
RENEWED_BEFORE = timedelta(days=60)
"""A certificate with less time left is replaced when the server starts."""
_LOOPBACKS = ("127.0.0.0/8", "::1/128")
_ADDRESSES = ("127.0.0.1", "::1")
_SLACK = timedelta(minutes=5)
"""For clocks of clients that are slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFiles:
    """What a TLS server is given."""

    certificate: Path
    private_key: Path


class LocalAuthority:
    """The authority in a folder of its own below the keys: `ca.pem`, `ca-key.pem`, `server.pem`, `server-key.pem`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self._folder / "ca.pem"

    def server_files(self, *, now: datetime) -> ServerFiles:
        """Return the server's certificate and key; what is not there, or soon expires, is made anew.

        Raises:
            CertificateInvalid: what is there cannot be read.
        """
        certificate, private_key = self._folder / "server.pem", self._folder / "server-key.pem"
        make_folder(self._folder)
        if _is_fresh(self.authority, now=now) and _is_fresh(certificate, now=now) and private_key.exists():
            return ServerFiles(certificate=certificate, private_key=private_key)
        authority, authority_key = self._signer(now)
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _server_certificate(key.public_key(), authority, authority_key, now=now)
        write_whole(private_key, _pem_of(key))
        write_whole(certificate, signed.public_bytes(Encoding.PEM))
        return ServerFiles(certificate=certificate, private_key=private_key)

    def _signer(self, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key_path = self._folder / "ca-key.pem"
        if _is_fresh(self.authority, now=now) and key_path.exists():
            key = load_pem_private_key(key_path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise CertificateInvalid("the local authority's key is not an elliptic curve key")
            return x509.load_pem_x509_certificate(self.authority.read_bytes()), key
        made = ec.generate_private_key(ec.SECP256R1())
        authority = _authority_certificate(made, now=now)
        write_whole(key_path, _pem_of(made))
        write_whole(self.authority, authority.public_bytes(Encoding.PEM))
        return authority, made


def _is_fresh(certificate: Path, *, now: datetime) -> bool:
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        facts = f"{certificate.name} of the local authority cannot be read"
        raise CertificateInvalid(facts, remedy="Remove keys/tls of the home; it is made anew at the start.") from None
    return known.not_valid_before_utc <= now < known.not_valid_after_utc - RENEWED_BEFORE


def _authority_certificate(key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Implio pipeline, local authority")])
    networks = [x509.IPAddress(ipaddress.ip_network(network)) for network in _LOOPBACKS]
    names = x509.NameConstraints([*map(x509.DNSName, _host_names()), *networks], excluded_subtrees=None)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _unsigned(name, name, key.public_key(), now=now, lasts=AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(names, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, SHA256())
    )


def _server_certificate(
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    names = x509.SubjectAlternativeName([*map(x509.DNSName, _host_names()), *addresses])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _unsigned(subject, authority.subject, public_key, now=now, lasts=CERTIFICATE_LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, SHA256())
    )


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lasts)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host_names() -> list[str]:
    """Return `localhost` and this machine's own name, where that is a name that certificates can carry."""
    own = socket.gethostname().lower()
    is_plain = own.isascii() and all(part and part.replace("-", "a").isalnum() for part in own.split("."))
    return ["localhost", own] if is_plain and own != "localhost" else ["localhost"]


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
