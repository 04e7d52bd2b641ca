"""Metrics with weights, against their packages called directly.

Weights are small or random files in the official format, put where the package looks for them.
"""

import json
import urllib.error
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import sde_edit.evaluation.recognition as recognition_module
from sde_edit.api.example import Example
from sde_edit.errors import UserError
from sde_edit.evaluation.distributions import Inception
from sde_edit.evaluation.per_image import reference
from sde_edit.evaluation.weights import hub_file
from sde_edit.imaging.shapes_world import scene_of
from sde_edit.networks.recogniser import ShapesCLIP, ShapesCLIPConfig
from sde_edit.registry import build

N = 4


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """PyTorch's hub in an empty folder, without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(url: str, *_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(np.stack([scene_of("test", i).render() for i in range(N)]))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    scenes = [scene_of("test", i + N) for i in range(N)]
    return [Example(f"e{i}", s.render(), caption=s.caption()) for i, s in enumerate(scenes)]


def signed(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def truths(examples: list[Example]) -> Tensor:
    return torch.from_numpy(np.stack([reference(example) for example in examples]))


def assert_batches_agree(metric, images, examples):
    apart = [metric.measure(images[i : i + 1], examples[i : i + 1]) for i in range(N)]
    together = metric.measure(images, examples)
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------ the embedded recogniser


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> ShapesCLIP:
    """A recogniser with random weights where the embedded one belongs."""
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("shapes")
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "re", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ShapesCLIP(ShapesCLIPConfig(vocab_size=len(tokens), max_tokens=16))
    model.save_pretrained(folder / "recogniser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognition_module, "SHAPES_FOLDER", folder)
        yield model.eval()


def loaded(kind: str, **params: object):
    metric = build("metrics", kind, params)
    metric.load("cpu")
    return metric


def test_shapes_features_are_the_pooled_last_stage(recogniser, images, examples):
    rows = loaded("frechet", extractor="shapes").measure(images, examples)
    assert rows.shape == (N, 384)
    with torch.no_grad():
        expected = recogniser.image_features(signed(images))[-1].mean((2, 3))
    torch.testing.assert_close(rows[:, :192].float(), expected, rtol=1e-4, atol=1e-6)
    same = loaded("kernel_distance", extractor="shapes").measure(truths(examples), examples)
    torch.testing.assert_close(same[:, :192], same[:, 192:], rtol=1e-4, atol=1e-6)


def test_shapes_perceptual_is_lpips_without_calibration(recogniser, images, examples):
    with torch.no_grad():
        maps = zip(
            recogniser.image_features(signed(images)),
            recogniser.image_features(signed(truths(examples))),
            strict=True,
        )
        # Two unit vectors differ by 2 - 2 cos.
        stages = [(2 - 2 * F.cosine_similarity(x, y)).mean((1, 2)) for x, y in maps]
    metric = loaded("shapes_perceptual")
    rows = metric.measure(images, examples)
    torch.testing.assert_close(
        rows[:, 0].float(), torch.stack(stages).mean(0), rtol=1e-4, atol=1e-5
    )
    same = metric.measure(truths(examples), examples)
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_perceptual_distance_from_the_source_is_zero_where_nothing_was_edited(
    recogniser, images, examples
):
    answered = [replace(e, truth=image) for e, image in zip(examples, images.numpy(), strict=True)]
    sources = torch.from_numpy(np.stack([example.image for example in answered]))
    metric = loaded("shapes_perceptual", against="source")
    assert (metric.measure(images, answered) > 0.01).all()
    same = metric.measure(sources, answered)
    torch.testing.assert_close(same, torch.zeros_like(same))


def test_shapes_clip_is_a_cosine_that_depends_on_the_caption(recogniser, images, examples):
    metric = loaded("shapes_clip")
    rows = metric.measure(images, examples)
    ids = metric._tokens([example.caption for example in examples])
    with torch.no_grad():
        text = recogniser.text(ids).text_embeds
        image = recogniser.image_projection(
            recogniser.image_features(signed(images))[-1].mean((2, 3))
        )
    torch.testing.assert_close(
        rows[:, 0].float(), F.cosine_similarity(image, text), rtol=1e-4, atol=1e-5
    )
    assert len(set(ids[:, 1:].sum(1).tolist())) > 1


def test_attributes_compare_two_answers(recogniser, images, examples):
    class Names(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parameter = nn.Parameter(torch.zeros(1))

        def recognise(self, x_BCHW: Tensor) -> list[tuple[set[tuple[str, str]], str]]:
            return [({("ring", "red")}, "blue" if x.mean() > 0 else "grey") for x in x_BCHW]

    metric = build("metrics", "attributes", {})
    metric.__dict__["_network"] = Names()
    bright, dark = torch.full_like(images[:1], 250), torch.full_like(images[:1], 5)
    white = [Example("w", bright[0].numpy())] * 2
    assert metric.measure(torch.cat([bright, dark]), white).flatten().tolist() == [1.0, 0.0]
    assert loaded("attributes").measure(truths(examples), examples).mean() == 1


class Says(nn.Module):
    """A recogniser that answers in turn, first for the outputs and then for the references."""

    def __init__(self, *answers: list[tuple[set[tuple[str, str]], str]]) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.answers = iter(answers)

    def recognise(self, x_BCHW: Tensor) -> list[tuple[set[tuple[str, str]], str]]:
        return next(self.answers)


SEEN = [
    ({("ring", "red")}, "grey"),  # as in the reference
    ({("star", "red")}, "grey"),  # another shape
    ({("ring", "blue")}, "grey"),  # another colour
    ({("ring", "red")}, "pink"),  # another background
    ({("ring", "red"), ("star", "red")}, "grey"),  # a thing too many
    (set(), "grey"),
]


@pytest.mark.parametrize(("part", "expected"), [
    ("all", [1, 0, 0, 0, 0, 0]),
    ("shape", [1, 0, 1, 1, 0, 0]),
    ("colour", [1, 1, 0, 1, 1, 0]),
    ("background", [1, 1, 1, 0, 1, 1]),
])  # fmt: skip
def test_a_part_of_the_verdict_looks_at_nothing_else(part, expected):
    metric = build("metrics", "attributes", {"part": part})
    metric.__dict__["_network"] = Says(SEEN, [SEEN[0]] * len(SEEN))
    blank = np.zeros((8, 8, 3), np.uint8)
    rows = metric.measure(
        torch.zeros(len(SEEN), 8, 8, 3, dtype=torch.uint8), [Example("e", blank)] * len(SEEN)
    )
    assert rows.flatten().tolist() == expected


def test_pairs_that_are_crossed_are_wrong_as_a_whole_and_right_in_their_parts():
    """Red ring and blue star for a blue ring and a red star."""
    crossed = [({("ring", "red"), ("star", "blue")}, "grey")]
    right = [({("ring", "blue"), ("star", "red")}, "grey")]
    blank = np.zeros((8, 8, 3), np.uint8)
    found = {}
    for part in ("all", "shape", "colour"):
        metric = build("metrics", "attributes", {"part": part})
        metric.__dict__["_network"] = Says(crossed, right)
        found[part] = metric.measure(
            torch.zeros(1, 8, 8, 3, dtype=torch.uint8), [Example("e", blank)]
        ).item()
    assert found == {"all": 0, "shape": 1, "colour": 1}


def test_the_convention_of_the_whole_verdict_stays(recogniser):
    """Scores that are stored compare only with equal conventions."""
    start = (
        "share of images named exactly as their reference: all (shape, colour) pairs and the "
        "background; both named by the embedded recogniser, model.safetensors sha256 "
    )
    convention = build("metrics", "attributes", {}).convention()
    assert convention.startswith(start)
    assert convention.endswith("; native size")
    parts = ("all", "shape", "colour", "background")
    said = {build("metrics", "attributes", {"part": part}).convention() for part in parts}
    assert len(said) == len(parts)


@pytest.mark.parametrize("kind", ["shapes_perceptual", "shapes_clip", "attributes"])
def test_recogniser_metrics_do_not_depend_on_the_batch(recogniser, images, examples, kind):
    assert_batches_agree(loaded(kind), images, examples)


def test_convention_follows_the_recogniser_s_weights(recogniser):
    assert "model.safetensors sha256 " in build("metrics", "attributes", {}).convention()


def test_missing_recogniser_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(recognition_module, "SHAPES_FOLDER", tmp_path)
    assert "not fetched" in build("metrics", "attributes", {}).convention()
    with pytest.raises(UserError, match=r"recogniser is not there.*train_shapes"):
        loaded("attributes")


def test_a_caption_is_needed(recogniser, images):
    silent = Example("silent", images[0].numpy())
    with pytest.raises(UserError, match="'silent' has no caption"):
        loaded("shapes_clip").measure(images[:1], [silent])


# ------------------------------------------------------------------ Inception


class TinyInception(nn.Module):
    """The interface of NVIDIA's TorchScript file as clean-fid uses it: `.layers` gives 2048."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 2048))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_inception_clean_is_clean_fid_s_pipeline(hub, images, examples, tmp_path):
    from cleanfid.fid import get_files_features
    from cleanfid.inception_torchscript import InceptionV3W

    torch.jit.script(TinyInception()).save(str(hub / "inception-2015-12-05.pt"))
    files = [tmp_path / f"{i}.png" for i in range(N)]
    for file, image in zip(files, images.numpy(), strict=True):
        Image.fromarray(image).save(file)
    expected = get_files_features(
        files,
        model=InceptionV3W(str(hub), download=False),
        num_workers=0,
        device=torch.device("cpu"),
        mode="clean",
        verbose=False,
    )
    metric = loaded("frechet", extractor="inception-clean")
    rows = metric.measure(images, examples)
    assert rows.shape == (N, 4096)
    np.testing.assert_allclose(rows[:, :2048].float(), expected, rtol=1e-5, atol=1e-6)
    assert "inception-2015-12-05.pt sha256 " in metric.convention()
    assert_batches_agree(metric, images, examples)


