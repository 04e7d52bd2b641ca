"""SHA-256 digests of files, cached between runs so that a large data set is hashed once.

The cache is `<cache>/sde-edit/digests.json` with <cache> = $XDG_CACHE_HOME or ~/.cache: path ->
[size, mtime_ns, ctime_ns, sha256], with a checksum. It only saves time: if it is missing, damaged
or not writable, files are hashed again. A process parses it once, and again when it has been
rewritten.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from sde_edit.errors import UserError
from sde_edit.store.files import digest_of_pairs, open_regular, read_checked, write_checked

# A file that is written twice within one tick of the file system's clock keeps its times.
_SETTLED_NS = 2_000_000_000
_THREADS = 8
_Stamp = tuple[int, int, int]
_Cache = dict[str, tuple[_Stamp, str]]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Raises UserError if it cannot be read."""
    return file_digests([path])[0]


def files_digest(paths: Iterable[Path], relative_to: Path) -> str:
    """SHA-256 over the names (relative to a folder) and contents of files, in any order.

    Raises UserError if a file cannot be read, ValueError if one is outside the folder.
    """
    return named_digest({path.relative_to(relative_to).as_posix(): path for path in paths})


def named_digest(files: Mapping[str, Path]) -> str:
    """SHA-256 over the given names and the contents of files. Raises UserError."""
    names = sorted(files)
    contents = file_digests([files[name] for name in names])
    return digest_of_pairs(zip(names, contents, strict=True))


def file_digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's content, in the given order. Raises UserError like `file_digest`."""
    cached = _read_cache()
    keys = _keys(paths)
    stamps = [_stamp(path) for path in paths]
    new = {
        key: path
        for key, stamp, path in zip(keys, stamps, paths, strict=True)
        if key not in cached or cached[key][0] != stamp
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        hashed = dict(zip(new, pool.map(_hash, new.values()), strict=True))
    if hashed:
        _update_cache({k: (s, hashed[k]) for k, s in zip(keys, stamps, strict=True) if k in hashed})
    return [hashed[key] if key in hashed else cached[key][1] for key in keys]


def _keys(paths: Sequence[Path]) -> list[str]:
    """The absolute path of each file; each folder is resolved once."""
    folders = {folder: folder.resolve() for folder in {path.parent for path in paths}}
    return [str(folders[path.parent] / path.name) for path in paths]


def _hash(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _cache_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "sde-edit" / "digests.json"


def _read_cache() -> _Cache:
    file = _cache_file()
    try:
        stat = file.stat()
    except OSError:
        return {}
    return _parsed(file, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1)
def _parsed(file: Path, state: tuple[int, int, int]) -> _Cache:
    """The content of a cache file. state: changes whenever the file is replaced."""
    raw = read_checked(file)
    try:
        return {k: ((size, mtime, ctime), sha) for k, (size, mtime, ctime, sha) in raw.items()}
    except (ValueError, TypeError):  # of another version
        return {}


def _update_cache(new: _Cache) -> None:
    """Merge with what other processes have written in the meantime; the last writer wins."""
    settled = time.time_ns() - _SETTLED_NS
    kept = {k: (s, sha) for k, (s, sha) in new.items() if max(s[1], s[2]) < settled}
    if not kept:
        return
    raw = {k: [*stamp, sha] for k, (stamp, sha) in {**_read_cache(), **kept}.items()}
    try:
        write_checked(_cache_file(), raw)
    except (UserError, OSError):
        return  # the home is read-only: the next run hashes again
