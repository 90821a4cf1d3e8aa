"""OpenAI's completions API, for existing clients."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request

from serving.interface.errors import TooLong
from serving.interface.schemas import LARGEST_SEED
from serving.interface.types import Order, Served
from serving.web import error_answers
from serving.web.error_answers import REFUSALS
from serving.web.routes.beginning import begin_all
from serving.web.routes.event_stream import EventStream, close_all, merged, unless_client_leaves
from serving.web.routes.openai_schemas import (
    MOST_PROMPTS,
    Choice,
    CompletionAnswer,
    CompletionRequest,
    CompletionSettings,
    ModelEntry,
    ModelList,
    Provenance,
    SamplingRequest,
    Usage,
)
from serving.writing.desk import Desk, model_id
from serving.writing.guarded_text import Text
from serving.writing.templates import WrongParameters
from textmill.gpt2.inference.sampling import Settings
from textmill.ground.errors import TextmillError

REASONS = {"end": "stop", "stop": "stop", "length": "length", "refused": "content_filter"}


@dataclass(frozen=True, slots=True)
class Job:
    """One request: texts from one model."""

    desk: Desk
    asked: CompletionRequest
    served: Served
    settings: Settings
    prompts: list[str | list[int]]  # as they are read
    shown: list[str]  # what `echo` puts before each text
    id: str
    created: int
    never_empty: bool = False  # a text that comes out empty or too short is written again

    @property
    def texts(self) -> int:
        return len(self.prompts) * (self.asked.n or 1)

    async def text(self, index: int) -> Text:
        """The text of a choice; choices of one prompt differ in their seed."""
        prompt, number = self.prompts[index // (self.asked.n or 1)], index % (self.asked.n or 1)
        settings = replace(self.settings, seed=(self.settings.seed + number) % (LARGEST_SEED + 1))
        order = Order(prompt, settings, self.asked.user or "", logprobs=self.asked.logprobs)
        # this protocol cannot take back what it has streamed: there the guard refuses and does not write again
        return await self.desk.text(order, self.served, self.id, bool(self.asked.stream), self.never_empty)

    def echo(self, index: int) -> str:
        return self.shown[index // (self.asked.n or 1)] if self.asked.echo else ""

    def answer(self, choices: list[Choice], usage: Usage | None = None) -> CompletionAnswer:
        identity = self.served.identity
        return CompletionAnswer(
            id=self.id,
            created=self.created,
            model=model_id(self.served),
            system_fingerprint=f"fp_{identity.checksum[:12]}",
            choices=choices,
            usage=usage,
            textmill=Provenance(
                model=identity,
                seed=self.settings.seed,
                settings=CompletionSettings.model_validate(self.settings, from_attributes=True),
            ),
        )


def routes(desk: Desk) -> APIRouter:
    """The routes of OpenAI's API."""
    router = APIRouter(tags=["openai"])

    @router.post("/v1/completions", response_model=CompletionAnswer, responses=REFUSALS)
    async def complete(asked: CompletionRequest, request: Request) -> Any:
        """Complete a prompt, like OpenAI's completions; with `stream`, as server-sent events."""
        return await answered(desk, request, lambda: _job(desk, asked), _events, _whole)

    @router.get("/v1/models", responses=REFUSALS)
    async def list_models() -> ModelList:
        """The served models, largest traffic share first."""
        return ModelList(data=[_entry(served) for served in desk.router.models()])

    @router.get("/v1/models/{model:path}", response_model=ModelEntry, responses=REFUSALS)
    async def read_model(model: str) -> Any:
        """One served model, by name, version or stage."""
        return _entry(desk.pick("", model))

    return router


def _entry(served: Served) -> ModelEntry:
    details = {**served.identity.model_dump(), "share": served.share, "defaults": served.defaults}
    return ModelEntry(
        id=model_id(served), created=0, root=served.identity.name, max_model_len=served.window, textmill=details
    )


async def answered(
    desk: Desk,
    request: Request,
    make: Callable[[], Awaitable[Job]],
    events: Callable[[Job, Sequence[Text]], AsyncIterator[str]],
    whole: Callable[[Job, Sequence[Text]], Awaitable[Any]],
) -> Any:
    """The answer to a request, as server-sent events or whole; its texts are closed in the end."""
    texts: list[Text] = []
    streaming = False
    try:
        job = await _begun(desk, make, texts)
        if job.asked.stream:
            streaming = True
            return EventStream(events(job, texts), texts)
        return await unless_client_leaves(request, whole(job, texts))
    finally:
        if not streaming:
            await close_all(texts)


async def _begun(desk: Desk, make: Callable[[], Awaitable[Job]], texts: list[Text]) -> Job:
    """Begin the request's texts and add each to `texts`."""
    jobs: list[Job] = []

    async def prepare() -> list[Text]:
        jobs[:] = [await make()]
        return [await jobs[0].text(index) for index in range(jobs[0].texts)]

    await begin_all(desk, prepare, lambda text: text, texts)
    return jobs[0]


