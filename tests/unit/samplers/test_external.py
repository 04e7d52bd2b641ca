"""Images made elsewhere: which files are taken, what is refused, what the spec and tables say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sde_edit.api.example import Example
from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.registry import build
from sde_edit.report.selection import diff_specs, flatten, matches
from sde_edit.store.files import safe_name
from sde_edit.store.runs import run_id

SIDE = 16
IDS = ("animal/bear", "art/a.b", "c")
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "made"
    for level, (example_id, suffix) in enumerate(zip(IDS, (".png", ".PNG", ".bmp"), strict=True)):
        save(folder / f"{example_id}{suffix}", level)
    return folder


def save(path, level, size=(SIDE, SIDE), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (level,) * len(mode)).save(path)


def external(folder, **settings):
    return build("samplers", "external", {"outputs": str(folder), **settings})


def example(example_id="c"):
    return Example(example_id, np.zeros((SIDE, SIDE, 3), np.uint8))


def test_finds_and_reads_by_id_whatever_the_suffix(folder):
    (folder / "readme.txt").write_text("not an image")
    images = external(folder)
    assert tuple(images.available(IDS, None)) == IDS
    read = [images.read(example(i)) for i in IDS]
    assert [pixels[0, 0].tolist() for pixels in read] == [[0] * 3, [1] * 3, [2] * 3]
    assert all((pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8) for pixels in read)


def test_takes_the_name_that_runs_use(tmp_path):
    save(tmp_path / f"{safe_name('animal/bear')}.png", 7)
    assert external(tmp_path).read(example("animal/bear"))[0, 0, 0] == 7


def test_the_digest_is_of_the_content_not_the_place(folder, tmp_path):
    digest = external(folder).digest(IDS)
    folder.rename(tmp_path / "moved")
    assert external(tmp_path / "moved").digest(IDS) == digest
    save(tmp_path / "moved" / "c.bmp", 9)
    assert external(tmp_path / "moved").digest(IDS) != digest


def test_two_examples_that_swap_their_images_are_another_digest(folder):
    digest = external(folder).digest(IDS)
    (folder / "animal/bear.png").rename(folder / "swap")
    (folder / "art/a.b.PNG").rename(folder / "animal/bear.png")
    (folder / "swap").rename(folder / "art/a.b.PNG")
    assert external(folder).digest(IDS) != digest


# ------------------------------------------------------------------ what is missing


def test_missing_images_are_counted_and_named_with_the_remedy(folder):
    wanted = [*IDS, *(f"more/{i}" for i in range(7))]
    with pytest.raises(UserError, match=r"7 of the 10 examples have no image: more/0; more/1") as e:
        external(folder).available(wanted, None)
    assert "and 2 more" in str(e.value)
    assert str(folder / "more/0.png") in str(e.value)
    assert "sampler.partial=true" in str(e.value)
    assert tuple(external(folder, partial=True).available(wanted, None)) == IDS


def test_beyond_the_limit_none_is_needed(folder):
    assert tuple(external(folder).available([*IDS, "d"], 3)) == IDS
    with pytest.raises(UserError, match="1 of the 4 examples"):
        external(folder).available([*IDS, "d"], 4)


@pytest.mark.parametrize("partial", [False, True])
def test_no_image_at_all_is_refused(folder, partial):
    with pytest.raises(UserError, match="no image of any of the 1 examples"):
        external(folder, partial=partial).available(["d"], None)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        external(tmp_path / "no").available(IDS, None)


# ------------------------------------------------------------------ what is refused


def test_another_size_is_refused_with_both(folder):
    save(folder / "c.bmp", 1, (SIDE, 24))
    with pytest.raises(UserError, match=r"c\.bmp: is 16x24, but example 'c' is 16x16"):
        external(folder).read(example())


def test_unreadable_and_transparent_images_are_refused(folder):
    (folder / "c.bmp").write_bytes(b"BM no image")
    with pytest.raises(UserError, match=r"c\.bmp: cannot be read as an image"):
        external(folder).read(example())
    (folder / "c.bmp").unlink()
    save(folder / "c.png", 100, mode="RGBA")
    with pytest.raises(UserError, match=r"c\.png: has transparent pixels"):
        external(folder).read(example())


def test_two_files_of_one_example_are_refused(folder):
    save(folder / "c.png", 3)
    with pytest.raises(UserError, match=r"c\.(bmp|png) and .*c\.(bmp|png) are both of example 'c'"):
        external(folder).available(IDS, None)


def test_capitals_and_the_form_of_accents_do_not_matter(tmp_path):
    for level, name in enumerate(("img_1.PNG", "cafe\u0301.png")):
        save(tmp_path / name, level)
    images = external(tmp_path)
    assert images.available(["IMG_1", "caf\u00e9"], None) == ["IMG_1", "caf\u00e9"]
    assert images.read(example("caf\u00e9"))[0, 0, 0] == 1
    save(tmp_path / "IMG_1.png", 5)
    with pytest.raises(UserError, match="are both of example 'IMG_1'"):
        external(tmp_path).available(["IMG_1"], None)


def test_no_id_leads_out_of_the_folder(folder):
    save(folder.parent / "secret.png", 5)
    with pytest.raises(UserError, match="no image of any"):
        external(folder).available(["../secret"], None)
    with pytest.raises(UserError, match="no image of any"):
        external(folder).available([str(folder.parent / "secret")], None)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(folder):
    save(folder.parent / "secret.png", 5)
    (folder / "d.png").symlink_to(folder / "c.bmp")
    assert tuple(external(folder).available(["d"], None)) == ("d",)
    (folder / "e.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(UserError, match=r"e\.png: a link that leads out of the folder"):
        external(folder).available(["e"], None)


def test_a_folder_that_is_linked_out_is_not_entered(folder):
    save(folder.parent / "outside" / "bear.png", 5)
    (folder / "wild").symlink_to(folder.parent / "outside", target_is_directory=True)
    with pytest.raises(UserError, match="no image of any"):
        external(folder).available(["wild/bear"], None)


# ------------------------------------------------------------------ the spec


@pytest.fixture
def scenes(tmp_path):
    for i in range(3):
        save(tmp_path / "scenes" / f"test-{i:06d}.png", i, (64, 64))
    return tmp_path / "scenes"


def of(scenes: Path, *overrides):
    where = ["task=drag", "data=shapes-drags", "data.n=3", "sampler=external", "metrics=[]"]
    return experiment([*where, f"sampler.outputs={scenes}", *overrides]).spec


def test_settings_that_had_no_part_in_the_images_are_not_in_the_run_id(scenes):
    spec = of(scenes)
    other = of(scenes, "model=sd15", "steps=7", "task.guidance=9", "seed=3", "dtype=bfloat16")
    assert run_id(spec) == run_id(other)
    assert spec.is_external
    assert run_id(spec) == run_id(of(scenes, "sampler.partial=true"))
    save(scenes / "test-000002.png", 99, (64, 64))
    assert run_id(spec) != run_id(of(scenes))


def test_the_name_is_the_label(scenes):
    assert of(scenes, "sampler.name=DragGAN").sampler.name == "DragGAN"


def test_it_fits_whatever_is_asked_of_the_network_but_not_another_sampler_or_data(scenes):
    spec = of(scenes)
    asked = {"task": ["drag"], "steps": [50], "model": ["sd15"], "task.guidance": [3.0]}
    assert matches(spec, asked | {"sampler": ["external"]})
    assert not matches(spec, asked | {"sampler": ["sde"]})
    assert not matches(spec, asked | {"task": ["inpaint"]})
    assert not matches(spec, {"data.mask": ["changed"]})


def test_what_differs_from_a_run_is_the_sampler(scenes):
    drags = ["task=drag", "data=shapes-drags", "data.n=3", "metrics=[]"]
    ode = experiment([*drags, "sampler=ode", "model=gmm"]).spec
    assert not ode.is_external
    assert diff_specs(ode, of(scenes)) == {"sampler": ("ode", "external")}
    assert "steps" not in flatten(of(scenes))


def test_partial_leaves_out_and_counts(scenes):
    (scenes / "test-000001.png").unlink()
    where = ["task=drag", "data=shapes-drags", "data.n=3", "metrics=[]", "sampler=external"]
    where += [f"sampler.outputs={scenes}", "sampler.partial=true"]
    chosen = experiment(where)
    assert list(chosen.dataset.ids()) == ["test-000000", "test-000002"]
    assert chosen.excluded == 1
    whole = experiment([*where[:4], "model=gmm", "task=sample", "sampler=ode"])
    assert chosen.dataset.digest() == whole.dataset.digest()
    assert dataclasses.asdict(chosen.spec.data) == dataclasses.asdict(whole.spec.data)


def test_outputs_must_be_given():
    with pytest.raises(UserError, match=r"sampler\.outputs must be given"):
        experiment(["sampler=external"])
