"""Articles: write one on a topic or from a template, look one up, list the templates."""

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
from serving.web.routes.event_stream import EventStream, begin_all, close_all, event, merged, unless_client_leaves
from serving.writing.desk import Desk
from serving.writing.draft import Draft
from serving.writing.recent import Memory
from serving.writing.templates import ArticleTemplate
from textmill.ground.errors import TextmillError


def routes(desk: Desk, memory: Memory) -> APIRouter:
    """The routes over one desk."""
    router = APIRouter(tags=["articles"])

    @router.post("/v1/articles", response_model=Article | ArticleList, responses=REFUSALS)
    async def write_article(order: ArticleRequest, request: Request) -> Any:
        """Write an article on a topic, or from a template; with `n`, a list of so many.

        With `stream`, server-sent events while it is written: `start`, many `text`, then `done` with the whole
        article, or `error`. `restart` means that the text so far is thrown away. `done` holds the article as it
        stands, cut to whole sentences where it reached its limit, so it may be shorter than the texts before it. With
        `n`, the data of each event has an `index`.
        """
        drafts: list[Draft] = []
        streaming = False
        try:
            await begin_all(lambda number: Draft.begin(desk, order, number), order.n or 1, drafts)
            if order.stream:
                streaming = True
                return EventStream(_events(drafts, memory, numbered=order.n is not None), drafts)
            return await unless_client_leaves(request, _whole(drafts, memory, order.n is not None))
        finally:
            if not streaming:
                await close_all(drafts)

    @router.get("/v1/articles/{article_id}", response_model=ArticleRecord, responses=REFUSALS)
    async def read_article(article_id: str, request: Request) -> Any:
        """An article written lately, with what its model was made from: run, snapshot, sources."""
        record = memory.find(article_id)
        if record is None:
            return error_answers.answer(
                request.url.path, "not_found", f"There is no article '{article_id[:40]}' here, or not any more."
            )
        return record

    @router.get("/v1/templates", responses=REFUSALS)
    async def list_templates() -> TemplateList:
        """The templates, with what each wants to know."""
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
