"""docs/quickstart.ipynb runs as it is, and is stored without what running it leaves behind."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.builders import ROOT

FILE = ROOT / "docs" / "quickstart.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(FILE, as_version=4)


def test_it_is_stored_clean(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count or cell.metadata for cell in code)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert str(Path.home()) not in FILE.read_text()
    for cell in code:
        compile(cell.source, "cell", "exec")


def outputs(notebook, kind):
    found = (one for cell in notebook.cells for one in cell.get("outputs", ()))
    return [one.data[kind] for one in found if kind in one.get("data", {})]


@pytest.mark.slow
def test_it_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert len(outputs(notebook, "image/png")) >= 6
    (compared,) = outputs(notebook, "text/markdown")
    assert "heun" in compared
    assert "verdict" in compared
