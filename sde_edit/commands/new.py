"""`sde-edit new`: a working plug-in to start from, in a folder of one's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from sde_edit.api.override import override
from sde_edit.errors import UserError
from sde_edit.places import use_folder
from sde_edit.registry import configs, plugin_group
from sde_edit.store.files import reason, write_together

# What a skeleton can be, and the command that tries it.
TRIED_BY: Mapping[str, str] = {
    "sampler": "run {plugins} sampler=ode,{name} steps=10 data.limit=16 task.guidance=1",
    "task": "run {plugins} task={name} data=shapes-edits sampler=ode,sde steps=10 data.limit=16",
    "metric": "run {plugins} metrics={name} sampler=ode,sde steps=10 data.limit=16",
    "data": "run {plugins} data={name} sampler=ode,sde steps=10",
    "model": "run {plugins} model={name} sampler=ode,sde steps=10 data.limit=16 metrics=psnr",
    "table": "sweep {plugins} table={name}",
    "claim": "claims {plugins} {name}",
}

# Words that YAML or an override reads as a value.
_VALUES = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf")


def write_skeleton(group: str, name: str, folder: Path) -> list[Path]:
    """Write <folder>/<plug-ins>/<name>.py and <folder>/conf/<group>/<name>.yaml; return them.

    A table or a claim is a YAML alone. Raises UserError for a name that cannot be one or is taken,
    and for a file that exists.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in _VALUES:
        raise UserError(
            f"{name!r} cannot be a name: use lower-case letters, digits and _, as in my_{group}"
        )
    if name in configs(group):
        raise UserError(f"{group} {name!r} exists already: {configs(group)[name]}")
    skeletons = files("sde_edit.commands") / "skeletons"
    written = {folder / "conf" / group / f"{name}.yaml": skeletons / f"{group}.yaml"}
    if (code := skeletons / f"{group}.py.txt").is_file():
        written[folder / str(plugin_group(group)) / f"{name}.py"] = code
    if existing := [str(file) for file in written if file.exists()]:
        raise UserError(f"{existing[0]} is there already: choose another name, or another --into")
    camel = "".join(part.capitalize() for part in name.split("_"))
    texts = {
        file: source.read_text(encoding="utf-8").replace("CLASS", camel).replace("NAME", name)
        for file, source in written.items()
    }
    try:
        write_together({file: text.encode() for file, text in texts.items()})
    except UserError as error:
        raise UserError(f"--into {folder}: cannot be written ({reason(error)})") from error
    use_folder(folder)
    return sorted(texts)


def next_steps(group: str, name: str, folder: Path) -> list[str]:
    """Commands that show and try the new plug-in."""
    plugins = shlex.quote(override("plugins", str(folder)))
    return [
        f"sde-edit show {plugins} {group}={name}",
        f"sde-edit {TRIED_BY[group].format(plugins=plugins, name=name)}",
    ]
