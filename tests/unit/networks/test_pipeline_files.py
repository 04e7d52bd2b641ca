"""Which files decide a model's digest, and which pipelines are refused before they are loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from sde_edit.config import experiment
from sde_edit.errors import UserError
from sde_edit.models.adm import ADM
from sde_edit.models.controlnet import ControlNet
from sde_edit.models.ddpm import DDPM
from sde_edit.models.stable_diffusion import StableDiffusion
from sde_edit.models.stable_diffusion_xl import StableDiffusionXL
from sde_edit.networks.checkpoints import ASSETS
from sde_edit.networks.pipeline_files import PipelineFiles

WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)
XL_WEIGHTS = (*WEIGHTS, "text_encoder_2/model.safetensors")
CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json")


@pytest.fixture
def folder(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def xl(tiny_xl, tmp_path):
    shutil.copytree(tiny_xl, tmp_path / "xl")
    return tmp_path / "xl"


@pytest.fixture
def control(tiny_control, tmp_path):
    shutil.copytree(tiny_control, tmp_path / "control")
    return tmp_path / "control"


def change(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def digest(folder, resolution=64):
    return StableDiffusion(str(folder), resolution).digest()


# ------------------------------------------------------------------ the digest


def change_any(file):
    if file.suffix == ".json":
        change(file, a_setting=1)
    else:
        tensors = load_file(file)
        save_file({key: value + 1 for key, value in tensors.items()}, file)


@pytest.mark.parametrize("name", [
    *WEIGHTS, *CONFIGS, "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json",
])  # fmt: skip
def test_every_file_that_decides_the_images_is_in_the_digest(folder, name):
    before = digest(folder)
    change_any(folder / name)
    assert digest(folder) != before


def test_every_file_of_sdxl_is_in_the_digest(xl):
    configs = (*CONFIGS, "text_encoder_2/config.json", "scheduler/scheduler_config.json")
    tokenizers = [f"{folder}/tokenizer.json" for folder in ("tokenizer", "tokenizer_2")]
    found = {StableDiffusionXL(str(xl), 64).digest()}
    names = (*XL_WEIGHTS, *configs, *tokenizers, "model_index.json")
    for name in names:
        change_any(xl / name)
        found.add(StableDiffusionXL(str(xl), 64).digest())
    assert len(found) == 1 + len(names)


def test_the_scale_of_latents_makes_another_run(folder):
    overrides = [f"model.path={folder}", "task=sample", "metrics=[]"]
    before = experiment(overrides).spec
    change(folder / "vae/config.json", scaling_factor=0.5)
    assert experiment(overrides).spec != before


@pytest.mark.parametrize("name", ["README.md", "model_index.json", "tokenizer/notes.txt"])
def test_other_files_are_not(folder, name):
    before = digest(folder)
    (folder / name).write_text("{}")
    assert digest(folder) == before


def test_a_control_nets_config_and_weights_are_in_the_digest(folder, control):
    source = ControlNet(str(folder), 64, str(control))
    found = {source.digest()}
    change(control / "config.json", a_setting=1)
    found.add(source.digest())
    change(folder / "vae/config.json", a_setting=1)
    found.add(source.digest())
    assert len(found) == 3


def test_every_file_of_a_ddpm_and_of_an_adm_is_in_the_digest(tiny_ddpm, tiny_adm, tmp_path):
    for name, tiny, kind in (("ddpm", tiny_ddpm, DDPM), ("adm", tiny_adm, ADM)):
        copy = tmp_path / name
        shutil.copytree(tiny, copy)
        source = kind(str(copy), 16)
        for file in ("unet/config.json", "scheduler/scheduler_config.json"):
            if name == "ddpm":
                before = source.digest()
                change(copy / file, a_setting=1)
                assert source.digest() != before
        for file in copy.glob("*.pt"):
            before = source.digest()
            torch.save({**torch.load(file), "more": torch.zeros(1)}, file)
            assert source.digest() != before


# ------------------------------------------------------------------ fp16 files


def test_weights_named_fp16_are_read_as_the_same_model(folder):
    before = digest(folder)
    for name in WEIGHTS:
        (folder / name).rename(folder / name.replace(".safetensors", ".fp16.safetensors"))
    assert digest(folder) == before
    assert StableDiffusion(str(folder), 64).load("cpu", "float32").latent_shape == (4, 8, 8)


def test_fp16_weights_of_sdxl_are_read(xl):
    before = StableDiffusionXL(str(xl), 64).digest()
    for name in XL_WEIGHTS:
        (xl / name).rename(xl / name.replace(".safetensors", ".fp16.safetensors"))
    source = StableDiffusionXL(str(xl), 64)
    assert source.digest() == before
    assert source.load("cpu", "float32").latent_shape == (4, 8, 8)


def test_fp16_weights_of_a_control_net_and_a_ddpm_are_read(folder, control, tiny_ddpm, tmp_path):
    name = "diffusion_pytorch_model.safetensors"
    source = ControlNet(str(folder), 64, str(control))
    before = source.digest()
    (control / name).rename(control / name.replace(".", ".fp16.", 1))
    assert source.digest() == before
    source.load("cpu", "float32")
    shutil.copytree(tiny_ddpm, tmp_path / "ddpm")
    ddpm, unet = DDPM(str(tmp_path / "ddpm"), 16), tmp_path / "ddpm/unet"
    before = ddpm.digest()
    (unet / name).rename(unet / name.replace(".", ".fp16.", 1))
    assert ddpm.digest() == before
    ddpm.load("cpu", "float32")


# ------------------------------------------------------------------ tensors


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_lack_a_tensor_are_refused(folder, name):
    tensors = load_file(folder / name)
    lost = max(key for key in tensors if key.endswith("weight"))
    save_file({key: value for key, value in tensors.items() if key != lost}, folder / name)
    with pytest.raises(UserError, match=r"weights lack 1 tensors of the network"):
        StableDiffusion(str(folder), 64).load("cpu", "float32")


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_with_a_tensor_too_many_are_refused(folder, name):
    save_file(load_file(folder / name) | {"zzz.weight": torch.zeros(2)}, folder / name)
    with pytest.raises(UserError, match=r"hold 1 tensors that the network does not have.*zzz"):
        StableDiffusion(str(folder), 64).load("cpu", "float32")


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_tensor_of_another_shape_is_refused(folder, name):
    tensors = load_file(folder / name)
    key = max(key for key in tensors if key.endswith("weight"))
    save_file(tensors | {key: torch.zeros(3, 5)}, folder / name)
    with pytest.raises(UserError, match=r"belong to its weights"):
        StableDiffusion(str(folder), 64).load("cpu", "float32")


def test_position_ids_of_older_text_encoders_are_no_tensor_too_many(folder):
    file = folder / "text_encoder/model.safetensors"
    tensors = load_file(file)
    (prefix,) = {k.partition("embeddings.")[0] for k in tensors if "token_embedding" in k}
    ids = {f"{prefix}embeddings.position_ids": torch.arange(16)[None]}
    save_file(tensors | ids, file)
    StableDiffusion(str(folder), 64).load("cpu", "float32")


def test_a_control_net_that_lacks_a_tensor_is_refused(folder, control):
    file = control / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.weight"]
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"weights lack 1 tensors .* conv_in\.weight"):
        ControlNet(str(folder), 64, str(control)).load("cpu", "float32")


# ------------------------------------------------------------------ other pipelines


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("unet", {"in_channels": 9}, "9 channels in .* for inpainting"),
    ("unet", {"in_channels": 8}, "8 channels in .* InstructPix2Pix"),
    ("unet", {"in_channels": 6}, "6 channels in .* another kind"),
    ("unet", {"out_channels": 8}, "8 out"),
    ("unet", {"addition_embed_type": "text_time"}, "pooled text and sizes too, as SDXL does"),
    ("unet", {"addition_embed_type": "image"}, "something of another kind"),
    ("unet", {"time_cond_proj_dim": 256}, "latent consistency"),
    ("unet", {"class_embed_type": "projection"}, "class_embed_type='projection'"),
    ("unet", {"num_class_embeds": 1000}, "class labels"),
    ("unet", {"cross_attention_dim": 768}, "cross_attention_dim=768, but .* gives 32"),
    ("unet", {"_class_name": "UNet3DConditionModel"}, "must be of UNet2DConditionModel"),
    ("vae", {"shift_factor": 0.1159}, "shift_factor=0.1159"),
    ("vae", {"_class_name": "AutoencoderTiny"}, "must be of AutoencoderKL"),
    ("text_encoder", {"architectures": ["T5EncoderModel"]}, "not T5EncoderModel"),
])  # fmt: skip
def test_other_pipelines_are_refused_by_name(folder, name, settings, message):
    change(folder / name / "config.json", **settings)
    source = StableDiffusion(str(folder), 64)
    for ask in (source.digest, lambda: source.latent_shape, source.schedule):
        with pytest.raises(UserError, match=f"{name}/config.json.*{message}"):
            ask()


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("unet", {"in_channels": 9}, "9 channels in .* for inpainting"),
    ("unet", {"addition_embed_type": None}, "a time and a text alone"),
    ("unet", {"time_cond_proj_dim": 256}, "latent consistency"),
    ("unet", {"cross_attention_dim": 32}, "cross_attention_dim=32, but .* gives 64"),
    ("unet", {"projection_class_embeddings_input_dim": 88}, "=88, but .* has 48 .* have 48"),
    ("vae", {"shift_factor": 0.1159}, "shift_factor=0.1159"),
    ("text_encoder_2", {"architectures": ["CLIPTextModel"]}, "of CLIPTextModelWithProjection"),
    ("text_encoder", {"architectures": ["T5EncoderModel"]}, "of CLIPTextModel, not T5"),
])  # fmt: skip
def test_relatives_of_sdxl_are_refused_by_name(xl, name, settings, message):
    change(xl / name / "config.json", **settings)
    source = StableDiffusionXL(str(xl), 64)
    for ask in (source.digest, lambda: source.latent_shape, source.schedule):
        with pytest.raises(UserError, match=f"{name}/config.json.*{message}"):
            ask()


def test_pipelines_of_another_family_are_refused_by_their_folders(folder, xl):
    for model, path, message in (
        (StableDiffusion, xl, "two text encoders, as SDXL does, which model=sdxl reads"),
        (StableDiffusionXL, folder, "one text encoder, .* which model=sd15 reads"),
    ):
        with pytest.raises(UserError, match=message):
            model(str(path), 64).digest()
    shutil.rmtree(xl / "text_encoder")
    with pytest.raises(UserError, match="second text encoder alone, as its refiner does"):
        StableDiffusionXL(str(xl), 64).digest()
    (folder / "unet").rename(folder / "transformer")
    for model in (StableDiffusion, StableDiffusionXL):
        with pytest.raises(UserError, match="is a transformer, not a UNet"):
            model(str(folder), 64).digest()


def test_what_a_folder_of_sdxl_lacks_is_named(xl):
    for name in ("text_encoder_2/model.safetensors", "model_index.json"):
        (xl / name).unlink()
        with pytest.raises(UserError, match=f"model.path=.* lacks .*{name}"):
            StableDiffusionXL(str(xl), 64).digest()


def test_a_control_net_for_sdxl_is_refused(folder, control, xl):
    change(control / "config.json", addition_embed_type="text_time")
    with pytest.raises(UserError, match=r"control/config\.json.*as SDXL does"):
        ControlNet(str(folder), 64, str(control)).digest()
    with pytest.raises(UserError, match="two text encoders"):
        ControlNet(str(xl), 64, str(control)).digest()


@pytest.mark.parametrize(("settings", "message"), [
    ({"cross_attention_dim": 768}, "cross_attention_dim=768"),
    ({"block_out_channels": [64, 64]}, "is for another model"),
    ({"conditioning_channels": 1}, "only RGB hints"),
    ({"_class_name": "T2IAdapter"}, "must be of ControlNetModel"),
])  # fmt: skip
def test_a_control_net_of_another_model_is_refused(folder, control, settings, message):
    change(control / "config.json", **settings)
    with pytest.raises(UserError, match=f"control/config.json.*{message}"):
        ControlNet(str(folder), 64, str(control)).digest()


@pytest.mark.parametrize("resolution", [60, 4, 0, -8])
def test_a_resolution_off_the_autoencoders_factor_is_refused(folder, resolution):
    source = StableDiffusion(str(folder), resolution)
    for ask in (source.digest, lambda: source.latent_shape):
        with pytest.raises(UserError, match=f"model.resolution={resolution}: .* multiple of 8"):
            ask()


def test_a_resolution_off_the_unets_factor_is_refused_for_ddpm(tiny_ddpm):
    with pytest.raises(UserError, match=r"model\.resolution=17: .*multiple of 2.*16 or 18"):
        DDPM(str(tiny_ddpm), 17).digest()


# ------------------------------------------------------------------ files that are not whole


def truncate(file):
    file.write_bytes(file.read_bytes()[:-7])


def scramble(file):
    file.write_bytes(b"\xff" * 300)


def empty(file):
    file.write_bytes(b"")


def pointer(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(("damage", "message"), [
    (truncate, "truncated or damaged"), (scramble, "truncated or damaged"),
    (empty, "truncated or damaged"), (pointer, "git lfs pull"),
])  # fmt: skip
def test_weights_that_are_not_whole_are_named(folder, name, damage, message):
    damage(folder / name)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        digest(folder)


@pytest.mark.parametrize("name", [*CONFIGS, "scheduler/scheduler_config.json"])
@pytest.mark.parametrize(("text", "message"), [
    ("{", "not valid JSON"), ("[1]", "does not hold the settings"), ("", "truncated"),
])  # fmt: skip
def test_configs_that_are_not_json_are_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        (digest(folder), StableDiffusion(str(folder), 64).schedule())


def test_a_missing_tokenizer_is_named(folder):
    (folder / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"model\.path=.* has no tokenizer"):
        digest(folder)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("tokenizer.json", b"{", "not valid JSON"), ("tokenizer.json", b"", "truncated"),
    ("tokenizer.json", b'{"model": 1}', "holds no vocabulary"),
    ("tokenizer.json", b'{"model": {"vocab": {}}}', "holds no vocabulary"),
    ("tokenizer_config.json", b"\xff{", "not valid JSON"),
    ("vocab.json", b'{"a": 1', "not valid JSON"),
    ("vocab.json", b"{}", "holds no vocabulary"), ("merges.txt", b"", "truncated"),
    ("merges.txt", b"#version: 0.2\na b\nc", "holds no list of merges"),
    ("merges.txt", b"\xff\xfe", "holds no list of merges"),
    ("special_tokens_map.json", b"[]", "does not hold the settings"),
])  # fmt: skip
def test_a_damaged_tokenizer_is_named_with_the_other_files(folder, name, content, message):
    """Also one that was whole when it was last looked at."""
    tokenizer = folder / "tokenizer"
    vocabulary = json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"]
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    (tokenizer / "merges.txt").write_text("#version: 0.2\na b\n")
    digest(folder)
    (tokenizer / name).write_bytes(content)
    with pytest.raises(UserError, match=f"tokenizer/{name} .*{message}"):
        digest(folder)


def test_damaged_files_of_torch_are_named(tiny_adm, tmp_path):
    shutil.copytree(tiny_adm, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "256x256_classifier.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"classifier\.pt is truncated"):
        ADM(str(tmp_path), 16).digest()


# ------------------------------------------------------------------ paths


def test_a_single_file_is_told_how_to_be_converted(folder):
    with pytest.raises(UserError, match=r"single file.*from_single_file"):
        digest(folder / WEIGHTS[0])


def test_a_relative_path_that_is_not_there_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(UserError, match=r"model\.path=models/sd15: no such folder"):
        digest("models/sd15")
    with pytest.raises(UserError, match="neither a folder here nor a hub id"):
        digest("my models/sd 15")
    with pytest.raises(UserError, match="embedded:shapes, embedded:shapes_classifier only"):
        digest("embedded:../shapes")


@pytest.fixture
def hub(monkeypatch):
    """Sets what the hub answers, an error or a function of id and patterns."""

    def answers(answer):
        def snapshot(hub_id, allow_patterns):
            if isinstance(answer, Exception):
                raise answer
            return answer(hub_id, allow_patterns)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)

    return answers


def test_an_interrupted_download_is_told_how_to_be_repeated(hub, folder):
    (folder / WEIGHTS[0]).unlink()
    hub(lambda hub_id, patterns: str(folder))
    with pytest.raises(UserError, match=r"lacks .*unet.*`hf download someone/model`"):
        digest("someone/model")


def test_a_folder_of_ones_own_that_is_not_whole_is_to_be_copied_again(folder):
    (folder / WEIGHTS[0]).unlink()
    with pytest.raises(UserError, match=r"lacks .*unet.*only safetensors.*Copy the folder again"):
        digest(str(folder))


def test_errors_of_the_hub_are_explained(hub):
    import httpx
    from huggingface_hub.errors import RepositoryNotFoundError

    response = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))
    for error, message in (
        (RepositoryNotFoundError("no", response=response), "the hub has no repository"),
        (httpx.ReadTimeout("slow"), "could not be fetched from the hub .ReadTimeout"),
        (OSError("full"), "could not be fetched .*give model.path=.*; or use model=shapes"),
    ):
        hub(error)
        with pytest.raises(UserError, match=message):
            digest("someone/model")


def test_the_weights_of_a_metric_are_given_in_its_yaml(hub, folder):
    hub(OSError("full"))
    with pytest.raises(UserError, match=r"`path: /that/folder` in the metric's YAML$"):
        PipelineFiles("someone/model", "path").digest()
    with pytest.raises(UserError, match=r"`path: FOLDER` in the metric's YAML$"):
        PipelineFiles(str(folder / WEIGHTS[0]), "path").digest()


def test_weights_are_fetched_after_the_configs_are_accepted(hub, folder):
    asked = []
    hub(lambda hub_id, patterns: asked.extend(patterns) or str(folder))
    change(folder / "unet/config.json", in_channels=9)
    (folder / WEIGHTS[0]).unlink()
    with pytest.raises(UserError, match="inpainting"):
        digest("someone/model")
    assert not any("safetensors" in pattern for pattern in asked)


def test_both_tokenizers_and_all_weights_of_sdxl_are_fetched(hub, xl):
    asked = []
    hub(lambda hub_id, patterns: asked.extend(patterns) or str(xl))
    hidden = xl / XL_WEIGHTS[-1]
    hidden.rename(xl / "elsewhere")
    with pytest.raises(UserError, match=r"lacks .*text_encoder_2"):
        StableDiffusionXL("someone/model", 64).digest()
    assert {"tokenizer/*", "tokenizer_2/*", XL_WEIGHTS[-1]} <= {*asked}
    assert XL_WEIGHTS[-1].replace(".", ".fp16.") in asked


def test_only_what_a_repository_lacks_is_fetched_by_its_other_name(hub, folder):
    asked = []
    hub(lambda hub_id, patterns: asked.append(list(patterns)) or str(folder))
    name = WEIGHTS[0].replace(".", ".fp16.", 1)
    (folder / WEIGHTS[0]).rename(folder / name)
    digest("someone/model")
    assert all(WEIGHTS[0] not in patterns for patterns in asked)


def test_the_embedded_model_passes_all_checks():
    assert digest("embedded:shapes") == digest(ASSETS / "shapes")
