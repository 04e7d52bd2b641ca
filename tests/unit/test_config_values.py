"""What was asked for is what runs: a key or value that fits nothing is refused by its name."""

import json
import shlex
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings

from sde_edit.api.override import format_override, override
from sde_edit.cli import main
from sde_edit.config import check_known, compose_config, data_set, experiment, launcher, parsed
from sde_edit.errors import UserError
from sde_edit.overrides import expand, sweep
from sde_edit.registry import names, plugin_class
from sde_edit.report.selection import command
from sde_edit.store.runs import run_id
from tests.contracts.test_configs import GIVEN
from tests.unit.test_config import TEXTS, VALUES


def refusal(*overrides: str) -> str:
    """The message that refuses the overrides."""
    with pytest.raises(UserError) as refused:
        experiment(overrides)
    return str(refused.value)


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize("sign", ["", "+", "++"])
@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("smpler=sde", "sampler"),
        ("expriment=debug", "experiment"),
        ("step=3", "steps"),
        ("metric=psnr", "metrics"),
        ("guidance=3", "task.guidance"),
        ("task.guidence=3", "guidance"),
        ("sampler.gama=1", None),
        ("model.rezolution=3", "resolution"),
        ("data.limitt=3", "limit"),
        ("grid.spaceing=leading", "spacing"),
        ("hardware.batchsize=3", "batch_size"),
        ("paths.result=x", "results"),
        ("launcher.worker=3", "workers"),
        ("wandb.projekt=x", "project"),
        ("steps.x=3", None),
        ("hydra.run.dir=x", None),
    ],
)
def test_an_unknown_key_is_refused_at_every_level(sign, line, meant):
    message = refusal(sign + line)
    assert message.startswith(f"{sign}{line}: ")
    assert meant is None or f"Did you mean {meant!r}?" in message


def test_only_settings_are_known():
    message = refusal("task=roundtrip", "task.guidence=3")
    for word in ("version", "citation", "shares_encoding", "kind", "cites"):
        assert word not in message


def test_settings_of_a_plug_in_that_its_yaml_leaves_out_are_known():
    chosen = experiment(["task=roundtrip", "task.region=mask", "+task.mask_maps=3"])
    assert (chosen.task.region, chosen.task.mask_maps) == ("mask", 3)


def test_a_sign_changes_nothing():
    plain = run_id(experiment(["steps=7", "task.guidance=3"]).spec)
    assert run_id(experiment(["++steps=7", "+task.guidance=3"]).spec) == plain


def test_open_mappings_take_any_key():
    chosen = experiment(["task=p2p", "data=shapes-edits", "+task.reweight.red=2.0"])
    assert chosen.task.reweight == {"red": 2.0}
    slurm = launcher(["launcher=slurm", "+launcher.extra.constraint=a100"])
    assert slurm.extra == {"constraint": "a100"}


@pytest.mark.parametrize("line", ["~steps", "~task.guidance", "~task", "task@x=inpaint", "steps"])
def test_other_forms_are_refused(line):
    assert line in refusal(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("experiment=inpaint_place_sd15", "Did you mean 'inpaint_places_sd15'?"),
        ("task=inpant", "no task 'inpant'. Did you mean 'inpaint'?"),
        ("task=null", "no task 'None'"),
        ("task=[inpaint,sample]", "no task"),
        ("task=../task/inpaint", "no task"),
        ("data=place", "Did you mean 'places'?"),
        ("wandb=of", "no wandb 'of'"),
        ("hardware=gpu", "no hardware 'gpu'"),
        ("metrics=[psnrr]", "Did you mean 'psnr'?"),
        ("metrics=../task/inpaint", "no metric"),
    ],
)
def test_an_unknown_name_is_refused(line, words):
    assert words in refusal(line)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["sweep"],
        ["sweep", "table=table2"],
        ["evaluate"],
        ["summary"],
        ["bench"],
        ["table", "table2"],
        ["data", "status"],
        ["status"],
        ["runs"],
        ["export"],
        ["figure", "figure5"],
        ["compare", "a", "b"],
    ],
)
@pytest.mark.parametrize("line", ["+smpler=sde", "smpler=sde"])
def test_every_command_refuses_an_unknown_key(arguments, line, tmp_path):
    outcome = CliRunner().invoke(main, [*arguments, line, f"paths.results={tmp_path}"])
    assert (outcome.exit_code, type(outcome.exception)) == (1, SystemExit), outcome.output
    assert "smpler" in outcome.output
    assert not list(tmp_path.iterdir())


