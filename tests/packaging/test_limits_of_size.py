"""What can be read at a time: no file, class or function grows beyond it."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dfghdr_cli"
FILE, CLASS, FUNCTION = 650, 200, 70
"""Lines. A function's are those below its docstring: signatures and words are free."""
FILES = sorted(PACKAGE.rglob("*.py"))


def body_of(node):
    """The first and the last line of a function's code, without its docstring."""
    statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (statements[0].lineno if statements else node.end_lineno), node.end_lineno


def too_long(text):
    """["name: lines", ...]"""
    found = []
    if len(text.splitlines()) > FILE:
        found.append(f"the file: {len(text.splitlines())}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            lines, most = node.end_lineno - node.lineno + 1, CLASS
        elif isinstance(node, ast.FunctionDef):
            first, last = body_of(node)
            lines, most = last - first + 1, FUNCTION
        else:
            continue
        if lines > most:
            found.append(f"{node.name}: {lines}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_too_long(path):
    assert too_long(path.read_text(encoding="utf-8")) == []


def test_what_is_too_long_is_found():
    long = "def f():\n    '''Words.'''\n" + "    x = 1\n" * (FUNCTION + 1)
    assert too_long(long) == [f"f: {FUNCTION + 1}"]
    assert too_long(long.replace("    x = 1\n", "", 1)) == []
    assert too_long("class C:\n" + "    x = 1\n" * CLASS) == [f"C: {CLASS + 1}"]
    assert too_long("x = 1\n" * (FILE + 1)) == [f"the file: {FILE + 1}"]


def test_a_config_holds_what_a_person_chooses_and_no_measurement():
    from dfghdr_cli.merging.config import MergeConfig

    assert {field.name for field in fields(MergeConfig)} == {
        "align",
        "resolution",
        "proxy_pixels",
        "tile",
    }
