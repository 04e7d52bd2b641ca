"""PIE-Bench in small files of both official forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sde_edit.imaging.files import png_bytes
from sde_edit.registry import build
from tests.builders import picture

FOLDERS = ("0_random_140", "6_change_attribute_color_40", "9_change_style_80")
KINDS = ("random", "colour", "style")
BOX = [run for row in range(100, 200) for run in (512 * row + 50, 300)]  # rows 100 to 199
WHOLE = [0, 512 * 512]


def entry(i: int, **changes: Any) -> dict[str, Any]:
    """The i-th entry of the mapping file."""
    folder = FOLDERS[i % 3]
    own = {
        "image_path": f"{folder}/1_artificial/{i:012d}.jpg",
        "original_prompt": f"a [red] cat number {i}",
        "editing_prompt": f"a [blue] dog number {i}",
        "editing_instruction": "Make it a blue dog",
        "editing_type_id": folder[0],
        "blended_word": "cat dog",
        "mask": WHOLE if folder[0] == "9" else BOX,
    }
    return own | changes


def write_mapping(root: Path, entries: dict[str, Any]) -> None:
    root.mkdir(exist_ok=True)
    (root / "mapping_file.json").write_text(json.dumps(entries))


def write_published(root: Path, n: int = 6) -> None:
    """As the archive is unpacked."""
    entries = {f"{i:012d}": entry(i) for i in range(n)}
    write_mapping(root, entries)
    for i, own in enumerate(entries.values()):
        file = root / "annotation_images" / own["image_path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(i))


def content(i: int) -> bytes:
    """The file of the i-th image."""
    return png_bytes(picture(512, 512, i))


def hub_row(i: int, **changes: Any) -> dict[str, Any]:
    """The i-th row, in the columns of the hub."""
    own = {
        "image": {"bytes": content(i), "path": f"{i:012d}.jpg"},
        "id": f"{i:012d}",
        "source_prompt": f"a [red] cat number {i}",
        "target_prompt": f"a [blue] dog number {i}",
        "edit_action": '{"blue": {"position": 1, "edit_type": 6, "action": "red"}}',
        "aspect_mapping": '{"dog": ["blue"]}',
        "blended_words": '["cat,dog"]',
        "mask": " ".join(map(str, entry(i)["mask"])),
    }
    return own | changes


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def write_hub(root: Path, n: int = 6) -> None:
    """As `hf download` writes it."""
    for k, folder in enumerate(FOLDERS):
        rows = [hub_row(i) for i in range(k, n, 3)]
        write_rows(root / folder / "V1-00000-of-00001.parquet", rows)


def pie_bench(root: Path, **settings: Any) -> Any:
    return build("datasets", "pie_bench", {"root": str(root), "resolution": 512} | settings)