def test_edit_refuses_an_unknown_key(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    prompts = ["--from", "a", "--to", "b", "--out", str(tmp_path / "b.png")]
    outcome = CliRunner().invoke(
        main, ["edit", "prompt", str(tmp_path / "a.png"), "+smpler=sde", "model=shapes", *prompts]
    )
    assert (outcome.exit_code, type(outcome.exception)) == (1, SystemExit)
    assert "Did you mean 'sampler'?" in outcome.output


def test_a_table_knows_the_settings_of_every_plug_in():
    check_known(["sampler.gamma=1", "data.pair=a-b", "task.region=mask", "model.digest=x"])
    for line in ("sampler.gama=1", "task=inpant", "modell=x", "task.foo=1"):
        with pytest.raises(UserError, match=r"(Did you mean|foo).*Known"):
            check_known([line])


@pytest.mark.parametrize(
    "line", ["task.kind=translate", "sampler.kind=ode", "model.kind=gmm", "data.kind=shapes"]
)
@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_plug_in_is_chosen_by_its_name_and_not_by_its_kind(line, sign):
    group = line.partition(".")[0]
    message = refusal(sign + line)
    assert f"Choose {group}=NAME" in message
    assert names(group)[0] in message


# ------------------------------------------------------------------ values


@pytest.mark.parametrize(
    "line",
    [
        *("seed=abc", "seed=1.5", "seed=true", "seed=[1]", "seed=null", "seed="),
        *("steps=true", "steps=0", "steps=-3", "steps=2.0", "steps=null", "steps=abc", "steps=nan"),
        *("shard=-1", "shards=0", "shard=1", "dtype=5", "dtype=null", "dtype=[float32]"),
        *("task.guidance=nan", "task.guidance=inf", "task.guidance=null", "task.guidance=true"),
        *("task.name=5", "task.name=", "task.kind=5", "data.prompt=5", "data.limit=-1"),
        *("data.limit=1.5", "data.n=0", "data.n=null", "data.masks=5", "data.metrics=5"),
        *("hardware.batch_size=0", "hardware.loaders=0", "hardware.threads=0"),
        *("hardware.threads=100000000000", "hardware.compile=1", "hardware.device=5"),
        *("hardware.batch_size=inf", "wandb.mode=on", "wandb.project=", "grid.spacing=even"),
        *("grid.last_sigma=null", "grid={}x", "grid=5", "grid={spacing:leading,x:1}"),
        *("metrics=5", "metrics=[1]", "metrics=true", "metrics={a:1}", "metrics=''"),
        *("paths.results=", "paths.results=''", "paths.data=", "paths.cache=", "paths.results=5"),
        *("model.path=", "model.resolution=0", "model.resolution=-64", "model.batch_size=0"),
        *("model.dtype=5", "launcher.workers=0", "launcher.retries=-1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(line):
    key = line.partition("=")[0]
    message = refusal(line) if not line.startswith("launcher") else launcher_refusal(line)
    assert key in message or key.rpartition(".")[2] in message or key == "model.dtype"


def launcher_refusal(line: str) -> str:
    with pytest.raises(UserError) as refused:
        launcher([line])
    return str(refused.value)


NUMBERS = [
    (f"{group}={name}", f"{group}.{own}")
    for group, package in (("task", "tasks"), ("sampler", "samplers"), ("data", "datasets"))
    for name in names(group)
    for own in ("guidance", "t_0", "beta", "gamma", "p", "resolution", "pairs_seed", "lora_steps")
    if own in plugin_class(package, compose_config(
        [f"{group}={name}", *GIVEN.get(name, [])])[group]["kind"]).__dataclass_fields__
]  # fmt: skip


@pytest.mark.parametrize("value", ["nan", "-inf", "abc", "true", "[1]", "{a:1}", "null"])
def test_text_and_no_number_are_refused_where_a_number_belongs(value):
    for choice, key in NUMBERS:
        own_sizes = ("data=picture", "data=dragbench-205")
        if choice in own_sizes and (key, value) == ("data.resolution", "null"):
            continue  # the files' own sizes
        given_here = GIVEN.get(choice.partition("=")[2], [])
        with pytest.raises(UserError, match=key.rpartition(".")[2]):
            experiment([choice, *given_here, f"{key}={value}"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=folder", "data.images=''"],
        ["data=folder", "data.images=i", "data.captions=''"],
        ["data=picture", "data.image=''"],
        ["data=coco", "data.root=''"],
        ["sampler=external", "sampler.outputs=''"],
    ],
)
def test_an_empty_path_is_not_the_current_folder(overrides):
    assert overrides[-1].partition("=")[0].partition(".")[2] in refusal(*overrides)


@pytest.mark.parametrize("value", ["caf\udce9.png", "'caf\udce9.png'"])
def test_a_path_that_is_not_utf_8_is_refused_in_words_that_can_be_printed(value):
    message = refusal("data=picture", f"data.image={value}")
    assert message.endswith("is not UTF-8. Rename what it names")
    assert message.isascii()


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        ("metrics=psnr", ["psnr"]),
        ("metrics=[psnr]", ["psnr"]),
        ("metrics=[psnr,ssim]", ["psnr", "ssim"]),
        ("metrics=null", []),
        ("metrics=[]", []),
    ],
)
def test_metrics_are_one_name_or_a_list(line, metrics):
    assert [named.spec.name for named in experiment([line]).metrics] == metrics


# ------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    "text",
    [
        *('a "b" c', "it's", "~/a", "a (b)", "a # b", "café", "${oc.env:HOME}", "a ${b} c", "a=b"),
        *("{caption", "a, (b", "[a", "a: {b", "'", '"', "100% (a)", "日本"),
    ],
)
def test_a_message_shows_how_to_quote_this_very_value(text):
    message = refusal(f"task.prompt={text}") if needs_quotes(text) else ""
    if message:
        (line,) = shlex.split(message.rpartition("the shell: ")[2])
        assert experiment([line]).task.prompt == text


def needs_quotes(text: str) -> bool:
    try:
        return bool(experiment([f"task.prompt={text}"]).task.prompt != text)
    except UserError:
        return True


@pytest.mark.parametrize("text", ["1984", "true", "[a]", "null", "2.5", "{a:1}"])
def test_a_number_as_a_prompt_gets_the_same_help(text):
    message = refusal(f"task.prompt={text}")
    if text != "null":
        (line,) = shlex.split(message.rpartition("as text: ")[2])
        assert experiment([line]).task.prompt == text


@given(TEXTS)
@example("${oc.env:HOME}")
@example("\\${a}")
@example("a ${b} c")
@settings(max_examples=30, derandomize=True, deadline=None)
def test_a_text_stays_as_it_is_in_a_config(text):
    if text != "???":  # OmegaConf's word for a value that is still to be given
        assert compose_config([override("task.prompt", text)])["task"]["prompt"] == text


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_any_values_survive_a_sweep(values):
    lines = ["steps=3", sweep("task.x", values)]
    read = [parsed(combination)["task.x"] for combination in expand(lines)]
    assert read == values
    assert list(map(type, read)) == list(map(type, values))


@given(VALUES | st.lists(VALUES, max_size=3))
def test_any_value_survives_being_written(value):
    assert parsed([f"task.x={format_override(value)}"]) == {"task.x": value}


@given(TEXTS.filter(lambda text: "\0" not in text))
def test_a_printed_command_can_be_pasted(text):
    verb, *overrides = shlex.split(command("run", {"task": "inpaint", "task.prompt": text}))[1:]
    assert verb == "run"
    assert parsed(overrides) == {"task": "inpaint", "task.prompt": text}


# ------------------------------------------------------------------ anything at all

BAD_KEYS = [
    *("steps", "seed", "dtype", "metrics", "shard", "shards", "grid", "grid.spacing", "paths"),
    *("paths.results", "task", "task.prompt", "task.guidance", "task.kind", "task.name", "sampler"),
    *("model", "model.resolution", "model.path", "model.dtype", "data", "data.n", "data.limit"),
    *("data.masks", "data.metrics", "hardware", "hardware.device", "hardware.threads", "wandb"),
    *("wandb.mode", "launcher", "launcher.workers", "experiment", "hydra", "x", "task.x.y", ""),
    *("steps.x", "+steps", "++task.x", "~task", "task@x", "a b", ".", "task.", "table", "metric"),
]
BAD_VALUES = [
    *("", "null", "nan", "inf", "-inf", "-1", "0", "1.5", "true", "abc", "[", "[]", "[1]", "{}"),
    *("{a:1}", "{null:1}", "{1:{2:3}}", "'", '"', "''", '"${a}"', "${a}", "${oc.env:HOME}", "???"),
    *("1,2", "range(1,3)", "range(5,1)", "range(1,2,0)", "interval(1,2)", "glob(*)", "choice(1)"),
    *(
        "(",
        ")",
        "~",
        "#",
        "é",
        "\\",
        "a b",
        "a=b",
        "..",
        "/",
        "../task/inpaint",
        "9" * 400,
        "1e999",
    ),
    *("9" * 5000, "[" * 50, "str(", "int(abc)", "float(x)", "shuffle(1,2)", "{caption}", "%s", "@"),
]
LINES = st.builds("{}={}".format, st.sampled_from(BAD_KEYS), st.sampled_from(BAD_VALUES))


def attempt(lines: Sequence[str]) -> None:
    """Succeeds or raises UserError; what succeeds has a run id that can be stored."""
    try:
        for combination in expand(lines):
            json.dumps(run_id(experiment(combination).spec))
            launcher(combination)
            data_set(combination)
    except UserError:
        return


@given(st.lists(LINES | st.sampled_from(BAD_KEYS) | st.text(max_size=8), min_size=1, max_size=3))
@settings(max_examples=80, derandomize=True, deadline=None)
def test_no_overrides_raise_anything_but_a_user_error(lines):
    attempt(lines)


@pytest.mark.parametrize("value", BAD_VALUES)
def test_no_value_raises_anything_but_a_user_error(value):
    for key in ("steps", "task.prompt", "task.guidance", "metrics", "data", "paths.results"):
        attempt([f"{key}={value}"])


@pytest.mark.parametrize("task", ["sample", "inpaint", "sdedit"])
def test_a_task_that_starts_from_noise_ends_without_it(task):
    said = refusal(f"task={task}", "grid.last_sigma=one_step_in")
    assert f"task={task} would end with noise: use sigma_min or zero" in said


@pytest.mark.parametrize("task", ["reconstruct", "cyclediffusion", "drag"])
def test_a_task_that_encodes_may_end_one_step_in(task):
    spec = experiment([f"task={task}", "grid.last_sigma=one_step_in", "metrics=[]"]).spec
    assert spec.last_sigma == "one_step_in"
