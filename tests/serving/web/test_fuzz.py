"""A share of `fuzz.py`, quick enough for every run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_router import EngineRouter, config
from fastapi import FastAPI
from fuzz import by_schema, fuzz, no_server_error

from serving.app import create_app


@pytest.fixture(scope="module")
def app(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    router = EngineRouter({7: model}, max_tokens=4)
    yield create_app(router, config(tmp_path_factory.mktemp("fuzzed")))
    router.close()


def test_no_spoilt_request_is_answered_with_500(app: FastAPI) -> None:
    found = asyncio.run(fuzz(app, 1000, seed=1))
    assert found[200] and found[422] and found[400] and found[404]


def test_no_request_that_schemathesis_makes_is_answered_with_500(app: FastAPI) -> None:
    assert by_schema(app, 8, no_server_error) > 60
