"""Features whose distributions are compared, against clean-fid and pytorch-fid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from sde_edit.api.example import Example
from sde_edit.evaluation.distributions import FeatureMemory, Inception
from sde_edit.evaluation.weights import hub_file
from sde_edit.registry import build
from tests.unit.metrics.inputs import assert_batches_agree, loaded, signed, truths

N = 4


def test_shapes_features_are_the_pooled_last_stage(recogniser, images, examples):
    rows = loaded("frechet", extractor="shapes").measure(images, examples)
    assert rows.shape == (N, 384)
    with torch.no_grad():
        expected = recogniser.image_features(signed(images))[-1].mean((2, 3))
    torch.testing.assert_close(rows[:, :192].float(), expected, rtol=1e-4, atol=1e-6)
    same = loaded("kernel_distance", extractor="shapes").measure(truths(examples), examples)
    torch.testing.assert_close(same[:, :192], same[:, 192:], rtol=1e-4, atol=1e-6)


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
    torch.save({}, hub_file(extractor._url))
    monkeypatch.setattr(
        "cleanfid.features.feature_extractor",
        lambda name, device, use_dataparallel: lambda x: x.flatten(1)[:, ::97],
    )
    extractor.load("cpu")
    x = images.permute(0, 3, 1, 2).float()
    expected = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
    actual = extractor(images)
    torch.testing.assert_close(actual.float(), expected.flatten(1)[:, ::97], rtol=1e-5, atol=1e-4)


@dataclass
class Counting:
    """An extractor that says how often it was asked; D = 4."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    asked: list[int] = field(default_factory=list)

    def __call__(self, images_BHWC: Tensor) -> Tensor:
        self.asked.append(len(images_BHWC))
        return images_BHWC.float().mean((1, 2, 3))[:, None].repeat(1, 4)


def batch(value: int, n: int = 2) -> Tensor:
    return torch.from_numpy(np.full((n, 2, 2, 3), value, np.uint8))


def test_a_batch_of_the_same_content_is_measured_once():
    memory, extractor = FeatureMemory(capacity=1000), Counting()
    for images_BHWC in (batch(1), batch(2), batch(1), batch(2).clone()):
        expected = Counting()(images_BHWC)
        assert torch.equal(memory.features(extractor, "a", images_BHWC), expected)
    assert extractor.asked == [2, 2]


def test_another_extractor_device_or_batch_is_measured_anew():
    memory, extractor = FeatureMemory(capacity=1000), Counting()
    memory.features(extractor, "a", batch(1))
    memory.features(extractor, "b", batch(1))
    memory.features(extractor, "a", batch(1, n=1))
    memory.features(extractor, "a", batch(1).reshape(2, 4, 1, 3))
    extractor.device = torch.device("meta")
    memory.features(extractor, "a", batch(1))
    assert len(extractor.asked) == 5


def test_what_is_longest_unused_is_dropped_first():
    memory, extractor = FeatureMemory(capacity=2 * 2 * 4 * 4), Counting()
    for value in (1, 2, 1, 3, 1):
        memory.features(extractor, "a", batch(value))
    assert len(extractor.asked) == 3
    memory.features(extractor, "a", batch(2))
    assert len(extractor.asked) == 4


def test_a_batch_larger_than_the_memory_is_measured_all_the_same():
    memory, extractor = FeatureMemory(capacity=1), Counting()
    for value in (1, 2, 1):
        memory.features(extractor, "a", batch(value))
    assert len(extractor.asked) == 3


def test_references_of_several_sizes_stand_beside_their_own_outputs():
    """Their features are those that they have among references of one size."""

    def of(values: Sequence[int], sides: Sequence[int]) -> Tensor:
        grey = [np.full((side, 8, 3), v, np.uint8) for v, side in zip(values, sides, strict=True)]
        examples = [Example(str(i), image, reference=image) for i, image in enumerate(grey)]
        metric = build("metrics", "kernel_distance", {})
        metric.__dict__.update(_features=Counting(), _description="counting")
        outputs = torch.stack([torch.full((6, 8, 3), v, dtype=torch.uint8) for v in values])
        return metric.measure(outputs, examples)

    mixed = of([1, 2, 3, 4], [9, 5, 9, 6])
    assert mixed[:, 0].tolist() == mixed[:, -1].tolist() == [1, 2, 3, 4]
    assert torch.equal(mixed, of([1, 2, 3, 4], [9] * 4))
