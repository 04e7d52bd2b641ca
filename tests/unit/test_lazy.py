import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from sde_edit.cli import _SLOW
from sde_edit.lazy import defer


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """The name of a module that notes when it is read, and that is deferred."""
    name = f"deferred_{request.function.__name__}"
    body = f"""
        import pathlib, time, {name}
        first = 1
        time.sleep(0.05)
        whole = {name}.first + 1
        pathlib.Path({str(tmp_path / "read")!r}).touch(exist_ok=False)
    """
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(textwrap.dedent(body))
    (tmp_path / name / "part.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer(name)
    return name


def test_a_deferred_module_is_read_when_it_is_used(module, tmp_path):
    announced = import_module(module)
    assert import_module(module) is announced
    assert not isinstance(announced, type)
    assert not (tmp_path / "read").exists()
    assert announced.whole == 2
    assert (tmp_path / "read").exists()
    assert type(announced) is type(sys)


def test_a_name_or_a_submodule_from_it_reads_it(module, tmp_path):
    import_module(module)
    assert import_module(f"{module}.part").value == 3
    assert (tmp_path / "read").exists()


def test_a_submodule_that_the_module_reads_itself_is_read_once(tmp_path, monkeypatch):
    """The import system asks for `part` before it looks at the package, which then brings it."""
    package = tmp_path / "deferred_with_part"
    package.mkdir()
    (package / "__init__.py").write_text("from deferred_with_part import part\nfirst = part\n")
    (package / "part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    defer("deferred_with_part")
    part = import_module("deferred_with_part.part")
    assert part is import_module("deferred_with_part").first
    assert part.__spec__.origin == part.__file__ == str(package / "part.py")


def test_threads_see_the_whole_module(module):
    announced = import_module(module)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: announced.whole, range(8)))
    assert found == [2] * 8


def test_a_module_that_is_not_there_is_an_import_error():
    defer("there_is_no_such_module")
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        import_module("there_is_no_such_module")


def test_importing_all_plugins_reads_no_torch():
    """So that a command which finds nothing to compute starts fast."""
    code = f"""
        import sys
        from sde_edit.lazy import defer
        defer(*{_SLOW})
        from sde_edit.commands import run, summary, sweep
        from sde_edit.registry import kinds, plugin_class
        for group in ("tasks", "samplers", "models", "datasets", "metrics", "launchers"):
            for kind in kinds(group):
                plugin_class(group, kind)
                assert "torch._C" not in sys.modules, f"{{group}}/{{kind}}.py reads torch"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_module_that_cannot_be_read_fails_in_the_same_way_every_time(tmp_path, monkeypatch):
    (tmp_path / "deferred_and_broken.py").write_text("raise ImportError('a library is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer("deferred_and_broken")
    announced = import_module("deferred_and_broken")
    for _ in range(2):
        with pytest.raises(ImportError, match="a library is missing"):
            _ = announced.value
