"""Articles: generate one from a topic or a template, look one up, list the templates."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request

from serving.interface.schemas import (
    Article,
    ArticleList,
    ArticleRecord,
    ArticleRequest,
    TemplateDescription,
    TemplateList,
    TemplateParameter,
)
from serving.web import error_answers
from serving.web.error_answers import REFUSALS
from serving.web.routes.beginning import begin_all
from serving.web.routes.event_stream import EventStream, close_all, event, merged, unless_client_leaves
from serving.writing.desk import Desk
from serving.writing.draft import Draft
from serving.writing.recent import Memory
from serving.writing.templates import ArticleTemplate
from textmill.ground.errors import TextmillError


def routes(desk: Desk, memory: Memory) -> APIRouter:
    """The article routes."""
    router = APIRouter(tags=["articles"])

    @router.post("/v1/articles", response_model=Article | ArticleList, responses=REFUSALS)
    async def write_article(order: ArticleRequest, request: Request) -> Any:
        """Generate an article on a topic or from a template; with `n`, a list of articles.

        With `stream`, the response is server-sent events: `start`, many `text`, then `done` with the whole article,
        or `error`. After `restart`, discard the text so far. `done` has the final article. At the length limit it is
        cut to whole sentences, so it can be shorter than the streamed text. With `n`, each event has an `index`.
        """
        drafts: list[Draft] = []
        streaming = False
        try:
            await begin_all(desk, lambda: _prepared(desk, order), lambda draft: draft.text, drafts)
            if order.stream:
                streaming = True
                return EventStream(_events(drafts, memory, numbered=order.n is not None), drafts)
            return await unless_client_leaves(request, _whole(drafts, memory, order.n is not None))
        finally:
            if not streaming:
                await close_all(drafts)

    @router.get("/v1/articles/{article_id}", response_model=ArticleRecord, responses=REFUSALS)
    async def read_article(article_id: str, request: Request) -> Any:
        """A recent article, with the lineage of its model: run, snapshot, sources."""
        record = memory.find(article_id)
        if record is None:
            return error_answers.answer(
                request.url.path, "not_found", f"Article '{article_id[:40]}' does not exist or has expired."
            )
        return record

    @router.get("/v1/templates", responses=REFUSALS)
    async def list_templates() -> TemplateList:
        """The templates and their parameters."""
        return TemplateList(templates=[_described(template) for template in desk.templates.values()])

    return router


def _described(template: ArticleTemplate) -> TemplateDescription:
    parameters = [
        TemplateParameter(
            name=each.name, description=each.description, required=each.default is None, default=each.default
        )
        for each in template.parameters
    ]
    return TemplateDescription(name=template.name, description=template.description, parameters=parameters)


async def _prepared(desk: Desk, order: ArticleRequest) -> list[Draft]:
    return [await Draft.begin(desk, order, number) for number in range(order.n or 1)]


async def _whole(drafts: Sequence[Draft], memory: Memory, as_list: bool) -> Article | ArticleList:
    records = await asyncio.gather(*(draft.finish() for draft in drafts))
    articles = [memory.keep(record) for record in records]
    return ArticleList(articles=articles) if as_list else articles[0]


async def _events(drafts: Sequence[Draft], memory: Memory, numbered: bool) -> AsyncIterator[str]:
    async for index, (name, data) in merged([_article(draft, memory) for draft in drafts]):
        yield event(name, {"index": index, **data} if numbered else data)


async def _article(draft: Draft, memory: Memory) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    yield "start", draft.start.model_dump()
    try:
        async for grown in draft.grow():
            if grown.again:
                yield "restart", {}
            elif grown.text:
                yield "text", {"text": grown.text}
        yield "done", memory.keep(await draft.finish()).model_dump()
    except TextmillError as error:
        yield "error", error_answers.body_of(error)
