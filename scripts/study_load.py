"""How fast a study answers twenty raters at once.

    python scripts/study_load.py

plans a study of pictures of noise, 512 pixels wide, in a temporary folder, serves it, and lets
simulated raters answer: they get the original and both edits, think, and answer.
Prints how long the server takes to start, and the percentiles of the requests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import click
import numpy as np
from PIL import Image

from sde_edit.imaging.files import png_bytes
from sde_edit.study.plan import Arm, Item, Plan, Study

SIDE, ITEMS = 512, 20


def plan(study: Study, raters: int) -> None:
    """Write a study of pictures of noise."""
    rng = np.random.default_rng(0)

    def image() -> str:
        noise = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        return study.add_image(png_bytes(Image.fromarray(noise)))

    items = tuple(Item(f"{i:03d}", "", image(), (image(), image())) for i in range(ITEMS + 3))
    arms = (Arm("a", "", ""), Arm("b", "", ""))
    study.write(
        Plan("load", "Which?", (), 0, arms, items[:ITEMS], items[ITEMS:], 0.8, raters, 0.1, ())
    )


def ask(address: str, body: object = None) -> tuple[bytes, float]:
    """The answer to a request, and its milliseconds."""
    origin = "/".join(address.split("/")[:3])
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"origin": origin})
    began = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        content = answer.read()
    return content, 1000 * (time.perf_counter() - began)


def rate(link: str, think: float) -> list[float]:
    """Milliseconds of all requests of a simulated rater, from consent to thanks.

    think: seconds before each answer.
    """
    origin = "/".join(link.split("/")[:3])
    content, first = ask(f"{link}/agree", {})
    taken = [first]
    state = json.loads(content)
    while state["stage"] == "question":
        for name in ("original", "left", "right"):
            taken.append(ask(f"{origin}/image/{state[name]}.png")[1])
        time.sleep(think)
        given = {"number": state["number"], "choice": "left", "seconds": 1.0}
        content, last = ask(f"{link}/answer", given)
        taken.append(last)
        state = json.loads(content)
    return taken


@click.command()
@click.option("--raters", default=20, show_default=True)
@click.option("--think", default=1.0, show_default=True, help="Seconds before each answer.")
def main(raters: int, think: float) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        plan(Study.named("load", Path(folder)), raters)
        command = ["study", "serve", "load", f"paths.results={folder}"]
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "sde_edit", *command], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout
            links = re.findall(r"http\S+", "".join(next(server.stdout) for _ in range(raters)))
            print(f"started in {time.perf_counter() - began:.1f} s")
            with ThreadPoolExecutor(raters) as pool:
                found = pool.map(rate, links, repeat(think))
                taken = [milliseconds for one in found for milliseconds in one]
        finally:
            server.terminate()
            server.wait()
    middle, most = np.quantile(taken, [0.5, 0.99])
    print(f"{raters} raters, {len(taken)} requests: median {middle:.0f} ms, 99 % {most:.0f} ms")


if __name__ == "__main__":
    main()
