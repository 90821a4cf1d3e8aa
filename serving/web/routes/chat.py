"""OpenAI's chat completions, for clients that speak nothing else. The model does not chat: it writes an article.

The last message of the user is the article's topic, as `topic` of `POST /v1/articles`; all other messages are ignored.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request

from serving.web import error_answers
from serving.web.error_answers import REFUSALS
from serving.web.routes.chat_schemas import AnswerMessage, ChatAnswer, ChatChoice, ChatRequest
from serving.web.routes.event_stream import merged
from serving.web.routes.openai import REASONS, Job, answered, check, check_bias, usage
from serving.writing.desk import Desk
from serving.writing.draft import prompt_for
from serving.writing.guarded_text import Text
from serving.writing.templates import Opening
from textmill.ground.errors import TextmillError


def routes(desk: Desk) -> APIRouter:
    """The route of chat completions."""
    router = APIRouter(tags=["openai"])

    @router.post("/v1/chat/completions", response_model=ChatAnswer, responses=REFUSALS)
    async def chat(asked: ChatRequest, request: Request) -> Any:
        """Write an article on the user's last message; with `stream`, as server-sent events."""
        return await answered(desk, request, lambda: _job(desk, asked), _events, _whole)

    return router


async def _job(desk: Desk, asked: ChatRequest) -> Job:
    """Raises WrongParameters where the request contradicts itself."""
    check(asked)
    served = desk.pick(asked.user or "", asked.model)
    tokenizer = await asyncio.to_thread(desk.tokenizers.of, served)
    check_bias(desk, served, asked)
    prompt, _ = prompt_for(tokenizer, served, Opening(asked.topic))
    settings = desk.settings(served, asked.given_settings())
    name = f"chatcmpl-{secrets.token_hex(12)}"
    return Job(desk, asked.as_completion(), served, settings, [prompt], [""], name, int(time.time()), never_empty=True)


async def _whole(job: Job, texts: Sequence[Text]) -> ChatAnswer:
    await asyncio.gather(*(text.finish() for text in texts))
    choices = [
        ChatChoice(index=index, message=AnswerMessage(content=text.text), finish_reason=REASONS[text.ending])
        for index, text in enumerate(texts)
    ]
    common = job.answer([]).model_dump(exclude={"object", "choices", "usage"})
    return ChatAnswer(**common, choices=choices, usage=usage(job, texts))


async def _events(job: Job, texts: Sequence[Text]) -> AsyncIterator[str]:
    common = {**job.answer([]).model_dump(exclude={"choices", "usage"}), "object": "chat.completion.chunk"}
    try:
        async for index, (delta, reason) in merged([_deltas(text) for text in texts]):
            choice = {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}
            yield _event({**common, "choices": [choice]})
        if job.asked.stream_options and job.asked.stream_options.include_usage:
            yield _event({**common, "choices": [], "usage": usage(job, texts).model_dump()})
        yield "data: [DONE]\n\n"
    except TextmillError as error:
        yield _event(error_answers.body_of(error))


async def _deltas(text: Text) -> AsyncIterator[tuple[dict[str, str], str | None]]:
    """OpenAI's deltas of one text: the role, the text in pieces, nothing with the reason of its end."""
    yield {"role": "assistant", "content": ""}, None
    async for grown in text.grow():
        if grown.text:
            yield {"content": grown.text}, None
    yield {}, REASONS[text.ending]


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
