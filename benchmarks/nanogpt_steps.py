"""Contestant: nanoGPT's model.py with its optimiser and its learning-rate schedule."""

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

import torch
from contestant import Tokens, Trainer, arguments

asked = arguments()
sys.path.insert(0, asked["nanogpt"])

from model import GPT, GPTConfig  # noqa: E402


class NanoGPT(Trainer):
    """train.py's loop: its order of calls, without its logging."""

    def begin(self, model: dict[str, Any], train: dict[str, Any]) -> None:
        device = asked.get("device", "cpu")
        self._train, self._device = train, device
        torch.manual_seed(1337)
        torch.set_float32_matmul_precision("high" if device == "cuda" else "highest")
        self._model = GPT(GPTConfig(**model)).to(device)
        betas = (0.9, train["beta_2"])
        self._optimiser = self._model.configure_optimizers(train["weight_decay"], train["learning_rate"], betas, device)
        self._called = torch.compile(self._model) if asked.get("compiled") else self._model
        bfloat16 = torch.amp.autocast("cuda", torch.bfloat16) if device == "cuda" else contextlib.nullcontext()
        self._precision = bfloat16

    def step(self, number: int, inputs: Tokens, targets: Tokens) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate(number)
        with self._precision:
            _, loss = self._called(self._tensor(inputs), self._tensor(targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._train["clip_norm"])
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return loss.item()

    def loss(self, batches: Iterator[tuple[Tokens, Tokens]]) -> float:
        self._model.eval()
        with torch.no_grad():
            losses = [self._model(self._tensor(x), self._tensor(y))[1].item() for x, y in batches]
        self._model.train()
        return sum(losses) / len(losses)

    def _tensor(self, tokens):
        return torch.from_numpy(tokens).to(self._device, torch.int64)

    def _learning_rate(self, number: int) -> float:
        """train.py's get_lr."""
        rate, final, warmup = (self._train[name] for name in ("learning_rate", "final_learning_rate", "warmup_steps"))
        if number < warmup:
            return rate * (number + 1) / (warmup + 1)
        done = min(1.0, (number - warmup) / max(1, self._train["steps"] - warmup))
        return final + 0.5 * (1 + math.cos(math.pi * done)) * (rate - final)


if __name__ == "__main__":
    NanoGPT(asked).serve()
