"""Choose the optimiser for `train.optimiser: auto`."""

from typing import Literal

from textmill.gpt2.architecture import Architecture
from textmill.settings.training import Train


def optimiser_of(architecture: Architecture, settings: Train, batch: int) -> Literal["muon", "adamw"]:
    """The set optimiser. `auto` means Muon, but AdamW with LoRA or if Muon would more than double a step's products.

    Orthogonalising the momentum of a block of width w takes about 232 w^3 products, for any number of tokens: five
    Newton-Schulz steps, 30 w^3 for each of four square matrices and 56 w^3 for each of two wide ones. The forward and
    backward pass take 6 products per weight and token.
    """
    if settings.optimiser != "auto":
        return settings.optimiser
    tokens = batch * settings.accumulate * architecture.window
    orthogonalising = 232 * architecture.layers * architecture.width**3
    worth_it = orthogonalising <= 6 * architecture.parameters * tokens
    return "muon" if worth_it and not settings.lora_rank else "adamw"
