"""What a file is by its first bytes, for errors: a name that says ``.txt`` or ``.jsonl`` may be wrong."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import CorpusError

HEAD = 512
"""Bytes that are looked at."""
_NAMED = "or end its name in {0} after its format's suffix: part.jsonl{0}"
_FEATHER = "write it again: pyarrow.feather.write_feather(pyarrow.feather.read_table(FILE), NEW)"
_ICONV = "convert it: iconv -f {0} -t UTF-8 FILE > NEW"
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip", f"gunzip it, {_NAMED.format('.gz')}"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", f"decompress it: zstd -d FILE, {_NAMED.format('.zst')}"),
    (b"BZh", "compressed with bzip2", f"decompress it: bunzip2 FILE, {_NAMED.format('.bz2')}"),
    (b"\xfd7zXZ\x00", "compressed with xz", f"decompress it: unxz FILE, {_NAMED.format('.xz')}"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", "decompress it: lz4 -d FILE"),
    (b"PK\x03\x04", "a ZIP archive (as .docx, .epub, .xlsx and .npz are)", "unzip it, or save it as plain text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x FILE"),
    (b"ARROW1", "an Arrow file", "end its name in .arrow"),
    (b"FEA1", "a Feather file of version 1", _FEATHER),
    (b"\xff\xff\xff\xff", "an Arrow stream", "end its name in .arrow"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it: unrar x FILE"),
    (b"Salted__", "encrypted by OpenSSL", "decrypt it"),
    (b"-----BEGIN PGP MESSAGE", "encrypted by PGP", "decrypt it: gpg -d FILE"),
    (b"PAR1", "a Parquet file", "end its name in .parquet"),
    (b"%PDF-", "a PDF", "save it as plain text: pdftotext FILE"),
    (b"SQLite format 3\x00", "an SQLite database", "export it as JSON lines"),
    (b"\x89HDF\r\n", "an HDF5 file", "write it as Parquet or JSON lines"),
    (b"\x89PNG", "an image", "leave it out"),
    (b"\xff\xd8\xff", "an image", "leave it out"),
    (b"\x7fELF", "a program", "leave it out"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself", "get it: git lfs pull"),
    (b"\xff\xfe\x00\x00", "in UTF-32, not UTF-8", _ICONV.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "in UTF-32, not UTF-8", _ICONV.format("UTF-32")),
    (b"\xff\xfe", "in UTF-16, not UTF-8", _ICONV.format("UTF-16")),
    (b"\xfe\xff", "in UTF-16, not UTF-8", _ICONV.format("UTF-16")),
)  # fmt: skip


def kind(head: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, and what to do with it; None where it may be text."""
    for magic, what, fix in _MAGIC:
        if head.startswith(magic) and (magic != b"BZh" or head[4:7] == b"1AY"):
            return what, fix
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it: tar -xf FILE"
    low, high = head[0::2], head[1::2]
    for order, zeros, others in (("LE", high, low), ("BE", low, high)):
        # Letters of most scripts with an alphabet have a zero byte in UTF-16; UTF-8 text has none.
        if len(zeros) >= 4 and zeros.count(0) > len(zeros) / 2 > others.count(0):
            return "in UTF-16, not UTF-8", _ICONV.format(f"UTF-16{order}")
    if head.count(0) > max(4, len(head) // 10):  # a text may hold a few
        return "no text: it is full of zero bytes", "leave it out, or save it as plain text"
    return None


def check_kind(path: Path, head: bytes, *, unicode: bool = False) -> None:
    """Check that the first bytes of a file may be those of text: in UTF-8, or in UTF-16 too.

    Raises:
        CorpusError: they are those of another kind of file.
    """
    found = kind(head)
    if found is not None and not (unicode and found[0].startswith("in UTF")):
        raise CorpusError(f"the file is {found[0]}", where=str(path), fix=found[1])
