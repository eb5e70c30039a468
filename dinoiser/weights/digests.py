"""Digests of files: those that weights files must have, and those they have."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

DigestKind = Literal["sha256", "git blob"]


class Digest(NamedTuple):
    """A digest with its kind, in lower-case hexadecimal digits."""

    kind: DigestKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


def file_digest(path: Path, kind: DigestKind) -> Digest:
    """Compute the digest of a file.

    Parameters
    ----------
    path
        The file; it is read once, never as a whole into memory.
    kind
        ``"sha256"``, or ``"git blob"`` for the id that git gives to the content:
        the SHA-1 of ``blob <size in bytes>``, a zero byte and the content.

    Returns
    -------
    Digest
        The digest of the file's current content.
    """
    with path.open("rb") as file:
        if kind == "sha256":
            return Digest(kind, hashlib.file_digest(file, "sha256").hexdigest())
        # git hashes a header with the size before the content
        header = b"blob %d\0" % path.stat().st_size
        start = lambda: hashlib.sha1(header, usedforsecurity=False)  # noqa: E731
        return Digest(kind, hashlib.file_digest(file, start).hexdigest())


def digest(path: str | Path) -> str:
    """SHA-256 of a file, as jobs record it for the weights that they used.

    Parameters
    ----------
    path
        The file. It is read again only if its size or modification time has changed
        since an earlier call.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    status = Path(path).stat()
    return _sha256_of_version(Path(path).resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of_version(path: Path, size: int, mtime_ns: int) -> str:
    return file_digest(path, "sha256").value
