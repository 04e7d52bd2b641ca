"""What a data set of drags is made of: counts, their table beside the paper's, refusals."""

import csv
import json

import pytest
from PIL import Image

from sde_edit.api.spec import ComponentSpec
from sde_edit.commands.table import build_composition, publish_table
from sde_edit.config import data_set, group_file, sweep_overrides
from sde_edit.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def item(root, name, *, pairs=1, masked=False):
    """One of DragBench, as the official files lay it out."""
    folder = root / name
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32), (len(name), 9, 9)).save(folder / "origin_image.png")
    said = {"prompt": name, "source": [[4, 4]] * pairs, "target": [[9, 9]] * pairs}
    (folder / "prompt.json").write_text(json.dumps(said))
    if masked:
        mask = Image.new("L", (32, 32), 0)
        mask.paste(255, (0, 0, 16, 16))
        mask.save(folder / "mask.png")


@pytest.fixture
def sorted_bench(tmp_path):
    """Four items in folders of two categories, written otherwise than in the paper."""
    root = tmp_path / "bench"
    item(root, "Natural_Landscape/0/hill", masked=True)
    item(root, "Natural_Landscape/1/lake", pairs=2)
    item(root, "animal/2/bear")
    item(root, "toys/bear")
    return [f"data.root={root}", "data=dragbench", "data.resolution=32"]


def lines(tmp_path, overrides):
    """(block, row) -> column -> value, of the table as CSV."""
    where = f"paths.results={tmp_path / 'results'}"
    file = next(p for p in publish_table("table4", [*overrides, where]) if p.suffix == ".csv")
    found = {}
    for row in csv.DictReader(file.read_text().splitlines()):
        found.setdefault((row["metric"], row["row"]), {})[row["column"]] = row["value"]
    return found


def test_folders_are_counted_beside_the_papers_categories(sorted_bench, tmp_path):
    found = lines(tmp_path, sorted_bench)
    animal = {"dragbench": "1", "share": "0.25", "paper": "50"}
    assert found["category", "animal"] == animal
    (landscape,) = [cells for (_, row), cells in found.items() if "andscape" in row]
    assert landscape == {"dragbench": "2", "share": "0.5", "paper": "20"}
    assert found["category", "plant"] == {"dragbench": "0", "share": "0.0", "paper": "8"}
    assert found["category", "toys"] == {"dragbench": "1", "share": "0.25", "paper": ""}
    assert found["pairs of points", "2"]["dragbench"] == "1"
    assert found["images", "all"] == {"dragbench": "4", "share": "1.0", "paper": "100"}
    assert found["images", "with a mask"] == {"dragbench": "1", "share": "0.25", "paper": "44"}


def test_numbered_folders_say_no_category(tmp_path):
    for number, name in enumerate(("bear", "hill")):
        item(tmp_path / "bench", f"{number}/{name}")
    overrides = ["data=dragbench", f"data.root={tmp_path / 'bench'}", "data.resolution=32"]
    found = lines(tmp_path, overrides)
    assert found["category", "animal"] == {"dragbench": "", "share": "", "paper": "50"}
    assert not [row for _, row in found if row.isdecimal() and row != "1"]
    assert found["images", "all"]["dragbench"] == "2"


def test_only_the_items_drawn_are_counted(sorted_bench, tmp_path):
    found = lines(tmp_path, [*sorted_bench, "data.n=3"])
    assert found["images", "all"]["dragbench"] == "3"
    assert sum(int(cells["dragbench"]) for (b, _), cells in found.items() if b == "category") == 3


@pytest.mark.parametrize("mask", ["none", "changed"])
def test_the_embedded_drags_are_what_their_examples_show(mask):
    _, drags = data_set(["data=shapes-drags", "data.n=12", f"data.mask={mask}"])
    counts = drags.statistics()
    examples = [drags.load(i) for i in drags.ids()]
    two = sum(" and " in example.caption for example in examples)
    assert counts["things in the image"].get("2", 0) == two
    assert counts["images"] == {"all": 12, "with a mask": sum(e.mask is not None for e in examples)}
    for what in ("shape that is dragged", "colour that is dragged"):
        assert sum(counts[what].values()) == 12
    for colour, n in counts["colour that is dragged"].items():
        assert n <= sum(colour in example.caption for example in examples)


def test_the_table_is_written_without_an_argument(tmp_path):
    found = lines(tmp_path, [])
    assert found["images", "all"]["shapes-drags"] == "256"
    assert found["category", "art"] == {"shapes-drags": "", "share": "", "paper": "5"}


def test_the_papers_counts_add_up():
    values = group_file("table", "table4")["paper"]["values"]
    assert sum(values["category"].values()) == values["images"]["all"] == 100


def test_labels_that_differ_in_writing_alone_are_one():
    counts = {"category": {"ai generated": 3}, "images": {"all": 3}}
    table = build_composition(group_file("table", "table4"), ComponentSpec("d", "d", 1), counts)
    rows = [row for row in table.blocks[0].rows if "generated" in row.label.lower()]
    assert [[cell.value for cell in row.cells] for row in rows] == [[3, 1.0, 17]]


@pytest.mark.parametrize("idle", ["dtype=bfloat16", "data.limit=3", "steps=5"])
def test_an_override_without_effect_is_refused(idle, tmp_path):
    with pytest.raises(UserError, match=f"{idle}: table4 counts a whole data set"):
        publish_table("table4", [idle, f"paths.results={tmp_path}"])


def test_a_data_set_that_says_nothing_of_its_make_up_is_refused(tmp_path):
    with pytest.raises(UserError, match="data=shapes does not say what it is made of"):
        publish_table("table4", ["data=shapes", f"paths.results={tmp_path}"])


def test_missing_data_is_said(tmp_path):
    with pytest.raises(UserError, match="dragbench"):
        publish_table("table4", ["data=dragbench", f"paths.data={tmp_path}"])


def test_it_cannot_be_swept():
    with pytest.raises(UserError, match="table4 needs no runs: sde-edit table table4"):
        sweep_overrides(["table=table4"])
