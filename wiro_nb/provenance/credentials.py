"""Says whose Content Credentials (C2PA) a clip or picture carries and whether they are valid.

They are checked with c2pa-python where it is installed (`pip install "wiro_nb[c2pa]"`), without any request.
Source: C2PA Technical Specification, "Embedding manifests into BMFF-based assets" and "into PNG".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from wiro_nb.media import mp4, png
from wiro_nb.media.boxes import BoxError, read_layout

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MAX_NAME = 80
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


class Credentials(NamedTuple):
    """One sentence about a file's credentials; `is_valid` is None where c2pa is not installed."""

    is_valid: bool | None
    text: str


def describe_credentials(path: Path) -> Credentials | None:
    """Returns what is known of a file's credentials, or None where it carries none."""
    if not has_credentials(path):
        return None
    try:
        import c2pa
    except ImportError:
        hint = 'pip install "wiro_nb[c2pa]" to check them'
        return Credentials(None, f"{path.name} carries Content Credentials; {hint}")
    try:
        with (
            c2pa.Settings.from_dict(_OFFLINE) as settings,
            c2pa.Context(settings=settings) as context,
            c2pa.Reader(str(path), context=context) as reader,
        ):
            state, manifest = reader.get_validation_state(), reader.get_active_manifest()
    except (c2pa.C2paError, OSError, ValueError):
        return Credentials(False, f"{path.name} carries Content Credentials that cannot be read")
    return _describe(path.name, str(state), manifest if isinstance(manifest, dict) else {})


def has_credentials(path: Path) -> bool:
    """True where a file carries a manifest; its content is not checked."""
    try:
        with path.open("rb") as file:
            if not mp4.is_mp4(path):
                return png.has_credentials(file)
            for head in read_layout(file, path.stat().st_size, may_be_cut=True).boxes:
                file.seek(head.start + head.head_bytes)
                if head.type == b"jumb" or (head.type == b"uuid" and file.read(16) == C2PA_BOX):
                    return True
    except (BoxError, png.PngError, OSError):
        return False
    return False


def _describe(name: str, state: str, manifest: dict[str, Any]) -> Credentials:
    signature = manifest.get("signature_info") or {}
    signer = _clean(signature.get("issuer") or signature.get("common_name") or "an unnamed signer")
    tools = [_clean(tool["name"]) for tool in manifest.get("claim_generator_info") or () if tool.get("name")]
    made = f", made with {tools[0]}" if tools else ""
    whose = f"{name} carries Content Credentials of {signer}{made}"
    if state == "Trusted":
        return Credentials(True, f"{whose}: they are valid and the signer is trusted")
    if state == "Valid":
        return Credentials(True, f"{whose}: they are valid; the signer is not on a trust list")
    return Credentials(False, f"{whose}: they are not valid, so the file or they were changed")


def _clean(text: Any) -> str:
    return "".join(letter for letter in str(text)[:_MAX_NAME] if letter.isprintable())
