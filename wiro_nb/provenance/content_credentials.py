"""Content Credentials (C2PA): reads and validates those of clips and pictures, and signs new files.

It is done by c2pa-python where that is installed (`pip install "wiro_nb[c2pa]"`), without any request. Files are
signed only where `WIRO_SIGN_CERTIFICATE` and `WIRO_SIGN_KEY` name a certificate chain and its key (PEM).
Source: C2PA Technical Specification, "Embedding manifests into BMFF-based assets" and "into PNG".
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wiro_nb.files import hash_file
from wiro_nb.media import MediaError, mp4, png
from wiro_nb.media.boxes import content_starts_with, read_layout
from wiro_nb.provenance.embed import Embedded, embed_record
from wiro_nb.provenance.made_by import describe_maker, source_type
from wiro_nb.provenance.record import own_version

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
CERTIFICATE, KEY = "WIRO_SIGN_CERTIFICATE", "WIRO_SIGN_KEY"
RECORD_ASSERTION = "com.wiro_nb.record"
_MAX_NAME = 80
_SIGNED_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".png": "image/png"}
_ALGORITHMS = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
_PARENT = {"title": "as the service sent it", "relationship": "parentOf", "instance_id": "wiro:original"}
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


class Credentials(NamedTuple):
    """One sentence about a file's credentials, and a few words; `is_valid` is None where c2pa is not installed."""

    is_valid: bool | None
    text: str
    short: str


def describe_credentials(path: Path) -> Credentials | None:
    """Describes a file's credentials; None if it has none."""
    if not has_credentials(path):
        return None
    try:
        import c2pa
    except ImportError:
        hint = 'pip install "wiro_nb[c2pa]" to check them'
        return Credentials(None, f"{path.name} carries Content Credentials; {hint}", "present, not checked")
    try:
        state, manifest = _read_manifest(path)
    except (c2pa.C2paError, OSError, ValueError):
        return Credentials(False, f"{path.name} carries Content Credentials that cannot be read", "cannot be read")
    return _describe(path.name, state, manifest)


def _read_manifest(path: Path) -> tuple[str, dict[str, Any]]:
    import c2pa

    with (
        c2pa.Settings.from_dict(_OFFLINE) as settings,
        c2pa.Context(settings=settings) as context,
        c2pa.Reader(str(path), context=context) as reader,
    ):
        manifest = reader.get_active_manifest()
        return str(reader.get_validation_state()), manifest if isinstance(manifest, dict) else {}


def read_assertions(path: Path) -> dict[str, Any]:
    """Returns the assertions of a file's credentials by label; {} without valid credentials or without c2pa."""
    if not has_credentials(path):
        return {}
    try:
        state, manifest = _read_manifest(path)
    except Exception:  # ImportError, or whatever c2pa finds wrong with a stranger's file
        return {}
    assertions = manifest.get("assertions") if state in ("Valid", "Trusted") else None
    return {str(item.get("label")): item.get("data") for item in assertions or () if isinstance(item, dict)}


def has_credentials(path: Path) -> bool:
    """True where a file carries a manifest; its content is not checked."""
    try:
        with path.open("rb") as file:
            if not mp4.is_mp4(path):
                return png.has_credentials(file)
            return any(
                head.type == b"jumb" or (head.type == b"uuid" and content_starts_with(file, head, C2PA_BOX))
                for head in read_layout(file, path.stat().st_size, may_be_cut=True).boxes
            )
    except (MediaError, OSError):
        return False


def _describe(name: str, state: str, manifest: dict[str, Any]) -> Credentials:
    signature = manifest.get("signature_info") or {}
    signer = _clean(signature.get("issuer") or signature.get("common_name") or "an unnamed signer")
    tools = [_clean(tool["name"]) for tool in manifest.get("claim_generator_info") or () if tool.get("name")]
    made = f", made with {tools[0]}" if tools else ""
    whose = f"{name} carries Content Credentials of {signer}{made}"
    if state == "Trusted":
        return Credentials(True, f"{whose}: they are valid and the signer is trusted", f"{signer}, valid")
    if state == "Valid":
        unknown = "they are valid; unknown signer: the certificate is on no trust list"
        return Credentials(True, f"{whose}: {unknown}", f"{signer}, valid, unknown signer")
    changed = "they are not valid, so the file or they were changed"
    return Credentials(False, f"{whose}: {changed}", f"{signer}, not valid")


def embed_and_sign(
    path: Path, record: Mapping[str, Any], *, components: Sequence[Path] = ()
) -> tuple[Embedded, str]:
    """Writes a record into a file and signs it, where a certificate is set.

    The manifest names the digital source type, model and service; the record is an assertion of it, and its parent
    is the file as it came, with the credentials it carried. The clips that a film was joined from are components.

    Returns:
        What `embed_record` returns, with the hash of the signed file; and why it was not signed, "" where it was
        or no certificate is set.
    """
    chosen = [os.environ.get(name, "").strip() for name in (CERTIFICATE, KEY)]
    if not any(chosen) or (content_type := _SIGNED_TYPES.get(path.suffix.lower())) is None:
        return embed_record(path, record), ""
    signed = path.with_name(f".{path.name}.signed")
    embedded: Embedded | None = None
    try:
        import c2pa

        with (
            c2pa.Settings.from_dict(_OFFLINE | {"builder": {"thumbnail": {"enabled": False}}}) as settings,
            c2pa.Context(settings=settings) as context,
            _open_signer(*chosen) as signer,
            c2pa.Builder(_manifest(record), context=context) as builder,
        ):
            with path.open("rb") as original:
                builder.add_ingredient(_PARENT, content_type, original)
            for part in components:
                named = {"title": part.name, "relationship": "componentOf"}
                with part.open("rb") as clip:
                    builder.add_ingredient(named, _SIGNED_TYPES.get(part.suffix.lower(), "video/mp4"), clip)
            embedded = embed_record(path, record)
            builder.sign_file(path, signed, signer)
        signed.chmod(path.stat().st_mode & 0o777)
        signed.replace(path)
        return Embedded(embedded.problem, hash_file(path)), ""
    except ImportError:
        problem = 'c2pa is not installed: pip install "wiro_nb[c2pa]"'
    except OSError as error:
        problem = f"{Path(error.filename or path).name}: {error.strerror}"
    except Exception as error:  # whatever c2pa or cryptography finds wrong with certificate, key or file
        problem = _clean(f"{type(error).__name__}: {error}")
    finally:
        signed.unlink(missing_ok=True)
    return embedded or embed_record(path, record), problem


def _open_signer(certificate: str, key: str) -> Any:
    import c2pa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = Path(key).expanduser().read_bytes()
    private = load_pem_private_key(secret, None)
    curve = getattr(getattr(private, "curve", None), "name", "")
    other = b"ps256" if hasattr(private, "private_numbers") else b"ed25519"
    algorithm = _ALGORITHMS.get(curve, other)
    chain = Path(certificate).expanduser().read_bytes()
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, secret, None))


def _manifest(record: Mapping[str, Any]) -> dict[str, Any]:
    opened = {
        "action": "c2pa.opened",
        "parameters": {"ingredientIds": [_PARENT["instance_id"]]},
        "digitalSourceType": source_type(record),
        "softwareAgent": {"name": describe_maker(record)},
    }
    return {
        "claim_generator_info": [{"name": "wiro_nb", "version": own_version()}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [opened]}},
            {"label": RECORD_ASSERTION, "data": dict(record), "kind": "Json"},
        ],
    }


def _clean(text: Any) -> str:
    return "".join(letter for letter in str(text)[:_MAX_NAME] if letter.isprintable())
