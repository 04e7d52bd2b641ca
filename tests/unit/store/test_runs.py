"""Run ids, and what the files of a run hold."""

import json
from dataclasses import asdict, replace

import pytest

from sde_edit.api.metric import Score
from sde_edit.api.spec import ComponentSpec, RunSpec
from sde_edit.errors import UserError
from sde_edit.store.files import write_atomic
from sde_edit.store.runs import (
    AttemptRecord,
    ImageRecord,
    Run,
    RunStore,
    read_row,
    read_score,
    run_id,
    write_score,
)

SPEC = RunSpec(
    task=ComponentSpec("inpaint", "inpaint", 1, {"guidance": 7.5}),
    sampler=ComponentSpec("sde", "sde", 1),
    model=ComponentSpec("shapes", "stable_diffusion", 1, {"resolution": 64}, "abc"),
    data=ComponentSpec("shapes", "shapes", 1, {"masks": "small"}, "def"),
    steps=25,
    spacing="linspace",
    last_sigma="sigma_min",
    dtype="float32",
    seed=0,
)


def add(run, example_id, content=b"png", attempt="a"):
    write_atomic(run.path / "outputs" / f"{example_id}.png", content)
    row = ImageRecord(
        example_id, f"{example_id}.png", len(content), f"p-{example_id}", 0.1, 50, "cpu", "f"
    )
    file = run.path / "rows" / f"{attempt}.jsonl"
    file.parent.mkdir(exist_ok=True)
    with open(file, "a") as out:
        out.write(json.dumps(asdict(row)) + "\n")


def test_run_id_covers_the_spec_and_survives_the_disk(tmp_path):
    store = RunStore(tmp_path)
    run = store.open(SPEC)
    assert run.spec == SPEC
    assert run.id == run_id(SPEC) == run_id(run.spec)
    assert run.path.name.startswith("inpaint__sde__shapes__s025__")
    for changed in (
        replace(SPEC, steps=26),
        replace(SPEC, seed=1),
        replace(SPEC, dtype="float64"),
        replace(SPEC, model=replace(SPEC.model, digest="abd")),
        replace(SPEC, task=replace(SPEC.task, version=2)),
        replace(SPEC, task=replace(SPEC.task, params={"guidance": 7.4})),
    ):
        assert run_id(changed) != run.id
    assert store.find(SPEC).path == run.path
    assert store.find(replace(SPEC, steps=26)) is None
    assert [found.id for found in store.runs()] == [run.id]


def test_golden_run_id():
    """A refactoring that changes ids would make every stored result unreachable."""
    assert run_id(SPEC) == "022719ffb037"


def test_a_row_counts_only_with_its_whole_file(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    add(run, "a")
    add(run, "b")
    (run.path / "outputs" / "b.png").write_bytes(b"pn")
    with open(run.path / "rows" / "a.jsonl", "a") as out:
        out.write('{"id": "c", "fil')
    assert list(run.rows()) == ["a"]


def test_records_with_fields_of_a_newer_version_are_read(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    add(run, "a")
    seal = run.write_seal(["a"], of=1)
    for file in (run.path / "rows" / "a.jsonl", run.path / "SEALED"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"newer": 1}) + "\n")
    write_atomic(run.attempt_file("a"), b'{"attempt": "a", "pid": 7, "newer": 1}')
    assert list(run.rows()) == ["a"]
    assert run.seal == seal
    assert [(attempt.attempt, attempt.pid) for attempt in run.attempts()] == [("a", 7)]


def test_an_attempt_is_stored_as_it_is_read(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    begun = AttemptRecord(attempt="a", overrides=["steps=4"], started=1.0)
    assert not {"ended", "error"} & json.loads(begun.to_json()).keys()
    for record in (begun, replace(begun, ended=2.0), replace(begun, ended=2.0, error="full")):
        write_atomic(run.attempt_file("a"), record.to_json().encode())
        assert run.attempts() == [record]


def test_seal_digest_does_not_depend_on_order_or_attempts(tmp_path):
    one, two = RunStore(tmp_path / "1").open(SPEC), RunStore(tmp_path / "2").open(SPEC)
    for example_id in ("a", "b", "c"):
        add(one, example_id)
    for example_id, attempt in (("c", "x"), ("a", "y"), ("b", "y"), ("a", "z")):
        add(two, example_id, attempt=attempt)
    ids = ["a", "b", "c"]
    assert one.write_seal(ids, of=10) == two.write_seal(ids[::-1], of=10) == one.seal
    (one.path / "SEALED").unlink()
    assert one.seal is None


def test_seal_refuses_missing_images(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    add(run, "a")
    with pytest.raises(RuntimeError, match="'b'"):
        run.write_seal(["a", "b"], of=2)


def score_with(seal):
    numbers = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 1, "replicates": [0.9]}
    return Score("psnr", "psnr", 1, {"p": [1]}, "c", True, seal, **numbers, per_example={"a": 1.0})


def test_a_score_is_stored_under_its_field_names_and_read_back(tmp_path):
    file = tmp_path / "score.json"
    write_score(file, score_with("s"))
    assert file.read_text() == (
        '{"metric": "psnr", "kind": "psnr", "version": 1, "settings": {"p": [1]}, '
        '"convention": "c", "higher_is_better": true, "seal": "s", "value": 1.0, "low": 0.5, '
        '"high": 1.5, "n": 1, "replicates": [0.9], "per_example": {"a": 1.0}, "seconds": 0.0, '
        '"tolerance": 0.0}\n'
    )
    assert read_score(file) == score_with("s")


def test_rows_of_older_and_of_newer_versions_are_read(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    add(run, "a")
    row = run.rows()["a"]
    older = {key: value for key, value in asdict(row).items() if key != "cut"}
    for fields in (older, asdict(row) | {"colour": "red"}):
        assert read_row(json.dumps(fields).encode()) == row


def test_a_score_of_an_older_version_is_read(tmp_path):
    file, older = tmp_path / "score.json", asdict(score_with("s"))
    del older["tolerance"]
    write_atomic(file, json.dumps(older).encode())
    assert read_score(file) == score_with("s")


def test_a_score_of_a_newer_version_is_read_and_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "score.json"
    write_atomic(file, json.dumps({**asdict(score_with("s")), "colour": "red"}).encode())
    assert read_score(file) == score_with("s")
    for text in ('{"metric": "psnr"}', '{"metric": "ps'):
        write_atomic(file, text.encode())
        with pytest.raises(UserError, match=r"score\.json: .*evaluate the run again"):
            read_score(file)


def test_scores_count_only_for_the_images_as_sealed(tmp_path):
    run = RunStore(tmp_path).open(SPEC)
    add(run, "a")
    seal = run.write_seal(["a"], of=2)
    score = score_with(seal.digest)
    write_score(run.score_file("psnr", 1, {}), score)
    assert run.scores() == {"psnr": score}
    add(run, "b")
    run.write_seal(["a", "b"], of=2)
    assert run.scores() == {}


def test_runs_ignores_what_is_no_run(tmp_path):
    (tmp_path / "runs" / "stray").mkdir(parents=True)
    assert RunStore(tmp_path).runs() == []
    assert Run(tmp_path / "x").scores() == {}
