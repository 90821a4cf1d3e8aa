"""TFX's statistics are attached where they can be, and where they cannot, a sentence says so."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.graph import Resolved, graph
from textmill.ground.errors import UserError
from textmill.settings.config import Config
from textmill.settings.corpus import Corpus
from textmill.settings.sites import Source

SITE = Source(name="mill", start="http://mill.example/")
RESOLVED = Resolved(1, "0" * 64, 0, "", "registry")


def _steps(**corpus: bool) -> list[str]:
    config = Config(name="handbook", sources=[SITE], corpus=Corpus(**corpus))
    return [step.id for step in graph(config, RESOLVED, Path("checkpoints"))]


def test_by_default_there_are_no_statistics() -> None:
    assert _steps() == ["ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register"]


@pytest.mark.skipif(find_spec("tensorflow_data_validation") is not None, reason="it is installed here")
def test_statistics_without_the_package_are_refused_with_the_cure() -> None:
    with pytest.raises(UserError, match=r"not installed here; install it .* or set corpus\.statistics: false"):
        _steps(statistics=True)


@pytest.mark.skipif(
    find_spec("tensorflow_data_validation") is None, reason="tensorflow-data-validation is not installed"
)
def test_statistics_look_at_the_exported_articles() -> None:
    assert _steps(statistics=True)[1:4] == ["StatisticsGen", "SchemaGen", "ExampleValidator"]
