"""TFX's statistics of the exported articles, their schema, and anomalies."""

from importlib.util import find_spec

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types.channel import BaseChannel

from textmill.ground.errors import UserError


def statistics_steps(examples: BaseChannel) -> list[BaseComponent]:
    """StatisticsGen, SchemaGen and ExampleValidator over Examples.

    Raises:
        UserError: tensorflow-data-validation is not installed.
    """
    if find_spec("tensorflow_data_validation") is None:
        raise UserError(
            "corpus.statistics needs tensorflow-data-validation, which is not installed here; "
            "install it (Python 3.12, glibc 2.39 or later) or set corpus.statistics: false."
        )
    from tfx.components import ExampleValidator, SchemaGen, StatisticsGen  # these import it

    generated = StatisticsGen(examples=examples)
    schema = SchemaGen(statistics=generated.outputs["statistics"])
    validator = ExampleValidator(statistics=generated.outputs["statistics"], schema=schema.outputs["schema"])
    return [generated, schema, validator]
