"""A local certificate authority, so that a new home answers over TLS on its own machine.

Clients trust `ca.pem`. For callers on other machines, configure a certificate of a public authority instead. Rules:

* Name constraints (RFC 5280, 4.2.1.10) limit the authority to the names of this machine. Somebody who steals its key
  cannot sign for other names, although clients trust the authority.
* It cannot sign other authorities (path length 0), and its certificates are valid for TLS servers only.
* The authority and the server's certificate are kept in the home. The server renews them at a start, before they
  expire.

The library `trustme` does none of this (decision 0005).
"""

import ipaddress
import socket
from collections.abc import Sequence
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

from implio_pipeline.domain.errors import ServerMisconfigured
from implio_pipeline.stores.durable import make_folder, write_whole

RENEWED_BEFORE = timedelta(days=60)
"""A certificate that expires within this time is replaced when the server starts."""
_AUTHORITY_LASTS = timedelta(days=3650)
_CERTIFICATE_LASTS = timedelta(days=397)
_LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128")
_LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
_BACKDATED = timedelta(minutes=5)
"""For clients whose clocks are slow."""
_KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class LocalAuthority:
    """The authority in its own folder, `keys/tls`: `ca.pem`, `ca-key.pem`, `server.pem`, `server-key.pem`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self._folder / "ca.pem"

    @property
    def paths(self) -> tuple[Path, Path]:
        """The server's certificate and private key."""
        return self._folder / "server.pem", self._folder / "server-key.pem"

    def server_files(self, *, now: datetime) -> tuple[Path, Path]:
        """Return the files of the server's certificate and private key; make or renew them when needed.

        Raises:
            ServerMisconfigured: a file cannot be read.
        """
        certificate, private_key = self.paths
        make_folder(self._folder)
        if not (_is_fresh(self.authority, now=now) and _is_fresh(certificate, now=now) and private_key.exists()):
            authority, authority_key = self._signer(now)
            key = ec.generate_private_key(ec.SECP256R1())
            made = _server_certificate(key.public_key(), authority, authority_key, now=now)
            write_whole(private_key, _pem_of(key))
            write_whole(certificate, made.public_bytes(Encoding.PEM))
        return certificate, private_key

    def _signer(self, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return the authority and its key. Clients trust it, so it is replaced only when it is about to expire."""
        key_path = self._folder / "ca-key.pem"
        if _is_fresh(self.authority, now=now) and key_path.exists():
            key = load_pem_private_key(key_path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                facts = "the local authority's key is not an elliptic curve key"
                raise ServerMisconfigured(facts, code="certificate-invalid")
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
        remedy = "Remove keys/tls of the home; the server makes it again when it starts."
        raise ServerMisconfigured(facts, code="certificate-invalid", remedy=remedy) from None
    return known.not_valid_before_utc <= now < known.not_valid_after_utc - RENEWED_BEFORE


def _authority_certificate(key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Implio pipeline, local authority")])
    networks = [x509.IPAddress(ipaddress.ip_network(network)) for network in _LOOPBACK_NETWORKS]
    permitted = x509.NameConstraints([*map(x509.DNSName, _host_names()), *networks], excluded_subtrees=None)
    # RFC 5280, 4.2.1.10: name constraints must be critical, so that a client which does not know them refuses.
    extensions = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage("key_cert_sign", "crl_sign"), True),
        (permitted, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return _signed(builder, extensions, key, now=now, lasts=_AUTHORITY_LASTS)


def _server_certificate(
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _LOOPBACK_ADDRESSES]
    extensions = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([*map(x509.DNSName, _host_names()), *addresses]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    ]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority.subject).public_key(public_key)
    return _signed(builder, extensions, authority_key, now=now, lasts=_CERTIFICATE_LASTS)


def _signed(
    builder: x509.CertificateBuilder,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    lasts: timedelta,
) -> x509.Certificate:
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(now + lasts)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(key, SHA256())


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _host_names() -> list[str]:
    """Return `localhost`, and this machine's own name if a certificate can carry it."""
    own = socket.gethostname().lower()
    is_plain = own.isascii() and all(part and part.replace("-", "a").isalnum() for part in own.split("."))
    return ["localhost", own] if is_plain and own != "localhost" else ["localhost"]


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
