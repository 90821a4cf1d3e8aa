"""Seldon's prediction protocol, for clients of Seldon Core."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from serving.feedback.ratings import Ratings
from serving.interface.schemas import Article, ArticleRequest, ModelIdentity
from serving.web.api_keys import key_name
from serving.web.error_answers import REFUSALS
from serving.web.routes.beginning import begin_all
from serving.web.routes.event_stream import close_all, unless_client_leaves
from serving.web.routes.seldon_schemas import Feedback, Prediction
from serving.writing.desk import Desk
from serving.writing.draft import Draft
from serving.writing.recent import Memory
from serving.writing.templates import WrongParameters

_COLUMNS = set(ArticleRequest.model_fields) - {"stream", "n", "parameters", "stop"}
_WHOLE_NUMBERS = {"max_tokens", "top_k", "seed"}
_DETAILS = {"id", "model", "seed", "settings", "finish_reason", "tokens", "guard"}


class Predictions:
    """The articles of recent predictions, by prediction id."""

    def __init__(self, size: int = 1000) -> None:
        self._ids: OrderedDict[str, list[str]] = OrderedDict()
        self._size = size

    def keep(self, puid: str, articles: Sequence[Article]) -> None:
        """Remember a prediction."""
        self._ids[puid] = [article.id for article in articles]
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)

    def find(self, puid: str | None) -> list[str]:
        """The ids of a prediction's articles; empty if it is unknown."""
        return self._ids.get(puid or "", [])


def routes(desk: Desk, memory: Memory, ratings: Ratings) -> APIRouter:
    """The routes of Seldon's protocol."""
    router = APIRouter(tags=["seldon"])
    predictions = Predictions()

    @router.post("/predict", responses=REFUSALS)
    async def predict(asked: Prediction, request: Request) -> Any:
        """Generate an article for each row of `data.ndarray`, or for `strData`. `names` names the columns."""
        orders = _orders(asked)
        drafts: list[Draft] = []
        try:
            await begin_all(desk, lambda: _prepared(desk, orders), lambda draft: draft.text, drafts)
            written = await unless_client_leaves(request, _written(drafts, memory))
        finally:
            await close_all(drafts)
        if not isinstance(written, list):
            return written
        puid = asked.meta.puid or secrets.token_hex(16)
        predictions.keep(puid, written)
        return JSONResponse(_answer(asked, puid, written))

    @router.post("/send-feedback", responses=REFUSALS)
    async def send_feedback(asked: Feedback, request: Request) -> Any:
        """Rate a prediction, identified by the metadata of its response."""
        meta = asked.response.meta
        rated = _rated(memory, predictions.find(meta.puid), meta.tags, meta.puid)
        for text_id, model in rated.items():
            await ratings.add(text_id, model, f"{key_name(request)}/", asked.reward, truth=asked.truth)
        return {"meta": {"puid": meta.puid, "tags": {"rated": list(rated)}}, "data": {"names": [], "ndarray": []}}

    return router


def _orders(asked: Prediction) -> list[ArticleRequest]:
    if (asked.data is None) == (asked.strData is None):
        raise WrongParameters("Give either data.ndarray or strData.", "data")
    if asked.data is None:
        return [_order({"topic": asked.strData}, 0)]
    names = asked.data.names or ["topic"]
    if unknown := sorted(set(names) - _COLUMNS):
        raise WrongParameters(
            f"data.names: '{unknown[0][:40]}' is not a column; use {', '.join(sorted(_COLUMNS))}.", "data.names"
        )
    rows = [[row] if isinstance(row, str) else row for row in asked.data.ndarray]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise WrongParameters(
                f"data.ndarray: row {number} has {len(row)} values, but data.names has {len(names)}.", "data.ndarray"
            )
    return [_order(dict(zip(names, row, strict=True)), number) for number, row in enumerate(rows)]


def _order(fields: Mapping[str, Any], number: int) -> ArticleRequest:
    given = {name: value for name, value in fields.items() if value is not None or name == "topic"}
    for name in _WHOLE_NUMBERS & given.keys():
        # a table of numbers often carries all of them as floats
        if isinstance(given[name], float) and given[name].is_integer():
            given[name] = int(given[name])
    try:
        return ArticleRequest.model_validate(given)
    except ValidationError as error:
        problems = [{**each, "loc": ("data", "ndarray", number, *each["loc"])} for each in error.errors()]
        raise RequestValidationError(problems, body={"data": {"ndarray": {number: given}}}) from None


async def _prepared(desk: Desk, orders: Sequence[ArticleRequest]) -> list[Draft]:
    return [await Draft.begin(desk, order) for order in orders]


async def _written(drafts: Sequence[Draft], memory: Memory) -> list[Article]:
    return [memory.keep(record) for record in await asyncio.gather(*(draft.finish() for draft in drafts))]


def _answer(asked: Prediction, puid: str, articles: Sequence[Article]) -> dict[str, Any]:
    details = [article.model_dump(include=_DETAILS) for article in articles]
    meta = {"puid": puid, "tags": {**articles[0].model.model_dump(), "articles": details}, "metrics": []}
    if asked.data is None:
        return {"meta": meta, "strData": articles[0].text}
    return {"meta": meta, "data": {"names": ["text"], "ndarray": [[article.text] for article in articles]}}


def _rated(memory: Memory, ids: Sequence[str], tags: Mapping[str, Any], puid: str | None) -> dict[str, ModelIdentity]:
    """The rated articles and their model, from this server's memory or else from the metadata.

    Raises:
        WrongParameters: the metadata do not identify a prediction.
    """
    records = [record for record in map(memory.find, ids) if record]
    if records:
        return {record.id: record.model for record in records}
    said = {name: tags[name] for name in ModelIdentity.model_fields if name in tags}
    try:
        if puid is None:
            raise ValueError
        return {puid: ModelIdentity.model_validate(said, strict=True)}
    except ValueError:
        raise WrongParameters(
            "response.meta does not identify a prediction; send the meta of /predict's response, with puid and tags.",
            "response.meta",
        ) from None
