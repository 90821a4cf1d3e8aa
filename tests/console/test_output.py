import pytest

from textmill.console import output


def test_a_package_of_an_extra_that_is_missing_is_named_with_its_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.exit_with(ModuleNotFoundError("No module named 'tfx.v1'", name="tfx.v1")) == 2
    assert capsys.readouterr().err == (
        "textmill: The package 'tfx.v1' is not installed; install textmill[pipeline] to crawl and to train, "
        "or textmill[serve] to serve.\n"
    )
    with pytest.raises(ModuleNotFoundError):  # a mistake of ours keeps its traceback
        output.exit_with(ModuleNotFoundError("No module named 'textmill.x'", name="textmill.x"))
