"""Names of files as ids and for pairing: the same on every file system.

Some file systems store é as one character and others as two, and some take a.png and A.PNG for one
file. Ids are composed (Unicode's form NFC), and files are paired by keys, for which capitals do not
matter.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

_LEFTOVERS = ("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN")


def composed(name: str) -> str:
    """A name in Unicode's form NFC."""
    return unicodedata.normalize("NFC", name)


def key(name: str) -> str:
    """What two names have in common that some file system takes for one."""
    return composed(composed(name).casefold())


def stem(file: Path, folder: Path) -> str:
    """A file's path below a folder, composed, without suffix, with forward slashes."""
    return composed(file.relative_to(folder).with_suffix("").as_posix())


def is_leftover(part: str) -> bool:
    """Whether a file or folder is hidden, or left behind by a file manager or an archive."""
    return part.startswith(".") or part in _LEFTOVERS


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; the bytes of a name that is not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
