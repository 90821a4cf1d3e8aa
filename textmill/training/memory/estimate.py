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
_LOGIT_COPIES = 2.4  # logits, their softmax, and a part of its gradient: measured, as XLA fuses them
_BACKWARD = 1.4  # times a layer's activations while its gradients are computed, measured
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


def check(architecture: Architecture, settings: Train, devices: Devices, has_base: bool = True) -> Estimate:
    """A training's memory, shown to the user before it starts.

    Args:
        has_base: whether training starts from a base, so that LoRA may be proposed.

    Raises:
        UserError: it does not fit. The message names settings that fit.
    """
    assert isinstance(settings.batch, int)
    found = estimate(architecture, settings, settings.batch, devices)
    if not found.fits:
        raise _refusal(architecture, settings, settings.batch, devices, found, has_base)
    return found


def largest_batch(
    architecture: Architecture, settings: Train, windows: int, devices: Devices, has_base: bool = True
) -> int:
    """The most windows per pass that fit and divide evenly over the devices, at most 64 and all windows.

    Raises:
        UserError: one window per device does not fit. The message names settings that fit.
    """
    most = max(min(LARGEST_BATCH, windows), devices.count)
    for batch in range(most - most % devices.count, 0, -devices.count):
        if estimate(architecture, settings, batch, devices).fits:
            return batch
    least = estimate(architecture, settings, devices.count, devices)
    raise _refusal(architecture, settings, devices.count, devices, least, has_base)


def _refusal(
    architecture: Architecture, settings: Train, batch: int, devices: Devices, found: Estimate, has_base: bool
) -> UserError:
    fitting = list(_what_would_fit(architecture, settings, batch, devices, has_base))
    cure = f"to fit, set {', or '.join(fitting)}" if fitting else "no setting fits; choose a smaller model"
    return UserError(
        f"Training {found.name} with {batch} window{'s' * (batch > 1)} of {architecture.window} tokens per pass needs about "
        f"{gigabytes(found.state + found.activations)} ({gigabytes(found.state)} weights and optimiser, "
        f"{gigabytes(found.activations)} activations), but only {gigabytes(found.free)} are available; {cure}."
    )


def _what_would_fit(
    architecture: Architecture, settings: Train, batch: int, devices: Devices, has_base: bool
) -> Iterator[str]:
    """Changes of settings that make it fit: single ones, or if none is enough, combinations."""
    alone: list[dict[str, object]] = [{}]
    alone += [{"recompute": True}] if not settings.recompute else []
    alone += [{"lora_rank": _RANK}] if has_base and not settings.lora_rank else []
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
    """Estimate the peak memory per device of a training step with `batch` windows per pass.

    P is the number of weights, Q of trained ones (all, or LoRA's). In bytes:

    - State: 4P weights, 4Q gradients, 8Q for AdamW's two moments. Muon's matrices have one moment, 4 each.
    - Averages add 4Q to the state. So do the sums of several passes. Half precision adds 2P for the weights in that form.
    - Activations of a layer, for each token: 17 vectors of the width (10 with LoRA) and 2.5 rows of attention per head.
      They are those of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", 4.1).
      Dropout adds a row. An element has 4 bytes; on GPUs 2 in half precision.
    - With `recompute`, each layer keeps one vector, and one layer at a time has 1.4 times its activations.
    - JAX's fused attention, on GPUs in half precision without dropout, keeps no rows.
    - Logits: 2.4 times 4 bytes for each token and vocabulary entry. JAX holds one of `chunks_of` at a time, once.
    - Muon needs three times its largest group of equal matrices, when the activations are gone.

    A step peaks where the backward pass begins, with all activations, or where it ends, with all gradients. On GPUs both
    are counted at once, which is too much rather than too little. Each of several devices holds the whole state.
    """
    resident, gradients = _resident(architecture, settings, batch), _FLOAT * trained_weights(architecture, settings)
    sums = gradients if settings.accumulate > 1 else 0
    tokens = -(-batch // devices.count) * architecture.window
    size = 2 if settings.precision != "float32" and devices.halves else _FLOAT
    layer = size * tokens * _layer(architecture, settings, devices)
    vectors = size * tokens * architecture.layers * architecture.width if settings.recompute else 0
    kept = vectors + layer if settings.recompute and devices.halves else vectors or architecture.layers * layer
    kept += _FLOAT * tokens * _logits(architecture, settings, batch)
    begin = kept + (
        gradients if devices.halves else min(gradients, _FLOAT * architecture.vocabulary * architecture.width)
    )
    end = gradients + vectors + _BACKWARD * layer
    moved = gradients + 3 * _FLOAT * _muon_weights(architecture, settings, batch) * 2 // 3
    peak = int(max(begin, end, moved))
    return Estimate(name_of(architecture), resident + gradients + sums, peak - gradients, devices.free)


def _resident(architecture: Architecture, settings: Train, batch: int) -> int:
    """Bytes of weights, moments and averages: what lasts between steps, and the weights in half precision."""
    half = 0 if settings.precision == "float32" else 2
    averages = _FLOAT if settings.average else 0
    found = (_FLOAT + half) * architecture.parameters
    found += (2 * _FLOAT + averages) * trained_weights(architecture, settings)
    return found - _FLOAT * _muon_weights(architecture, settings, batch)


def _muon_weights(architecture: Architecture, settings: Train, batch: int) -> int:
    """The number of weights that Muon moves: those of the matrices in blocks, eight of twelve in wide ones."""
    by_muon = optimiser_of(architecture, settings, batch) == "muon"
    return 12 * architecture.layers * architecture.width**2 if by_muon else 0


def _layer(architecture: Architecture, settings: Train, devices: Devices) -> float:
    """Elements of one layer's activations for one token (`forward.attended` for the rows)."""
    half = settings.precision != "float32" and devices.halves
    fused = settings.backend == "jax" and half and not settings.dropout
    rows = 0 if fused else (3.5 if settings.dropout else 2.5) * architecture.heads * architecture.window
    return (10 if settings.lora_rank else 17) * architecture.width + rows


def _logits(architecture: Architecture, settings: Train, batch: int) -> float:
    """Elements for one token in total."""
    if settings.backend != "jax":
        return _LOGIT_COPIES * architecture.vocabulary
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
