"""Textmill's pipeline in Airflow: put this file, or a link to it, into Airflow's `dags` folder.

    export TEXTMILL_CONFIG=/srv/handbook/textmill.yaml
    airflow dags test handbook

`docs/airflow.md` says how Airflow is installed beside TFX.
"""

import os
from pathlib import Path

from textmill.settings import yaml_file as configuration

file = Path(os.environ["TEXTMILL_CONFIG"])
os.environ["KERAS_BACKEND"] = configuration.load(file).train.backend  # TFX imports Keras, which reads it once

from pipeline.airflow import dag  # noqa: E402

schedule, retries = os.environ.get("TEXTMILL_SCHEDULE", "@daily"), int(os.environ.get("TEXTMILL_RETRIES", "2"))
pipeline = dag(file, schedule, retries)
