"""Estimate what OpenAI's smallest GPT-2 would take on this machine, from the speed of the training that has just ended."""

from collections.abc import Sequence
from statistics import median

from textmill.gpt2.architecture import Architecture, of_size
from textmill.settings.training import Train
from textmill.training import recipe
from textmill.training.log import Point
from textmill.training.memory.devices import Devices
from textmill.training.memory.estimate import estimate, gigabytes

_NAME = "124M"
LAYERS = of_size(_NAME).layers
# times the FLOP/s of the starter: 168 tokens/s of 124M against 2,000 of the starter, two cores with AVX2
_BETTER_USED = 1.7
_WORTH_MINUTES = 24 * 60  # a base that takes longer is not proposed


def sentence(architecture: Architecture, history: Sequence[Point], tokens: int, devices: Devices) -> str:
    """What `model.base: 124M` would take here; empty if it is no larger, does not fit or takes longer than a day.

    Args:
        architecture: of the model that was trained.
        history: of its training, with speeds.
        tokens: in the training split; GPT-2's tokenizer makes fewer of the same text.
        devices: of this machine.
    """
    larger = of_size(_NAME)
    speeds = [point.tokens_per_second for point in history if point.tokens_per_second]
    if not speeds or larger.parameters <= architecture.parameters:
        return ""
    train = recipe.settled(Train(), tokens // larger.window, larger.width, from_scratch=False)
    assert isinstance(train.batch, int)
    memory = estimate(larger, train, train.batch, devices)
    speed = median(speeds) * _BETTER_USED * _flops(architecture) / _flops(larger)
    minutes = train.steps * train.batch * larger.window / speed / 60
    if not memory.fits or minutes > _WORTH_MINUTES:
        return ""
    return (
        f"The next larger base, model.base: {_NAME}, would train about {_readable(minutes)} here, "
        f"with {gigabytes(memory.state + memory.activations)} of memory"
    )


def _flops(architecture: Architecture) -> int:
    """Floating-point operations of training, a token (Kaplan et al. 2020, "Scaling Laws for Neural Language Models")."""
    products = 12 * architecture.layers * architecture.width**2 + architecture.vocabulary * architecture.width
    return 6 * (products + 2 * architecture.layers * architecture.window * architecture.width)


def _readable(minutes: float) -> str:
    """A rounded time; half an hour's accuracy is enough from two hours on."""
    if minutes < 1.5:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{round(minutes / 30) / 2:g} hours"
