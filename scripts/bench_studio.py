"""How fast does the studio start and answer, while it is idle and while the network runs?

    python scripts/bench_studio.py [--requests 200] [OVERRIDES]

Starts `sde-edit studio` in a temporary folder and measures how long its first page takes from the
start of the process. Then drags a scene of the embedded model in the background, and asks for pages
meanwhile. Prints a table in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from sde_edit.datasets.shapes import Shapes
from sde_edit.imaging.files import png_bytes

PATHS = ("/", "/edits", "/settings/drag/sde", "/static/studio/main.js")


@contextmanager
def served(overrides: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Context manager: the address of a studio, and the seconds until its page was there."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sde_edit", "studio", f"paths.results={folder}"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, *overrides, "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        address = process.stdout.readline().strip().rstrip("/")
        ask(address, "/")
        try:
            yield address, time.perf_counter() - start
        finally:
            process.terminate()
            process.wait()


def ask(address: str, path: str, content: bytes | None = None) -> bytes:
    """The answer to GET, or to POST if there is content."""
    request = urllib.request.Request(address + path, content, {"origin": address})
    with urllib.request.urlopen(request) as answer:
        body: bytes = answer.read()
    return body


def begin_drag(address: str) -> None:
    """Start an edit that takes minutes."""
    scene = Shapes().load("test-000000")
    photo = json.loads(ask(address, "/photos", png_bytes(Image.fromarray(scene.image))))
    wish: dict[str, Any] = {"photo": photo["token"], "kind": "drag", "task": "drag"}
    wish |= {"sampler": "both", "prompt": scene.caption, "drags": [[[18, 39], [18, 10]]]}
    wish["settings"] = {"steps": "900", "task.lora_steps": "0"}
    ask(address, "/edits", json.dumps({"wish": wish, "mask": ""}).encode())
    while not json.loads(ask(address, "/edits"))[0]["done"]:
        time.sleep(0.1)


def milliseconds(address: str, path: str, requests: int) -> list[float]:
    """How long each of so many answers took."""
    taken = []
    for _ in range(requests):
        start = time.perf_counter()
        ask(address, path)
        taken.append(1000 * (time.perf_counter() - start))
        time.sleep(0.01)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    with served(given.overrides) as (address, seconds):
        print(f"first page after {seconds:.2f} s\n")
        print("| page | network | median | 95 % | most |\n|---|---|---|---|---|")
        ask(address, PATHS[2])  # waits for what must be imported
        for network in ("idle", "at work"):
            if network == "at work":
                begin_drag(address)
            for path in PATHS:
                taken = milliseconds(address, path, given.requests)
                median, high, most = np.quantile(taken, [0.5, 0.95, 1])
                print(f"| `{path}` | {network} | {median:.1f} | {high:.1f} | {most:.1f} |")


if __name__ == "__main__":
    main()