def test_inception_legacy_resizes_as_pytorch_fid(hub, images, monkeypatch):
    extractor = Inception("legacy_pytorch")
    hub_file(extractor._url).write_bytes(b"")
    monkeypatch.setattr(
        "cleanfid.features.feature_extractor",
        lambda name, device, use_dataparallel: lambda x: x.flatten(1)[:, ::97],
    )
    extractor.load("cpu")
    x = images.permute(0, 3, 1, 2).float()
    expected = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
    actual = extractor(images)
    torch.testing.assert_close(actual.float(), expected.flatten(1)[:, ::97], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["frechet", "kernel_distance", "lpips"])
def test_offline_says_what_to_fetch_and_where_to_put_it(hub, kind):
    for attempt in (build("metrics", kind, {}).fetch, lambda: loaded(kind)):
        with pytest.raises(UserError, match=rf"cannot fetch https://.*put it into {hub}"):
            attempt()


def test_a_damaged_download_is_named(hub):
    (hub / "inception-2015-12-05.pt").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"inception-2015-12-05.pt is damaged.*Delete it"):
        loaded("frechet")


# ------------------------------------------------------------------ LPIPS


@pytest.mark.filterwarnings("ignore:.*pretrained:UserWarning")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_lpips_is_the_package(hub, images, examples):
    import lpips
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = squeezenet1_1()
    name = SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(backbone.state_dict(), hub / name)
    metric = loaded("lpips", net="squeeze")
    with torch.no_grad():
        expected = lpips.LPIPS(net="squeeze", verbose=False)(
            signed(images), signed(truths(examples))
        )
    rows = metric.measure(images, examples)
    torch.testing.assert_close(rows[:, 0].float(), expected.flatten(), rtol=1e-4, atol=1e-6)
    assert float(metric.measure(truths(examples), examples).abs().max()) == pytest.approx(
        0, abs=1e-6
    )
    assert f"{name} sha256" in metric.convention()
    assert_batches_agree(metric, images, examples)


