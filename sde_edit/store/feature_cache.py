"""On-disk cache of the rows that metrics measured, addressed by content.

    <results>/cache/features/<metric>@<version>-<hash>/<run id>-<time and random>.safetensors

The hash covers the metric's settings and convention and the run's data. A part holds `rows` [N, D],
the `keys` [N, 32] of their images, and a `checksum` [32] over both. Parts are only added, so
processes that work on one run need no lock; if two parts hold a row of one image, the later part
counts. The cache may be deleted at any time; that only costs time.

Letters: N images, D numbers per image.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from sde_edit.api.metric import NamedMetric
from sde_edit.store.files import canonical, safe_name, short_digest, write_atomic
from sde_edit.store.runs import ImageRecord, Run

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("sde_edit")


def content_key(row: ImageRecord) -> bytes:
    """The key of a measured row: a digest of the example's id and the pixels of its output.

    It leaves out batch, device and threads, which only change the rounding: another batch size must
    not invalidate a cache that took hours. So scores are bitwise the same among processes with one
    batch size, and agree to about the sixth digit otherwise.
    """
    return hashlib.sha256(f"{row.id}\x1f{row.pixels}".encode()).digest()


class FeatureCache:
    """The stored rows of one metric over one run. `root` is <results>/cache."""

    def __init__(self, root: Path, run: Run, named: NamedMetric) -> None:
        spec = named.spec
        decides = {
            "kind": spec.kind,
            "settings": dict(spec.params),
            "convention": named.metric.convention(),
            "data": asdict(run.spec.data),
        }
        digest = short_digest(canonical(decides))
        self._folder = root / "features" / f"{safe_name(spec.name)}@{spec.version}-{digest}"
        self._run_id = run.id

    def read(self, images: Mapping[str, ImageRecord]) -> dict[str, Tensor]:
        """Id -> float64 row [D], for images that have not changed since they were measured."""
        ids = {content_key(row): example_id for example_id, row in images.items()}
        found = {}
        for part in self._parts():
            for key, row_D in _rows_of(part):
                if key in ids:
                    found[ids[key]] = row_D.double()
        return found

    def write(self, rows: Mapping[str, Tensor], images: Mapping[str, ImageRecord]) -> None:
        """Store rows as a new part. Raises UserError if the disk is full."""
        # Names sort by time, so that later parts are read last and count.
        name = f"{self._run_id}-{time.time_ns():016x}-{uuid.uuid4().hex[:8]}.safetensors"
        keys = b"".join(content_key(images[example_id]) for example_id in rows)
        write_atomic(self._folder / name, _packed(torch.stack(list(rows.values())), keys))

    def clear(self) -> None:
        """Delete the rows of this run."""
        for part in self._parts():
            part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"{self._run_id}-*.safetensors"))
        except FileNotFoundError:  # deleted while it was listed
            return []


def _packed(rows_ND: Tensor, keys: bytes) -> bytes:
    """The content of a part; rows are stored as float32 if that is lossless."""
    narrow_ND = rows_ND.float()
    lossless = torch.equal(narrow_ND.double(), rows_ND)
    keys_NK = torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(len(rows_ND), -1)
    tensors = {"rows": narrow_ND if lossless else rows_ND, "keys": keys_NK}
    return safetensors.torch.save(tensors | {"checksum": _checksum(**tensors)})


def _checksum(rows: Tensor, keys: Tensor) -> Tensor:
    digest = hashlib.sha256(keys.numpy().tobytes())
    digest.update(rows.numpy().tobytes())
    return torch.from_numpy(np.frombuffer(digest.digest(), np.uint8).copy())


def _rows_of(part: Path) -> Iterator[tuple[bytes, Tensor]]:
    """(key, row [D]) of a part; nothing if the part is gone or damaged."""
    try:
        tensors = safetensors.torch.load(part.read_bytes())
        checksum = tensors.pop("checksum")
        if not torch.equal(checksum, _checksum(**tensors)):
            raise ValueError("its content is not what was written")
    except FileNotFoundError:
        return  # another process has cleared it
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s): deleted, its images are measured again", part, error)
        part.unlink(missing_ok=True)
        return
    for key, row_D in zip(tensors["keys"].numpy(), tensors["rows"], strict=True):
        yield key.tobytes(), row_D