async def _job(desk: Desk, asked: CompletionRequest) -> Job:
    """Raises WrongParameters where the request contradicts itself, TooLong where a prompt fills the window."""
    if asked.best_of not in (None, asked.n or 1):
        raise WrongParameters(
            "best_of must equal n, because every generated text is returned; set best_of to n.", "best_of"
        )
    check(asked)
    if len(asked.prompts()) * (asked.n or 1) > MOST_PROMPTS:
        raise WrongParameters(f"A request may have {MOST_PROMPTS} texts; send fewer prompts or a smaller n.", "prompt")
    if asked.echo and asked.logprobs is not None:
        raise WrongParameters("logprobs cover generated tokens only; remove echo or logprobs.", "logprobs")
    served = desk.pick(asked.user or "", asked.model)
    await asyncio.to_thread(check_bias, desk, served, asked)
    prompts, shown = await asyncio.to_thread(_read, desk, served, asked)
    settings = desk.settings(served, asked.given_settings())
    now = int(time.time())
    return Job(desk, asked, served, settings, prompts, shown, f"cmpl-{secrets.token_hex(12)}", now)


def check(asked: SamplingRequest) -> None:
    """Raises WrongParameters where a request contradicts itself."""
    if asked.stream_options and not asked.stream:
        raise WrongParameters("stream_options need a stream; set stream to true.", "stream_options")
    most = asked.given_settings().get("max_tokens")
    if asked.min_tokens and most and asked.min_tokens > most:
        raise WrongParameters("min_tokens must not be more than max_tokens.", "min_tokens")


def check_bias(desk: Desk, served: Served, asked: SamplingRequest) -> None:
    """Raises WrongParameters where `logit_bias` names a token that the model does not have."""
    tokenizer = desk.tokenizers.of(served)
    largest = max(map(int, asked.logit_bias or ()), default=0)
    if tokenizer and largest >= tokenizer.vocabulary:
        raise WrongParameters(
            f"logit_bias has token {largest}; this model's largest is {tokenizer.vocabulary - 1}.", "logit_bias"
        )


def _read(desk: Desk, served: Served, asked: CompletionRequest) -> tuple[list[str | list[int]], list[str]]:
    """Each prompt as the model reads it, and as text."""
    tokenizer = desk.tokenizers.of(served)
    prompts = asked.prompts()
    if tokenizer is None:
        return prompts, [each if isinstance(each, str) else "" for each in prompts]
    # OpenAI: without a prompt, a text begins as a document does
    tokens = [tokenizer.encode(each) or [tokenizer.end] if isinstance(each, str) else each for each in prompts]
    for each in tokens:
        if max(each) >= tokenizer.vocabulary:
            raise WrongParameters(
                f"The prompt has token {max(each)}; this model's largest is {tokenizer.vocabulary - 1}.", "prompt"
            )
        if served.window and len(each) >= served.window:
            raise TooLong(
                f"The prompt has {len(each)} tokens; this model reads at most {served.window - 1}. Shorten the prompt.",
                "prompt",
            )
    return list(tokens), [each if isinstance(each, str) else tokenizer.decode(each) for each in prompts]


async def _whole(job: Job, texts: Sequence[Text]) -> CompletionAnswer:
    choices = await asyncio.gather(*(_choice(job, index, text) for index, text in enumerate(texts)))
    return job.answer(list(choices), usage(job, texts))


async def _choice(job: Job, index: int, text: Text) -> Choice:
    logprobs: dict[str, list[Any]] = {}
    async for grown in text.grow():
        if grown.again:
            logprobs = {}
        for name, values in (grown.logprobs or {}).items():
            logprobs.setdefault(name, []).extend(values or [])
    return Choice(
        index=index,
        text=job.echo(index) + text.text,
        finish_reason=REASONS[text.ending],
        logprobs=logprobs or None,
    )


def usage(job: Job, texts: Sequence[Text]) -> Usage:
    """OpenAI counts each prompt once, for any number of texts."""
    read = sum(text.prompt_tokens for text in texts[:: job.asked.n or 1])
    written = sum(text.tokens for text in texts)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


async def _events(job: Job, texts: Sequence[Text]) -> AsyncIterator[str]:
    # what all events have in common is made once; models and validation for each token would cost more than the rest
    common = json.dumps(job.answer([]).model_dump(exclude={"usage", "choices"}), ensure_ascii=False)
    try:
        async for _, choice in merged([_pieces(job, index, text) for index, text in enumerate(texts)]):
            yield f'data: {common[:-1]}, "choices": [{json.dumps(choice, ensure_ascii=False)}]}}\n\n'
        if job.asked.stream_options and job.asked.stream_options.include_usage:
            yield _event(job.answer([], usage(job, texts)).model_dump())
        yield "data: [DONE]\n\n"
    except TextmillError as error:
        yield _event(error_answers.body_of(error))


async def _pieces(job: Job, index: int, text: Text) -> AsyncIterator[dict[str, Any]]:
    """The fields of a `Choice` for each piece of a text."""
    unfinished = {"index": index, "finish_reason": None}
    if job.echo(index):
        yield {**unfinished, "text": job.echo(index), "logprobs": None}
    async for grown in text.grow():
        yield {**unfinished, "text": grown.text, "logprobs": grown.logprobs}
    yield {"index": index, "text": "", "finish_reason": REASONS[text.ending], "logprobs": None}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
