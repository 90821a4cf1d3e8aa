"""From a request to an article: its opening, its prompt, its text in whole sentences, and the memory of it all."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from serving.interface import account
from serving.interface.schemas import ArticleRequest
from serving.interface.types import Order, Router, Served
from serving.writing.guard import Guards
from serving.writing.guarded_text import Text
from serving.writing.templates import ArticleTemplate, Opening, WrongParameters
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_REMEMBERED = 8  # tokenizers kept: a few versions, and those before a swap


class Tokenizers:
    """The tokenizers of the models that answer."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[Path, Tokenizer] = OrderedDict()

    def of(self, served: Served) -> Tokenizer | None:
        """A model's tokenizer, None for a remote model. The first time it reads a file, so call it in a thread."""
        if served.directory is None:
            return None
        if served.directory not in self._loaded:
            self._loaded[served.directory] = Tokenizer.load(served.directory / bundle.TOKENIZER)
            while len(self._loaded) > _REMEMBERED:
                self._loaded.popitem(last=False)
        return self._loaded[served.directory]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every text needs: the way to the workers, the tokenizers, the guards, the templates."""

    router: Router
    guards: Guards
    tokenizers: Tokenizers
    templates: Mapping[str, ArticleTemplate]
    log_prompts: bool = False

    def settings(self, served: Served, given: Mapping[str, object]) -> Settings:
        """How a text is written where the request does not say, and as it says."""
        settings = Settings.of(served.defaults)
        settings = replace(settings, max_tokens=min(settings.max_tokens, self.router.max_tokens))
        return replace(settings, **{"seed": secrets.randbits(31), **given})  # type: ignore[arg-type]

    def pick(self, user: str, target: str) -> Served:
        """The model that answers, as `Router.pick`.

        OpenAI's clients must name a model: the plain name of one that answers in several versions means the split.
        """
        named = [served for served in self.router.models() if served.identity.name == target]
        return self.router.pick(user, "" if len(named) > 1 else target)

    async def text(
        self, order: Order, served: Served, name: str, once: bool = False, never_empty: bool = False
    ) -> Text:
        """A text to open.

        Args:
            once: what was handed on cannot be taken back, so that only an empty text is written again.
            never_empty: one that comes out empty or too short is written again.
        """
        if self.log_prompts:
            _log.info("%s: prompt %r", name, order.prompt)
        guard = await asyncio.to_thread(self.guards.of, served)
        settings = replace(order.settings, fewest_words=0) if once else order.settings
        order = replace(order, client=account.current().client, settings=settings)
        return Text(self.router, guard.for_one_attempt() if once else guard, order, served, name, never_empty)

    def opening(self, request: ArticleRequest) -> Opening:
        """How the requested article begins.

        Raises:
            WrongParameters: there is no such template, or the parameters do not fit it.
        """
        if request.template is None:
            return Opening(request.topic or "")
        if request.template not in self.templates:
            raise WrongParameters(
                f"There is no template '{request.template[:40]}'; GET /v1/templates lists them.", "template"
            )
        return self.templates[request.template].fill(request.parameters)


def model_id(served: Served) -> str:
    """The name under which a request gets exactly this model."""
    identity = served.identity
    return identity.name if identity.version is None else f"{identity.name}@{identity.version}"
