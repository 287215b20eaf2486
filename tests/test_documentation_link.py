import re
import tomllib

import pytest
import sklearn

from skflow import (
    DensityEnsemble,
    DensityRatio,
    FlowOutlierDetector,
    LogarithmicPool,
    RelativeGradientFlow,
    TableFlow,
)
from skflow.preprocessing import DequantizationTransformer, LogitTransformer


@pytest.fixture(scope="module")
def pages(pytestconfig):
    """The pages of the public classes and functions, which autosummary makes from docs/api.rst."""
    interface = (pytestconfig.rootpath / "docs" / "api.rst").read_text(encoding="utf-8")
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8"))
    site = project["project"]["urls"]["Documentation"]
    pages, module = [], None
    for line in interface.splitlines():
        if match := re.fullmatch(r"\.\. currentmodule:: ([\w.]+)", line):
            module = match[1]
        elif match := re.fullmatch(r"   (\w+)", line):
            pages.append(f"{site}generated/{module}.{match[1]}.html")
    return pages


@pytest.mark.parametrize(
    "estimator",
    [
        RelativeGradientFlow(),
        FlowOutlierDetector(),
        DensityEnsemble(),
        DensityRatio(),
        LogarithmicPool(RelativeGradientFlow()),
        TableFlow(),
        DequantizationTransformer(),
        LogitTransformer(),
    ],
)
def test_the_diagram_links_to_the_page_of_the_class(estimator, pages):
    name = type(estimator).__name__
    (page,) = (page for page in pages if page.endswith(f".{name}.html"))
    with sklearn.config_context(display="diagram"):
        html = estimator._repr_html_()
    assert f'href="{page}"' in html
    assert f"Documentation for {name}" in html


def test_a_class_that_is_derived_elsewhere_has_no_page():
    class Mine(LogitTransformer):
        pass

    assert "https://" not in re.sub(r"(?s)<(style|script).*?</\1>", "", Mine()._repr_html_())
