"""The file of annotations in a ZIP archive, as Label Studio, CVAT and COCO exports have it beside the pictures. Pure.

Nothing is written anywhere, so a name that leads out of a folder leads nowhere.
"""

import io
import lzma
import struct
import zipfile
import zlib

from ratchet.core.labels.formats.items import UnreadableFile
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from wire.printable import listed, printable

ZIP = b"PK\x03\x04"
MEMBERS_MAX = 100_000
"""Pictures, for the most part."""
_ENDINGS = (".json", ".jsonl", ".xml", ".csv", ".tsv", ".parquet")
_ENCRYPTED = 0x1
_ERRORS = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError),
    *(struct.error, zlib.error, lzma.LZMAError),
)
"""All that Python's reader of archives raises."""


def annotations_in(data: bytes) -> tuple[str, bytes]:
    """Name and content of the only file of annotations. UnreadableFile says why there is none to read: several, a
    password, more bytes than a shard may have, whatever the archive says of itself."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _only(archive.infolist())
            with archive.open(member) as file:
                content = file.read(SHARD_BYTES_MAX + 1)
    except UnreadableFile:
        raise
    except _ERRORS as error:
        raise UnreadableFile(f"the ZIP archive cannot be read ({printable(str(error))})") from None
    if len(content) > SHARD_BYTES_MAX:
        raise UnreadableFile(_too_large(member.filename))
    return member.filename, content


def _only(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    if len(members) > MEMBERS_MAX:
        raise UnreadableFile(f"the ZIP archive has {len(members):,} files; the limit is {MEMBERS_MAX:,}")
    found = [each for each in members if _is_annotations(each)]
    if not found:
        raise UnreadableFile(f"the ZIP archive has no file of annotations; one that ends in {', '.join(_ENDINGS)}")
    if len(found) > 1:
        names = listed([each.filename for each in found])
        raise UnreadableFile(f"the ZIP archive has several files of annotations: {names}. Unpack it and import each")
    if found[0].flag_bits & _ENCRYPTED:
        raise UnreadableFile("the ZIP archive has a password. Unpack it, and import the file in it")
    if found[0].file_size > SHARD_BYTES_MAX:
        raise UnreadableFile(_too_large(found[0].filename))
    return found[0]


def _is_annotations(member: zipfile.ZipInfo) -> bool:
    """macOS adds a folder of its own, and hidden files."""
    parts = member.filename.split("/")
    is_hidden = any(part.startswith((".", "__MACOSX")) and part not in {".", ".."} for part in parts)
    return not is_hidden and parts[-1].lower().endswith(_ENDINGS)


def _too_large(name: str) -> str:
    return f"{printable(name, chars_max=80)} in the ZIP archive unpacks to more than {SHARD_BYTES_MAX:,} bytes"
