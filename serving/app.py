"""The HTTP application: all routes and the middleware before them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from serving.feedback import ratings
from serving.feedback.outbox import Outbox
from serving.interface.types import Router
from serving.routing.traffic_split import targets
from serving.web import error_answers
from serving.web.accounts import Accounts
from serving.web.api_keys import Budget, KeyRequired, Keys
from serving.web.middleware import AllowedHosts, BodyLimit, SecurityHeaders, WithoutSlash, allow_origins, hosts_of
from serving.web.routes import articles, chat, feedback, openai, operations, seldon
from serving.writing import templates
from serving.writing.desk import Desk, Tokenizers
from serving.writing.guard import Guards
from serving.writing.recent import Memory
from textmill import __version__
from textmill.settings.config import Config

KEYS_FILE = "TEXTMILL_API_KEYS_FILE"


def create_app(router: Router, config: Config) -> FastAPI:
    """The application over a router. The caller closes the router.

    Raises:
        UserError: a template or the API keys file cannot be read.
    """
    serve = config.serve
    outbox = Outbox(config.data_dir / "feedback")
    desk = Desk(
        router,
        Guards(serve.verbatim, serve.verbatim_words),
        Tokenizers(),
        templates.load(serve.templates),
        serve.log_prompts,
    )
    memory = Memory()
    taken = ratings.Ratings(outbox, router.metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        delivery = asyncio.create_task(
            ratings.keep_delivering(outbox.folder, config.store.database, _models(config), router.metrics)
        )
        yield
        delivery.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await delivery
        taken.close()

    app = FastAPI(
        title="Textmill", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    for each in (
        articles.routes(desk, memory),
        openai.routes(desk),
        chat.routes(desk),
        seldon.routes(desk, memory, taken),
        feedback.routes(memory, taken),
        operations.routes(desk, outbox, serve.topics),
    ):
        app.include_router(each)
    operations.add_page(app)
    error_answers.handle(app, router.metrics)
    _protect(app, router, config)
    return app


def _models(config: Config) -> list[str]:
    """The registered models that this server serves."""
    serve = config.serve
    return sorted({config.name, *(each.model for each in targets(serve.split, serve.stage, config.name))})


def _protect(app: FastAPI, router: Router, config: Config) -> None:
    """Middleware added last runs first: headers go on every answer; CORS preflight is answered before keys are checked."""
    app.add_middleware(BodyLimit)
    app.add_middleware(WithoutSlash)
    if file := os.environ.get(KEYS_FILE) or config.serve.keys_file:
        app.add_middleware(
            KeyRequired,
            keys=Keys(Path(file)),
            budget=Budget(config.serve.requests_per_minute),
            refused=router.metrics.refuse,
        )
    allow_origins(app, config.serve.cors)
    if hosts := hosts_of(config.serve):
        app.add_middleware(AllowedHosts, hosts=hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Accounts)
