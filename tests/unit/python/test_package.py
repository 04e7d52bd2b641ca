"""`import sde_edit` costs nothing, and has every name that it lists."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sde_edit


def test_importing_it_imports_nothing_heavy():
    code = "import sys, sde_edit; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "hydra", "pydantic", "PIL", "pandas"} & {*done.stdout.split()}


@pytest.mark.parametrize("name", sde_edit.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(sde_edit, name)
    assert name in dir(sde_edit)
    assert isinstance(found, str) or found.__doc__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = sde_edit.rnu


def test_type_checkers_see_what_there_is():
    """The imports that only they read give the very objects."""
    body = ast.parse(Path(sde_edit.__file__).read_text()).body
    (block,) = [node for node in body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen: dict[str, object] = {}
    exec(compile(ast.Module(imports, []), "imports", "exec"), seen)
    del seen["__builtins__"]
    assert {*seen, "__version__"} == {*sde_edit.__all__}
    assert all(getattr(sde_edit, name) is found for name, found in seen.items())
