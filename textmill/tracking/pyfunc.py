"""A registered model as an MLflow `pyfunc`: MLflow runs this file to load one ("models from code", no pickle)."""

import sys
from pathlib import Path
from typing import Any

import mlflow


class ArticleWriter(mlflow.pyfunc.PythonModel):
    """Titles in, articles out."""

    def load_context(self, context: Any) -> None:
        """Load the bundle that stands among the model's artifacts, with the library that was packed beside it."""
        sys.path.insert(0, context.artifacts["library"])
        from textmill.gpt2.inference import engine

        self._engine = engine.Engine(Path(context.artifacts["bundle"]), slots=1)

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        """Write one article for each title; `params` are those of `inference.Settings`."""
        from textmill.gpt2.inference import engine

        return [engine.write(self._engine, title, **(params or {})) for title in model_input]


mlflow.models.set_model(ArticleWriter())
