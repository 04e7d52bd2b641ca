"""A preset sets what its file says: every key of it survives composition."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.registry import conf_dir, names
from tests.contracts.test_configs import GIVEN


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def at(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("name", names("experiment"))
def test_every_key_of_a_preset_survives_composition(name):
    preset = yaml.safe_load((conf_dir() / "experiment" / f"{name}.yaml").read_text())
    config = compose_config([f"experiment={name}", *GIVEN.get(name, [])])
    for choice in preset.pop("defaults", []):
        ((group, chosen),) = choice.items()
        assert config[group.removeprefix("override /")]["name"] == chosen
    assert {key: at(config, key) for key, _ in leaves(preset)} == dict(leaves(preset))


def test_presets_of_models_in_pixel_space_end_without_noise():
    """And those of models in latent space where the paper ended, at the smallest trained sigma."""
    found = {}
    for name in names("experiment"):
        config = compose_config([f"experiment={name}", *GIVEN.get(name, [])])
        found.setdefault(config["model"]["kind"], set()).add(config["grid"]["last_sigma"])
    pixels = {kind: found.pop(kind) for kind in ("ddpm", "adm")}
    assert pixels == {"ddpm": {"zero"}, "adm": {"zero"}}
    assert set.union(*found.values()) == {"sigma_min"}


def test_the_command_line_wins_over_a_preset():
    config = compose_config(["experiment=debug", "steps=7", "metrics=[ssim]"])
    assert (config["steps"], config["metrics"], config["data"]["limit"]) == (7, ["ssim"], 4)


def test_a_misspelt_preset_is_refused():
    with pytest.raises(UserError, match="Did you mean 'inpaint_places_sd15'"):
        compose_config(["experiment=inpaint_place_sd15"])
