"""Estimate a training's memory before it starts, and compare it with the device's."""

from collections.abc import Iterator
from dataclasses import dataclass

from textmill.gpt2.architecture import SIZES, Architecture
from textmill.ground.errors import UserError
from textmill.settings.training import Train
from textmill.training.memory.devices import Devices
from textmill.training.memory.optimiser_choice import optimiser_of

LARGEST_BATCH = 64  # windows that `batch: auto` takes, at most
_FLOAT = 4  # bytes
_LOGITS = 2**27  # elements of 4 bytes: half a gigabyte
_RANK = 8  # of the LoRA that is proposed where all weights do not fit


@dataclass(frozen=True, slots=True)
class Estimate:
    """A training's peak memory and the available memory on one device, in bytes."""

    name: str  # of the model
    state: int  # weights, gradients and optimiser
    activations: int
    free: int

    @property
    def fits(self) -> bool:
        return self.state + self.activations <= self.free

    @property
    def sentence(self) -> str:
        return (
            f"{self.name}: {gigabytes(self.state)} weights and optimiser, {gigabytes(self.activations)} activations "
            f"of {gigabytes(self.free)}"
        )


def gigabytes(count: float) -> str:
    """Bytes in readable form."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def check(architecture: Architecture, settings: Train, devices: Devices) -> Estimate:
    """A training's memory, shown to the user before it starts.

    Raises:
        UserError: it does not fit. The message names settings that fit.
    """
    assert isinstance(settings.batch, int)
    found = estimate(architecture, settings, settings.batch, devices)
    if not found.fits:
        raise _refusal(architecture, settings, settings.batch, devices, found)
    return found


def largest_batch(architecture: Architecture, settings: Train, windows: int, devices: Devices) -> int:
    """The most windows per pass that fit and divide evenly over the devices, at most 64 and all windows.

    Raises:
        UserError: one window per device does not fit. The message names settings that fit.
    """
    most = max(min(LARGEST_BATCH, windows), devices.count)
    for batch in range(most - most % devices.count, 0, -devices.count):
        if estimate(architecture, settings, batch, devices).fits:
            return batch
    least = estimate(architecture, settings, devices.count, devices)
    raise _refusal(architecture, settings, devices.count, devices, least)


def _refusal(architecture: Architecture, settings: Train, batch: int, devices: Devices, found: Estimate) -> UserError:
    fitting = list(_what_would_fit(architecture, settings, batch, devices))
    cure = f"to fit, set {', or '.join(fitting)}" if fitting else "no setting fits; choose a smaller model"
    return UserError(
        f"Training {found.name} with {batch} window{'s' * (batch > 1)} of {architecture.window} tokens per pass needs about "
        f"{gigabytes(found.state + found.activations)} ({gigabytes(found.state)} weights and optimiser, "
        f"{gigabytes(found.activations)} activations), but only {gigabytes(found.free)} are available; {cure}."
    )


def _what_would_fit(architecture: Architecture, settings: Train, batch: int, devices: Devices) -> Iterator[str]:
    """Changes of settings that make it fit: single ones, or if none is enough, combinations."""
    alone: list[dict[str, object]] = [{}]
    alone += [{"recompute": True}] if not settings.recompute else []
    alone += [{"lora_rank": _RANK}] if not settings.lora_rank else []
    together = [{key: value for each in alone for key, value in each.items()}]
    for changes in (alone, together):
        found = [_fitting(architecture, settings, batch, devices, change) for change in changes]
        if any(found):
            yield from filter(None, found)
            return


def _fitting(
    architecture: Architecture, settings: Train, batch: int, devices: Devices, change: dict[str, object]
) -> str:
    """These changes with their batch, as written in the configuration; empty if no batch fits."""
    changed = settings.model_copy(update=change)
    for passes in (each for each in range(1, batch + 1) if batch % (each * devices.count) == 0 or batch == each == 1):
        further = changed.model_copy(update={"accumulate": settings.accumulate * passes})
        if estimate(architecture, further, batch // passes, devices).fits:
            update = {**change}
            if passes > 1:
                update |= {"batch": batch // passes, "accumulate": further.accumulate}
            return " and ".join(f"train.{name}: {str(value).lower()}" for name, value in update.items())
    return ""


def estimate(architecture: Architecture, settings: Train, batch: int, devices: Devices) -> Estimate:
    """Estimate the peak memory per device of a training with `batch` windows per pass.

    For P weights, of which Q are trained (all, or LoRA's), in bytes:

    - state: 4P weights; 4Q gradients, 8Q for AdamW's two moments, 4Q for the sums of several passes, 4Q for averages; 2P
      where products are in half precision, for the weights in that form. Muon's matrices have one moment, 4 each.
    - activations: what the backward pass needs of each token and layer is 17 vectors of the width and 2.5 rows of
      attention for each head (Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
      section 4.1: 34 + 5as/h bytes at 2 bytes an element), each of 4 bytes, or 2 in half precision
      (on CPUs 4 as well); with `recompute` one vector for each layer, and everything for one layer. JAX's fused
      attention, on GPUs in half precision without dropout, keeps no rows.
    - logits, their softmax and its gradient, in float32, come on top: 3 times the vocabulary for each token. With JAX
      all three have one place in turn, and only the tokens of one of `chunks_of` have it.
    - Muon has its place once activations are gone: all of its matrices of one shape, thrice.

    Each of several devices holds the whole state; they share the activations. Dropout stores nothing: masks are recomputed.
    """
    size = 2 if settings.precision != "float32" and devices.halves else _FLOAT
    half = 0 if settings.precision == "float32" else 2
    trained = trained_weights(architecture, settings)
    sums = _FLOAT if settings.accumulate > 1 else 0
    averages = _FLOAT if settings.average else 0
    state = (_FLOAT + half) * architecture.parameters + (3 * _FLOAT + sums + averages) * trained
    width, layers = architecture.width, architecture.layers
    by_muon = optimiser_of(architecture, settings, batch) == "muon"
    blocks = 12 * layers * width**2 if by_muon else 0  # what Muon moves: eight of twelve are wide
    state -= _FLOAT * blocks
    layer = 17 * width + 2.5 * _attention_rows(architecture, settings, devices)
    kept = layers * width + layer if settings.recompute else layers * layer
    tokens = -(-batch // devices.count) * architecture.window
    activations = tokens * (size * kept + _FLOAT * _logits(architecture, settings, batch))
    orthogonalised = 3 * _FLOAT * blocks * 2 // 3
    return Estimate(name_of(architecture), state, max(int(activations), orthogonalised), devices.free)


def _attention_rows(architecture: Architecture, settings: Train, devices: Devices) -> int:
    """Elements of all heads' attention rows for one token, if they are stored (`forward.attended`)."""
    half = settings.precision != "float32" and devices.halves
    fused = settings.backend == "jax" and half and not settings.dropout
    return 0 if fused else architecture.heads * architecture.window


def _logits(architecture: Architecture, settings: Train, batch: int) -> float:
    """Elements for one token in total."""
    if settings.backend != "jax":
        return 3 * architecture.vocabulary
    return architecture.vocabulary / chunks_of(batch * architecture.window, architecture.vocabulary)


def chunks_of(rows: int, vocabulary: int) -> int:
    """The number of equal row chunks with logits of at most 0.5 GB each, processed in turn by JAX's step."""
    return next(count for count in range(1, rows + 1) if rows % count == 0 and rows // count * vocabulary <= _LOGITS)


def trained_weights(architecture: Architecture, settings: Train) -> int:
    """The number of trained weights. LoRA adds its own to each layer's query and value matrices."""
    rank = settings.lora_rank
    if not rank:
        return architecture.parameters
    width, heads = architecture.width, architecture.heads
    return architecture.layers * 2 * rank * (width * heads + width // heads)


def name_of(architecture: Architecture) -> str:
    """OpenAI's name of the size, or the number of weights in millions."""
    shape = (architecture.layers, architecture.heads, architecture.width)
    named = next((name for name, each in SIZES.items() if each == shape), None)
    return named or f"{architecture.parameters / 1e6:.1f}M"
