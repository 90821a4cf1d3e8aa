"""What readers think of an article."""

from typing import Any

from fastapi import APIRouter, Request

from serving.feedback.ratings import Ratings
from serving.interface.schemas import RatingAnswer, RatingRequest
from serving.web import error_answers
from serving.web.api_keys import key_name
from serving.web.error_answers import REFUSALS
from serving.writing.recent import Memory

_REWARDS = {"up": 1.0, "down": 0.0}


def routes(memory: Memory, ratings: Ratings) -> APIRouter:
    """The route by which articles written lately are rated."""
    router = APIRouter(tags=["feedback"])

    @router.post("/v1/articles/{article_id}/feedback", status_code=202, response_model=RatingAnswer, responses=REFUSALS)
    async def rate(article_id: str, asked: RatingRequest, request: Request) -> Any:
        """Rate an article; a second rating by the same reader replaces the first."""
        record = memory.find(article_id)
        if record is None:
            return error_answers.answer(
                request.url.path, "not_found", f"There is no article '{article_id[:40]}' here, or not any more."
            )
        reader = f"{key_name(request)}/{asked.user}"
        rating = await ratings.add(article_id, record.model, reader, _REWARDS[asked.rating], asked.comment)
        return RatingAnswer(id=rating.id, article=article_id, rating=asked.rating)

    return router
