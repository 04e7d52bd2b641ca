"""Writing images and their records."""

import pytest

from sde_edit.engine.output import ImageWriter
from sde_edit.errors import UserError
from sde_edit.store.runs import RunStore
from tests.builders import make_spec


def test_a_record_file_that_cannot_be_made_is_named(tmp_path):
    run = RunStore(tmp_path).open(make_spec())
    (run.path / "rows").write_text("a file where a folder belongs")
    with pytest.raises(UserError, match=r"cannot write .*rows.*nothing finished is lost"):
        ImageWriter(run, "one").__enter__()
