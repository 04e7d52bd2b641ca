"""The folder of a report, and which of the files in it belong to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sde_edit.store.files import canonical, write_atomic

_SUBFOLDERS = ("assets", "data", "pictures", "tables", "thumbnails")


@dataclass
class Folder:
    """The folder of a report. own: the files that belong to it."""

    path: Path
    own: set[Path] = field(default_factory=set)

    def file(self, name: str) -> Path:
        """The file of that path in the folder, which belongs to the report from now on."""
        file = self.path / name
        self.own.add(file)
        return file

    def write(self, name: str, text: str) -> None:
        """Write a file unless it is there with this text. Raises UserError if it cannot be."""
        file, data = self.file(name), text.encode()
        if not file.is_file() or file.read_bytes() != data:
            write_atomic(file, data)

    def put(self, key: str, value: Any) -> None:
        """Write the data that pages know by a key, as a script."""
        self.write(f"data/{key}.js", f"report.put({canonical(key)}, {canonical(value)});\n")

    def remove_others(self) -> None:
        """Remove what earlier reports have written and this one has not."""
        for subfolder in _SUBFOLDERS:
            for file in (self.path / subfolder).rglob("*"):
                if file.is_file() and file not in self.own:
                    file.unlink()
