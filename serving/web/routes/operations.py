"""The web page, health, readiness and metrics."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from serving.feedback.outbox import Backlog, Outbox, disk_problem
from serving.interface.types import Served
from serving.web import error_answers
from serving.writing.desk import Desk, model_id

STATIC = Path(__file__).parents[2] / "static"
_SHOWN = ("max_tokens", "temperature", "top_p", "top_k", "repetition_penalty")


def add_page(app: FastAPI) -> None:
    """Serve the page at `/` and its files."""

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def routes(desk: Desk, outbox: Outbox, topics: Sequence[str] = ()) -> APIRouter:
    """The routes for health, readiness and metrics.

    Args:
        topics: examples that the page offers.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def health() -> dict[str, str]:
        """Liveness: whether the process answers. Restart a server that fails here."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readiness(request: Request) -> Response:
        """Readiness: whether the server accepts requests, with its models, defaults and limits."""
        now = desk.router.health()
        models = desk.router.models()
        if not now.ready or not models:
            return error_answers.answer(
                request.url.path, "not_ready", now.reason or "The model is still loading; try again in a moment."
            )
        if request.scope.get("textmill.key") == "":  # keys are asked for, and this request has none
            return JSONResponse({"status": "ready"})
        backlog = await asyncio.to_thread(Backlog.of, outbox.folder)
        return JSONResponse(
            {
                "status": "ready",
                "model": models[0].identity.model_dump(),
                "models": [_entry(served) for served in models],
                "defaults": _defaults(desk, models[0]),
                "limits": {"max_tokens": desk.router.max_tokens},
                "topics": list(topics),
                "problems": [*now.problems, *backlog.problems(), *disk_problem(outbox)],
                "feedback": asdict(backlog),
                "workers": now.workers,
            }
        )

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        figures = desk.router.metrics
        figures.show_backlog(**asdict(await asyncio.to_thread(Backlog.of, outbox.folder)))
        return Response(figures.render(), media_type=figures.content_type)

    return router


def _entry(served: Served) -> dict[str, Any]:
    return {"id": model_id(served), **served.identity.model_dump(), "share": served.share, "window": served.window}


def _defaults(desk: Desk, served: Served) -> dict[str, Any]:
    settings = desk.settings(served, {})
    return {name: getattr(settings, name) for name in _SHOWN}
