"""Weights of metrics: what is missing, damaged or of another network is named, and nothing is
scored with random weights."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sde_edit.api.metric import NamedMetric
from sde_edit.errors import UserError
from sde_edit.evaluation.evaluate import check_metrics
from sde_edit.networks.checkpoints import ASSETS
from sde_edit.registry import build
from tests.unit.evaluation.test_evaluate import choice
from tests.unit.metrics.inputs import loaded
from tests.unit.metrics.test_clip import TINY_CLIP


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance", "lpips"])
def test_offline_says_what_to_fetch_and_where_to_put_it(hub, kind):
    for attempt in (build("metrics", kind, {}).fetch, lambda: loaded(kind)):
        with pytest.raises(UserError, match=rf"cannot fetch https://.*put it into {hub}"):
            attempt()


def test_a_damaged_download_is_named(hub):
    (hub / "inception-2015-12-05.pt").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"inception-2015-12-05.pt is damaged.*Delete it"):
        loaded("frechet")


# ------------------------------------------------------------------ tensors


def lacking(tensors):
    """Without its last weight."""
    lost = max(key for key in tensors if key.endswith("weight"))
    return {key: own for key, own in tensors.items() if key != lost}


def surplus(tensors):
    return tensors | {"zzz.weight": torch.zeros(2)}


def reshaped(tensors):
    return tensors | {max(tensors): torch.zeros(3, 5)}


def change_safetensors(file, change):
    save_file(change(load_file(file)), file)


def clip(folder, _hub, change):
    import open_clip

    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(change(network.state_dict()), folder / "open_clip_model.safetensors")
    return build("metrics", "clip", {"model": f"local-dir:{folder}", "pretrained": ""})


def squeezenet(hub):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    file = hub / SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    return file, dict(squeezenet1_1().state_dict())


def lpips_backbone(_folder, hub, change):
    file, tensors = squeezenet(hub)
    torch.save(change(tensors), file)
    return build("metrics", "lpips", {"net": "squeeze"})


def shapes_clip(folder, _hub, change):
    for part in ("recogniser", "tokenizer"):
        shutil.copytree(ASSETS / "shapes" / part, folder / part)
    change_safetensors(folder / "recogniser/model.safetensors", change)
    return build("metrics", "shapes_clip", {})


def shapes_fid(folder, hub, change):
    shapes_clip(folder, hub, change)
    return build("metrics", "frechet", {"extractor": "shapes"})


def drag_distance(folder, _hub, change):
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(ASSETS / "shapes" / part, folder / part)
    change_safetensors(folder / "text_encoder/model.safetensors", change)
    return build("metrics", "drag_distance", {"path": str(folder), "block": 1, "ensemble": 1})


@pytest.mark.parametrize("change", [lacking, surplus, reshaped])
@pytest.mark.parametrize(("made", "file", "remedy"), [
    (clip, "local-dir", "Fetch /"), (lpips_backbone, "squeezenet1_1", "Delete it"),
    (shapes_clip, "recogniser/model.safetensors", "Reinstall"),
    (shapes_fid, "recogniser/model.safetensors", "Reinstall"),
    (drag_distance, "text_encoder/model.safetensors", "Fetch the folder again"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_those_of_the_network_are_refused(
    tmp_path, hub, monkeypatch, made, file, remedy, change
):
    monkeypatch.setattr("sde_edit.evaluation.recognition.SHAPES_FOLDER", tmp_path)
    with torch.random.fork_rng():
        metric = made(tmp_path, hub, change)
        (problem,) = check_metrics([NamedMetric(choice("this"), metric)])
    assert problem.startswith("metric 'this': ")
    assert file in problem
    assert f". {remedy}" in problem
    assert "weight" in problem
    assert "\n" not in problem


@pytest.mark.parametrize("change", [lacking, surplus, reshaped])
@pytest.mark.filterwarnings("ignore")
def test_linear_layers_of_lpips_that_lack_tensors_are_refused(hub, tmp_path, monkeypatch, change):
    """The package itself goes on with random ones."""
    import lpips

    backbone, tensors = squeezenet(hub)
    torch.save(tensors, backbone)
    own = Path("weights/v0.1/squeeze.pth")
    calibrated = torch.load(Path(lpips.__file__).parent / own, map_location="cpu")
    (tmp_path / own).parent.mkdir(parents=True)
    monkeypatch.setattr(lpips, "__file__", str(tmp_path / "__init__.py"))
    torch.save(calibrated, tmp_path / own)
    loaded("lpips", net="squeeze")
    torch.save(change(dict(calibrated)), tmp_path / own)
    with pytest.raises(UserError, match=r"squeeze.pth: the weights .* Reinstall the package lpips"):
        loaded("lpips", net="squeeze")
    (tmp_path / own).unlink()
    with pytest.raises(UserError, match=r"squeeze.pth is damaged .* Reinstall the package lpips"):
        loaded("lpips", net="squeeze")


def test_an_inception_that_lacks_tensors_is_refused(hub):
    torch.save(OrderedDict(weight=torch.zeros(1)), hub / "pt_inception-2015-12-05-6726825d.pth")
    with pytest.raises(UserError, match=r"6726825d.pth is damaged \(.*Missing key.*Delete it"):
        loaded("frechet", extractor="inception-legacy-pytorch")


class Code:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(("kind", "settings", "file"), [
    ("frechet", {"extractor": "inception-legacy-pytorch"}, "pt_inception-2015-12-05-6726825d.pth"),
    ("lpips", {"net": "squeeze"}, "squeezenet1_1-b8a52dc0.pth"),
])  # fmt: skip
def test_a_file_that_holds_code_is_refused_and_not_run(hub, capsys, kind, settings, file):
    torch.save({"weight": Code()}, hub / file)
    with pytest.raises(UserError, match=f"{file} is damaged"):
        loaded(kind, **settings)
    assert capsys.readouterr().out == ""
