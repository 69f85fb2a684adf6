"""Content Credentials (C2PA): reads and validates those of clips and pictures, and signs new files.

It is done by c2pa-python where that is installed (`pip install "wiro_nb[c2pa]"`), without any request. Files are
signed only where `WIRO_SIGN_CERTIFICATE` and `WIRO_SIGN_KEY` name a certificate chain and its key (PEM).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wiro_nb.files import hash_file, replace_file
from wiro_nb.media import MediaError
from wiro_nb.media.decode import sniff_file
from wiro_nb.provenance.embed import FORMATS, Embedded, embed_record, format_of
from wiro_nb.provenance.made_by import describe_maker, source_type
from wiro_nb.provenance.record import own_version

CERTIFICATE, KEY = "WIRO_SIGN_CERTIFICATE", "WIRO_SIGN_KEY"
RECORD_ASSERTION = "com.wiro_nb.record"
_INSTALL = 'pip install "wiro_nb[c2pa]"'
_MAX_NAME = 80
_ALGORITHMS = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
_PARENT = {"title": "as the service sent it", "relationship": "parentOf", "instance_id": "wiro:original"}
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_STATES = {
    "Trusted": (True, "they are valid and the signer is trusted", "valid"),
    "Valid": (
        True,
        "they are valid; unknown signer: the certificate is on no trust list",
        "valid, unknown signer",
    ),
}
_INVALID = (False, "they are not valid, so the file or they were changed", "not valid")


class Credentials(NamedTuple):
    """One sentence about a file's credentials, and a few words; `is_valid` is None where c2pa is not installed."""

    is_valid: bool | None
    text: str
    short: str


def describe_credentials(path: Path) -> Credentials | None:
    """Describes a file's credentials; None if it has none."""
    if not has_credentials(path):
        return None
    whose = f"{path.name} carries Content Credentials"
    try:
        state, manifest = _read_manifest(path)
    except ImportError:
        return Credentials(None, f"{whose}; {_INSTALL} to check them", "present, not checked")
    except Exception:  # whatever c2pa finds wrong with a stranger's file
        return Credentials(False, f"{whose} that cannot be read", "cannot be read")
    signature = manifest.get("signature_info") or {}
    signer = _clean(signature.get("issuer") or signature.get("common_name") or "an unnamed signer")
    tools = [_clean(tool["name"]) for tool in manifest.get("claim_generator_info") or () if tool.get("name")]
    made = f", made with {tools[0]}" if tools else ""
    is_valid, text, short = _STATES.get(state, _INVALID)
    return Credentials(is_valid, f"{whose} of {signer}{made}: {text}", f"{signer}, {short}")


def read_assertions(path: Path) -> dict[str, Any]:
    """Returns the assertions of a file's credentials by label; {} without valid credentials or without c2pa."""
    if not has_credentials(path):
        return {}
    try:
        state, manifest = _read_manifest(path)
    except Exception:  # as above, or c2pa is not installed
        return {}
    assertions = manifest.get("assertions") if state in _STATES else None
    return {str(item.get("label")): item.get("data") for item in assertions or () if isinstance(item, dict)}


def _read_manifest(path: Path) -> tuple[str, dict[str, Any]]:
    import c2pa

    with (
        c2pa.Settings.from_dict(_OFFLINE) as settings,
        c2pa.Context(settings=settings) as context,
        path.open("rb") as file,
        c2pa.Reader(sniff_file(path), file, context=context) as reader,
    ):
        manifest = reader.get_active_manifest()
        return str(reader.get_validation_state()), manifest if isinstance(manifest, dict) else {}


def has_credentials(path: Path) -> bool:
    """True where a file carries a manifest; its content is not checked."""
    try:
        kind = format_of(path)
        with path.open("rb") as file:
            return kind is not None and bool(kind.has_credentials(file))
    except (MediaError, OSError):
        return False


def embed_and_sign(path: Path, record: Mapping[str, Any], *, components: Sequence[Path] = ()) -> Embedded:
    """Writes a record into a file and signs it, where a certificate is set.

    The manifest names the digital source type, model and service; the record is an assertion of it, and its parent
    is the file as it came, with the credentials it carried. The clips that a film was joined from are components.

    Returns:
        As `embed_record`, with the hash of the signed file, or with the reason why it was not signed.
    """
    chosen = [os.environ.get(name, "").strip() for name in (CERTIFICATE, KEY)]
    if not any(chosen):
        return embed_record(path, record)
    embedded: Embedded | None = None
    try:
        content_type = sniff_file(path)
        if content_type not in FORMATS:
            return embed_record(path, record)
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
                    builder.add_ingredient(named, sniff_file(part), clip)
            embedded = embed_record(path, record)
            with path.open("rb") as unsigned:
                replace_file(path, lambda target: builder.sign(signer, content_type, unsigned, target))
        return embedded._replace(sha256=hash_file(path))
    except ImportError:
        problem = f"c2pa is not installed: {_INSTALL}"
    except OSError as error:
        problem = f"{Path(error.filename or path).name}: {error.strerror}"
    except Exception as error:  # whatever c2pa or cryptography finds wrong with certificate, key or file
        problem = _clean(f"{type(error).__name__}: {error}")
    return (embedded or embed_record(path, record))._replace(unsigned=problem)


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
