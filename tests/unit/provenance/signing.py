"""Content Credentials for the tests: a certificate of their own and c2pa's signer and reader."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

ASSERTION = {
    "label": "c2pa.actions",
    "data": {
        "actions": [
            {
                "action": "c2pa.created",
                "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
            }
        ]
    },
}


def sign_clip(source: Path, target: Path, *, media_type: str = "video/mp4") -> Path:
    """Writes a copy of a clip or picture with a manifest signed by a certificate made here."""
    import c2pa

    chain, key = make_certificates()
    manifest = {"claim_generator_info": [{"name": "a video model"}], "assertions": [ASSERTION]}
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, key, None))
    with (
        signer,
        c2pa.Builder(json.dumps(manifest)) as builder,
        source.open("rb") as unsigned,
        target.open("w+b") as signed,
    ):
        builder.sign(signer, media_type, unsigned, signed)
    return target


def read_state(path: Path) -> str:
    """Returns what c2pa's reader says of a clip's credentials, such as "Valid"."""
    import c2pa

    with c2pa.Reader(str(path)) as reader:
        return str(reader.get_validation_state())


def make_certificates() -> tuple[bytes, bytes]:
    """Returns the chain (the signer's certificate and its issuer's) and the signer's key, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> Any:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio of the tests"),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    def certificate(subject: str, key: Any, issuer_key: Any, *, is_issuer: bool) -> Any:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        ) | {"encipher_only": False, "decipher_only": False, "crl_sign": False}
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("issuer"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not is_issuer, key_cert_sign=is_issuer, **usage), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
        )
        if not is_issuer:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    now = datetime.datetime.now(datetime.UTC)
    issuer_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = certificate("signer", key, issuer_key, is_issuer=False)
    chain += certificate("issuer", issuer_key, issuer_key, is_issuer=True)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain, secret
