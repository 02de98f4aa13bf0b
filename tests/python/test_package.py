"""The package's stubs and the hook for lm-eval."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import tidegate
from tidegate import _tidegate

from conftest import ROOT


def test_stubs_name_what_the_module_has():
    tree = ast.parse((Path(tidegate.__file__).with_name("_tidegate.pyi")).read_text())
    stubs = {node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    real = {name: value for name, value in vars(_tidegate).items() if not name.startswith("_") and callable(value)}
    assert stubs.keys() == real.keys()
    for name, node in stubs.items():
        if isinstance(node, ast.ClassDef):
            members = {member.name for member in node.body if isinstance(member, ast.FunctionDef)} - {"__init__"}
            assert members == {member for member in vars(real[name]) if not member.startswith("_")}


def test_hook_registers_the_model(tmp_path):
    """As an interpreter starts that has the wheel's .pth file."""
    pytest.importorskip("lm_eval")
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import _tidegate_lm_eval\n"
            "from lm_eval.api.registry import get_model\n"
            "print(get_model('tidegate').__name__)")
    done = subprocess.run([sys.executable, "-c", code, str(ROOT / "frontends/python/site")], capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.stdout.strip() == "TidegateLM", done.stderr


def test_version_is_the_projects():
    assert f"VERSION {tidegate.__version__} " in (ROOT / "CMakeLists.txt").read_text()
    assert f'version = "{tidegate.__version__}"' in (ROOT / "pyproject.toml").read_text()
