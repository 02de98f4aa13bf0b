"""The snippets of docs/python.md, and the examples."""

import doctest
import subprocess
import sys

import pytest

from conftest import ROOT

EXAMPLES = {"new_recurrence.py": [], "train.py": [], "evaluate.py": [], "swap_mixer.py": ["torch"]}


def test_the_page(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False,
                              optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 25 and result.failed == 0


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples/python").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    for module in EXAMPLES[name]:
        pytest.importorskip(module)
    done = subprocess.run([sys.executable, ROOT / "examples/python" / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
