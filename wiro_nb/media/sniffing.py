"""What a file is, by its first bytes. Standard library only."""

from __future__ import annotations

import re

HTML = "text/html"
UNKNOWN = "application/octet-stream"

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "audio/mp4"),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1", b"hevc"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"qt  ": "video/quicktime",
}
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|h1|center)\b", re.IGNORECASE)


def sniff(head: bytes) -> str:
    """Returns the media type of a file by its first bytes.

    Args:
        head: The first bytes; 4 KB are enough.

    Returns:
        A media type; "text/html" for a page, which where a clip was asked for is an error page;
        "application/octet-stream" when they match no type.
    """
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12], UNKNOWN)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "video/quicktime"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in (0x00, 0xF0):
        return "audio/mpeg"
    return _sniff_text(head)


def _sniff_text(head: bytes) -> str:
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not body or b"\0" in body:
        return UNKNOWN
    # An XML declaration or a comment may stand before the first known tag.
    if body.startswith(b"<") and _HTML.search(body[:1024]):
        return HTML
    if re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", body):
        return UNKNOWN
    if body[:1] in b"{[" and body.rstrip()[-1:] in b"}]" and len(head) < 4096:
        return "application/json"
    try:
        # The cut may have gone through a character.
        body[:-3].decode()
    except UnicodeDecodeError:
        return UNKNOWN
    return "text/plain"
