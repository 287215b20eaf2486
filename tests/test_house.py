"""What keeps the house easy to grow in: small files, small functions, and contracts."""

import ast
import inspect
import io
import tokenize
from pathlib import Path

import pytest

import skflow
from skflow import flow

SOURCES = sorted(Path(skflow.__file__).parent.rglob("*.py"))
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_ARGUMENTS = 400, 50, 8

# What takes as many arguments as scikit-learn's estimators and displays do.
CONSTRUCTORS = {
    ("conditional.py", "__init__"),
    ("density.py", "__init__"),
    ("density.py", "from_estimator"),
    ("conditional.py", "from_estimator"),
}

# What stands for a whole kind, and may be asked for anywhere.
CONTRACTS = {"Activation", "BaseDistribution", "Bijection", "Coupling", "RelativeLayer"}

NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
)


def code_lines(source, tree):
    """Return the numbers of the lines that are neither empty, nor comments, nor docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return lines


def arguments(function):
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in named if argument.arg not in {"self", "cls"}]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_and_functions_are_small(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    lines = code_lines(source, tree)
    assert len(lines) <= MOST_LINES_OF_A_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            of_function = lines & set(range(node.lineno, node.end_lineno + 1))
            assert len(of_function) <= MOST_LINES_OF_A_FUNCTION, node.name
            # What Numba compiles knows no objects: kernels take pointers and numbers.
            is_kernel = path.parent.name == "kernels"
            if (path.name, node.name) not in CONSTRUCTORS and not is_kernel:
                assert len(arguments(node)) <= MOST_ARGUMENTS, node.name


def concrete_parts():
    """Return the names of bijections and base distributions, and the files that they stand in."""
    kinds = (flow.Bijection, flow.BaseDistribution)
    parts = {
        name: Path(inspect.getfile(part))
        for name, part in vars(flow).items()
        if inspect.isclass(part) and issubclass(part, kinds) and name not in CONTRACTS
    }
    del parts["AdaptedDistribution"]  # wraps what is no part of a flow yet
    return parts


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_concrete_part_is_asked_for_in_its_own_file_alone(path):
    parts = concrete_parts()
    assert {"LinearStack", "ElementwiseSpline", "Normal"} <= set(parts)
    asked = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked |= {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
    assert {name for name in asked if name in parts and parts[name] != path} == set()


def test_a_fit_reads_in_twenty_five_lines():
    source = Path(inspect.getfile(skflow.RelativeGradientFlow)).read_text(encoding="utf-8")
    tree = ast.parse(source)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    fit = next(function for function in functions if function.name == "fit")
    lines = code_lines(source, tree) & set(range(fit.body[0].lineno, fit.end_lineno + 1))
    assert 5 < len(lines) <= 25
