"""What the config of a table owes: it builds, and its runs are overrides that compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sde_edit.commands.contact_sheets import sheet_settings
from sde_edit.commands.table import build_table
from sde_edit.config import compose_config, metric, table_grids
from sde_edit.contracts.check import BrokenContract, require
from sde_edit.errors import UserError
from sde_edit.overrides import expand
from sde_edit.registry import build

Config = Mapping[str, Any]


def check_name(config: Config) -> None:
    """it has a title"""
    require(bool(config.get("title")), "it has no title")


def check_build(config: Config) -> None:
    """without runs it says how to make them"""
    if "runs" in config:
        try:
            build_table(config, [])
        except UserError as error:
            require("sde-edit " in str(error), f"no command is named: {error}")
        else:
            raise BrokenContract("it is built without a run")


def check_grids(config: Config) -> None:
    """the runs of every arm compose"""
    if "runs" in config:
        for grid in table_grids(config):
            composed = compose_config(expand(grid)[-1])
            for name in composed["metrics"]:
                metric(name)


def check_drawings(config: Config) -> None:
    """its figure and contact sheets build"""
    sheet_settings(config)
    if figure := config.get("figure"):
        settings = {key: value for key, value in figure.items() if key not in ("kind", "name")}
        build("figures", figure["kind"], settings)


CHECKS = (check_name, check_build, check_grids, check_drawings)
