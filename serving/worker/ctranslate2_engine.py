"""CTranslate2 engine, for GPUs too old for ONNX Runtime (compute capability 6.1, such as a GTX 1060).

It has the interface of `textmill.gpt2.inference.engine.Engine`, with limits: texts are not batched, seeds are ignored,
there are no logprobs, and the repetition penalty covers generated tokens only. Weights are converted on loading.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving.worker import ctranslate2_model
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import QueueFull
from textmill.gpt2.inference.generation import Chunk, Text
from textmill.gpt2.inference.line_breaks import LineBreaks
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import Tokenizer
from textmill.ground.errors import TextmillError, UserError

_log = logging.getLogger(__name__)


class CTranslate2Engine:
    """A bundle in CTranslate2. Close it after use."""

    exact = False  # its random generators are its threads' own, and are seeded once

    def __init__(
        self,
        directory: Path,
        slots: int = 8,
        threads: int = 0,
        waiting: int = 64,
        precision: str = "auto",
        device: str = "cpu",
    ) -> None:
        """Convert and load a verified bundle.

        Args:
            slots: number of texts generated at the same time.
            threads: CPU threads in total; 0: CTranslate2 chooses.
            waiting: maximum number of requests waiting for a slot.
            precision: float32, float16 or int8; auto: int8 if the bundle was made for it, else float32.
            device: cpu or cuda.

        Raises:
            UserError: CTranslate2 is not installed, or does not support the precision or the device.
        """
        self.architecture = bundle.read_architecture(directory)
        self.tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
        self.defaults = bundle.read_json(directory, bundle.GENERATION)
        self.line_breaks = LineBreaks(self.tokenizer)
        self.failure: BaseException | None = None
        compute = ctranslate2_model.compute_type(directory, precision)
        self._generator = ctranslate2_model.load(
            directory, self.architecture, self.tokenizer.end, compute, device, slots, threads
        )
        self._slots, self._limit = slots, waiting
        self._under_way: set[_Text] = set()
        self._lock = threading.Lock()  # guards the set above and the flag below
        self._closed = False
        self._threads = ThreadPoolExecutor(slots, "textmill-ctranslate2")

    @property
    def window(self) -> int:
        """The model's window, in tokens."""
        return self.architecture.window

    @property
    def room(self) -> int:
        """Maximum length of a prompt, in tokens."""
        return self.window - 1

    @property
    def running(self) -> int:
        """The number of texts being generated."""
        return min(self._slots, len(self._under_way))

    @property
    def waiting(self) -> int:
        """The number of requests waiting for a slot."""
        return max(0, len(self._under_way) - self._slots)

    def check(self) -> None:
        """Test that the model runs.

        Raises:
            UserError: CTranslate2 cannot run it on this device.
        """
        try:
            self._generator.generate_batch([[str(self.tokenizer.end)]], max_length=1, include_prompt_in_result=False)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"CTranslate2 cannot run the model ({error}); try another device or precision.") from error

    def submit(
        self,
        prompt: Sequence[int],
        settings: Settings,
        deliver: Callable[[Chunk], None],
        logprobs: int | None = None,
    ) -> "_Text":
        """Request a text, like `Engine.submit`. The seed is ignored.

        Raises:
            QueueFull: the queue is full.
            TextmillError: the prompt is empty, logprobs are requested, or the engine has stopped.
        """
        if not prompt:
            raise TextmillError("A prompt needs at least one token.")
        if logprobs is not None:
            raise UserError("The engine ctranslate2 has no logprobs; remove the field.")
        if settings.changes_logits or settings.min_p:
            raise UserError(
                "The engine ctranslate2 has no penalties of OpenAI's, logit_bias, min_p, min_tokens and ignore_eos; "
                "remove these fields."
            )
        text = _Text(self, list(prompt[-self.room :]), settings, deliver)
        with self._lock:
            if self._closed:
                raise TextmillError("The engine has stopped and accepts no more requests.")
            if len(self._under_way) >= self._slots + self._limit:
                raise QueueFull(f"The queue is full: {self._limit} requests are waiting; try again in a moment.")
            self._under_way.add(text)
            self._threads.submit(self._write, text)
        return text

    def _write(self, text: "_Text") -> None:
        try:
            text.write(self._generator)
        except Exception as error:  # nobody else would hear of it: this thread has no caller
            _log.exception("CTranslate2 failed.")
            self.failure = error
            text.finish("failed")
        finally:
            with self._lock:
                self._under_way.discard(text)

    def close(self) -> None:
        """Cancel all texts and stop."""
        with self._lock:
            self._closed = True
            for text in self._under_way:
                text.cancel()
        self._threads.shutdown()


class _Text(Text):
    """One text in generation; CTranslate2 samples its tokens."""

    def __init__(
        self, engine: CTranslate2Engine, prompt: list[int], settings: Settings, deliver: Callable[[Chunk], None]
    ) -> None:
        super().__init__(prompt, settings, engine.tokenizer.decode, deliver)
        self._window, self._end = engine.window, engine.tokenizer.end
        self._left_out = engine.line_breaks.sequences(settings.line_breaks)

    def write(self, generator: Any) -> None:
        """Generate the text, a window at a time; each next window starts from the last half of the previous one."""
        how = self._settings
        while not self.ended:
            if self.cancelled.is_set():
                self.finish("cancelled")
                return
            generator.generate_batch(
                [[str(token) for token in self.context]],
                max_length=min(how.max_tokens - self.written, self._window - len(self.context) + 1),
                sampling_topk=1 if how.temperature == 0 else how.top_k,
                sampling_topp=how.top_p,
                sampling_temperature=how.temperature or 1.0,
                repetition_penalty=how.repetition_penalty,
                suppress_sequences=[[str(token) for token in each] for each in self._left_out] or None,
                include_prompt_in_result=False,
                return_end_token=True,
                callback=lambda step: self._drawn(int(step.token_id)),
            )
            if len(self.context) > self._window:
                self.context = self.context[-(self._window // 2) :]

    def _drawn(self, token: int) -> bool:
        """Add a token. Returns true at the end of the text."""
        return self.ended or self.cancelled.is_set() or self.take(token, self._end)