# ------------------------------------------------------------------ CLIP

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
}


def test_clip_is_open_clip(tmp_path, images, examples):
    import open_clip
    from safetensors.torch import save_file

    (tmp_path / "open_clip_config.json").write_text(json.dumps(TINY_CLIP))
    model = f"local-dir:{tmp_path}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model(model, load_weights=False)
    save_file(network.state_dict(), tmp_path / "open_clip_model.safetensors")

    metric = loaded("clip", model=model, pretrained="")
    network, preprocess = open_clip.create_model_from_pretrained(model)
    x = torch.stack([preprocess(Image.fromarray(image)) for image in images.numpy()])
    tokens = open_clip.get_tokenizer(model)([example.caption for example in examples])
    with torch.no_grad():
        image, text = network.encode_image(x), network.encode_text(tokens)
    expected = F.cosine_similarity(image, text)
    rows = metric.measure(images, examples)
    torch.testing.assert_close(rows[:, 0].float(), expected, rtol=1e-4, atol=1e-6)
    assert rows.std() > 1e-4
    assert_batches_agree(metric, images, examples)

    beside = loaded("clip", model=model, pretrained="", against="source")
    sources = torch.stack([preprocess(Image.fromarray(example.image)) for example in examples])
    with torch.no_grad():
        expected = F.cosine_similarity(image, network.encode_image(sources))
    own = beside.measure(images, examples)
    torch.testing.assert_close(own[:, 0].float(), expected, rtol=1e-4, atol=1e-6)
    same = beside.measure(torch.from_numpy(np.stack([e.image for e in examples])), examples)
    torch.testing.assert_close(same, torch.ones_like(same), rtol=0, atol=1e-6)


def test_clip_offline_says_what_to_fetch(monkeypatch):
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise FileNotFoundError("Failed to download file")

    monkeypatch.setattr("open_clip.download_pretrained", refuse)
    with pytest.raises(UserError, match=r"ViT-L-14.*timm/vit_large.*openai.*pretrained=FILE"):
        loaded("clip")
    with pytest.raises(UserError, match=r"pretrained='opanai' is no tag of it and no file"):
        build("metrics", "clip", {"pretrained": "opanai"}).fetch()
