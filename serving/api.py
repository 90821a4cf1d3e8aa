"""The HTTP routes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from serving import faults
from serving.protection import BodyLimit, SecurityHeaders
from serving.schemas import Article, ArticleRecord, ArticleRequest, ErrorAnswer
from serving.writer import Draft, Interrupted, NotReady, Writer
from textmill import __version__
from textmill.gpt2.sampling import Settings

_STATIC = Path(__file__).parent / "static"
_SILENCE_S = 15  # proxies end connections on which nothing moves
_ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": ErrorAnswer} for code in (413, 422, 429, 500, 503)}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}


def create_app(writer: Writer) -> FastAPI:
    """The application over one writer, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(writer.close)

    app = FastAPI(title="Textmill", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(_articles(writer))
    app.include_router(_operations(writer))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    faults.handle(app, writer.metrics)
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders)
    return app


def _articles(writer: Writer) -> APIRouter:
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @router.post("/v1/articles", response_model=Article, responses=_ERRORS)
    async def write_article(order: ArticleRequest, request: Request) -> Any:
        """Write an article on a topic; with `stream`, as server-sent events while it is written."""
        draft = writer.begin(order)
        if order.stream:
            return _EventStream(draft)
        try:
            return await _unless_client_leaves(request, draft.finish())
        finally:
            draft.close()

    @router.get("/v1/articles/{article_id}", response_model=ArticleRecord, responses=_NOT_FOUND)
    async def read_article(article_id: str) -> Any:
        """An article written lately, with what its model was made from."""
        record = writer.find(article_id)
        if record is None:
            return faults.answer(404, "not_found", f"There is no article '{article_id[:40]}' here, or not any more.")
        return record

    return router


def _operations(writer: Writer) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def health() -> Response:
        """Whether the process does its work; a server that fails here wants a restart."""
        failed = writer.model is not None and writer.model.engine.failure is not None
        return JSONResponse({"status": "failed" if failed else "ok"}, 503 if failed else 200)

    @router.get("/readyz")
    async def readiness() -> Response:
        """Whether articles can be asked for now, from which model, with which defaults and limits."""
        try:
            model = writer.ready_model()
        except NotReady as reason:
            return faults.answer(503, "not_ready", str(reason))
        settings = writer.default_settings(model)
        return JSONResponse(
            {
                "status": "ready",
                "model": model.identity.model_dump(),
                "defaults": _shown(settings),
                "limits": {"max_tokens": writer.max_tokens},
            }
        )

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(writer.metrics.render(), media_type=writer.metrics.content_type)

    return router


def _shown(settings: Settings) -> dict[str, Any]:
    names = ("max_tokens", "temperature", "top_p", "top_k", "repetition_penalty")
    return {name: getattr(settings, name) for name in names}


async def _unless_client_leaves(request: Request, work: Awaitable[Article]) -> Any:
    """The work's result; the work is cancelled when the client hangs up, whom no answer reaches any more."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=499)
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _EventStream(StreamingResponse):
    """An article as server-sent events: `start`, many `text`, then `done` with the whole article, or `error`.

    A comment goes out when nothing else has for a while. `done` holds the article as it stands, cut to whole
    sentences where it reached its limit, so it may be shorter than the texts before it.
    """

    media_type = "text/event-stream"

    def __init__(self, draft: Draft) -> None:
        super().__init__(_events(draft), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._draft = draft

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # the client may have left anywhere in between
            self._draft.close()


async def _events(draft: Draft) -> AsyncIterator[str]:
    yield _event("start", draft.start.model_dump())
    try:
        async for piece in _with_comments(draft.pieces().__aiter__().__anext__):
            yield _event("text", {"text": piece}) if piece else ": still here\n\n"
        yield _event("done", (await draft.finish()).model_dump())
    except Interrupted as error:
        yield _event("error", faults.body("server_error", str(error)))


async def _with_comments(next_piece: Callable[[], Awaitable[str]]) -> AsyncIterator[str]:
    """The pieces, and an empty one whenever none has come for a while."""
    waiting = asyncio.ensure_future(next_piece())
    try:
        while True:
            done, _ = await asyncio.wait((waiting,), timeout=_SILENCE_S)
            if not done:
                yield ""
                continue
            try:
                piece = waiting.result()
            except StopAsyncIteration:
                return
            waiting = asyncio.ensure_future(next_piece())
            yield piece
    finally:
        waiting.cancel()


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
