"""Plug-ins from outside: a folder that the user names, or an installed distribution."""

import sys

import pytest
import torch

from sde_edit import places
from sde_edit.api.launcher import Job
from sde_edit.commands.run import Worker
from sde_edit.commands.sweep import Finish
from sde_edit.config import compose_config, experiment, use_plugins
from sde_edit.diffusion.noise import Noise
from sde_edit.diffusion.schedule import Schedule
from sde_edit.errors import UserError
from sde_edit.registry import build, citations, kinds, listing, names, plugin_class
from sde_edit.store.runs import RunStore
from tests.builders import PLUGIN, no_plugins_left, plugin_folder

GMM = ("task=inpaint", 'task.prompt=""', "task.guidance=1", "model=gmm", "steps=2")
SMALL = (*GMM, "model.shape=[3,64,64]", "data.limit=1", "metrics=[psnr]")


@pytest.fixture(autouse=True)
def _forgotten():
    with no_plugins_left():
        yield


@pytest.fixture
def folder(tmp_path):
    return plugin_folder(tmp_path / "my plug-ins")


def test_a_folder_adds_its_names(folder):
    use_plugins([f'plugins="{folder}"', "steps=3"])
    assert listing("sampler")["halved"] == "Half a step of DDIM, made up for tests."
    assert "halved" in kinds("samplers")
    assert "halved" not in citations("sampler")
    grid = Schedule.from_betas("linear", 1e-4, 0.02, 100).grid(4)
    x = torch.ones(1, 1, 1, 1)
    full, ode = build("samplers", "halved", {"share": 1.0}), build("samplers", "ode", {})
    eps, noise = lambda x, t: x / 3, Noise(0, ("a",))
    torch.testing.assert_close(full.decode(eps, x, grid, noise), ode.decode(eps, x, grid, noise))


def test_its_settings_are_overrides_and_enter_the_run_id(folder):
    given = [f'plugins="{folder}"', "sampler=halved"]
    use_plugins(given)
    spec = experiment([*given, "sampler.share=0.25"]).spec
    assert (spec.sampler.name, dict(spec.sampler.params)) == ("halved", {"share": 0.25})
    with pytest.raises(UserError, match="sampler has no setting 'sahre'"):
        experiment([*given, "sampler.sahre=1"])


def test_files_of_a_folder_may_share_helpers(tmp_path):
    shared = PLUGIN.replace("from sde_edit.diffusion.steps import ddim", "from ..own import ddim")
    files = {
        "samplers/halved.py": shared,
        "own.py": "from sde_edit.diffusion.steps import ddim\n",
    }
    use_plugins([f"plugins={plugin_folder(tmp_path, files)}"])
    assert plugin_class("samplers", "halved").__name__ == "Halved"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"samplers/ode.py": PLUGIN}, r"sampler kind 'ode' exists already: .*/samplers/ode.py and"),
        ({"conf/task/inpaint.yaml": ""}, r"task 'inpaint' exists already: .*inpaint.yaml and .*"),
        ({"conf/samplers/mine.yaml": ""}, "samplers is none of the groups of configs"),
        ({"conf/config.yaml": ""}, "config.yaml is none of the groups of configs"),
        ({"sampler/mine.py": PLUGIN}, "has no plug-ins. They are files such as samplers/mine.py"),
    ],
)
def test_what_is_no_folder_of_plug_ins_is_refused_by_its_file(tmp_path, files, said):
    with pytest.raises(UserError, match=said):
        use_plugins([f"plugins={plugin_folder(tmp_path, files)}"])
    assert len(places.places()) == 1


@pytest.mark.parametrize("given", ["plugins=nowhere", "plugins=3", "plugins=a,b"])
def test_what_is_no_folder_is_refused(given):
    with pytest.raises(UserError, match=r"nowhere is no folder|must be a folder|one value each"):
        use_plugins([given])


def test_two_folders_cannot_have_one_name(folder, tmp_path):
    use_plugins([f'plugins="{folder}"'])
    with pytest.raises(UserError, match="sampler kind 'halved' exists already"):
        use_plugins([f"plugins={plugin_folder(tmp_path / 'other')}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_the_kind\n", r"halved.py, line 1: ModuleNotFoundError"),
        ("x = (\n", r"halved.py, line 1: SyntaxError|halved.py: SyntaxError"),
        (PLUGIN.replace("def decode", "def dekode"), r"line \d+: TypeError: Halved.dekode"),
        (PLUGIN.replace("@plugin\n", ""), "must define one class marked @plugin, has 0"),
    ],
)
def test_code_that_cannot_be_used_is_named_by_file_and_line(tmp_path, text, said):
    use_plugins([f"plugins={plugin_folder(tmp_path, {'samplers/halved.py': text})}"])
    with pytest.raises(UserError, match=said):
        plugin_class("samplers", "halved")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("samplers/a.py", "x = (\n", "a.py: is no Python"),
        ("samplers/a.py", "citation: C = Citation(key=f())\n", "not written in plain values"),
        ("samplers/a.py", "citation: C = papers.NOBODY\n", "has no paper NOBODY"),
    ],
)
def test_a_list_names_the_file_that_it_cannot_read(tmp_path, name, text, said):
    config = {"conf/sampler/a.yaml": "name: a\nkind: a\n"}
    use_plugins([f"plugins={plugin_folder(tmp_path, {name: text, **config})}"])
    with pytest.raises(UserError, match=said):
        citations("sampler")


def test_a_stored_override_runs_no_code(folder):
    """Overrides in a results folder may come from somebody else."""
    with pytest.raises(UserError, match="run only if you name it"):
        compose_config([f'plugins="{folder}"', "sampler=halved"])
    assert "halved" not in names("sampler")


def test_workers_and_the_job_that_finishes_find_them(folder, tmp_path):
    """Each in a process of its own, where nobody has named the folder yet."""
    where = (f'plugins="{folder}"', f"paths.results={tmp_path}", "sampler=halved", *SMALL)
    with no_plugins_left():
        Worker()(Job((tuple(where),), 1), lambda images: None)
    (run,) = RunStore(tmp_path).runs()
    with no_plugins_left():
        assert Finish(where)() == [str(run.path)]
    assert "halved" not in names("sampler")


# ------------------------------------------------------------------ distributions


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Installs a package of plug-ins under an entry point."""

    def install(value="halving_plugins", files=None):
        plugin_folder(tmp_path / "halving_plugins", files)
        info = tmp_path / "halving-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halving\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[sde_edit.plugins]\nhalving = {value}\n")

    monkeypatch.syspath_prepend(tmp_path)
    places._installed.cache_clear()
    yield install
    places._installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("halving_plugins")]:
        del sys.modules[name]


def test_an_installed_distribution_adds_its_names(distribution):
    distribution()
    assert plugin_class("samplers", "halved").__module__ == "halving_plugins.samplers.halved"
    assert experiment(["sampler=halved"]).spec.sampler.name == "halved"


def test_a_distribution_replaces_nothing(distribution):
    distribution(files={"conf/model/sd15.yaml": ""})
    with pytest.raises(UserError, match=r"entry point 'halving' .* model 'sd15' exists already"):
        names("model")


def test_an_entry_point_of_no_package_is_named(distribution):
    distribution("no.such_package")
    with pytest.raises(UserError, match=r"names 'no.such_package', which is no package"):
        names("model")
