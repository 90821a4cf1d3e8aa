"""Choose the unset settings of a training for its base and corpus.

Settings in the configuration have priority. A pretrained base gets lower learning rates, less weight decay, and a few
epochs, so that a small corpus is not memorised. From scratch, a small model gets higher learning rates.
"""

from typing import Any

from textmill.settings.training import Train

_PASSES = 5  # over the text, from a base; patience ends a training that stops improving
_FEWEST, _FEWEST_WIDE, _MOST = 100, 30, 2000  # steps
_FROM_SCRATCH = 600  # steps
_WIDE = 512  # from this width on, a base takes a tenth of the rates
_COMMON = {"schedule": "linear", "beta_2": 0.98}
_SCRATCH = {"learning_rate": 0.002, "embedding_rate": 0.004, "average": 0.97}
_SMALL_BASE = {"batch": 6, "learning_rate": 0.001, "weight_decay": 0.02, "average": 0.97, "warmup_steps": 10}
_WIDE_BASE = {"batch": 2, "learning_rate": 0.0001, "weight_decay": 0.02, "average": 0.97, "warmup_steps": 20}


def settled(train: Train, windows: int, width: int, from_scratch: bool) -> Train:
    """The settings, with unset ones filled in.

    Args:
        windows: number of windows in the training split.
        width: the model's width.
    """
    base = _SMALL_BASE if width < _WIDE else _WIDE_BASE
    open_: dict[str, Any] = _COMMON | (_SCRATCH if from_scratch else base)
    if train.lora_rank:
        open_.pop("learning_rate", None)  # its few matrices start at zero and bear the default's
    if "learning_rate" in train.model_fields_set:
        open_.pop("embedding_rate", None)  # which then follows it
    chosen: dict[str, Any] = {name: value for name, value in open_.items() if name not in train.model_fields_set}
    if train.steps == 0:
        chosen["steps"] = _FROM_SCRATCH if from_scratch else _steps(train.model_copy(update=chosen), windows, width)
    if "eval_every" not in train.model_fields_set:
        steps = chosen.get("steps", train.steps)
        chosen["eval_every"] = max(10, min(train.eval_every, steps // 10))
    return train.model_copy(update=chosen)


def _steps(train: Train, windows: int, width: int) -> int:
    batch = train.batch if isinstance(train.batch, int) else 16
    fewest = _FEWEST if width < _WIDE else _FEWEST_WIDE
    return max(fewest, min(_MOST, round(_PASSES * windows / (batch * train.accumulate))))
