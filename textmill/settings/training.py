"""The training loop."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from textmill.settings.group import Settings


class Train(Settings):
    """The training loop."""

    steps: int = Field(
        0, ge=0, description="optimiser steps; 0: from a base as many as read the text five times, from scratch 600"
    )
    batch: int | Literal["auto"] = Field(
        16, description="windows in one pass; auto: as many as fit into memory, 64 at most"
    )
    memory: float | None = Field(
        None, gt=0, description="gigabytes that the training may use; empty: what is free on the device when it starts"
    )
    optimiser: Literal["auto", "muon", "adamw"] = Field(
        "auto",
        description="muon: for the matrices inside blocks, AdamW for the rest; auto: muon, but adamw where it costs more",
    )
    learning_rate: float = Field(
        1e-3, gt=0, description="AdamW's at its peak, after warm-up; 1e-4 or less when fine-tuning a large base"
    )
    muon_learning_rate: float | None = Field(
        None, gt=0, description="Muon's at its peak; rises and falls as AdamW's; empty: 10 times learning_rate"
    )
    embedding_rate: float | None = Field(
        None, gt=0, description="AdamW's for embeddings, at its peak; empty: learning_rate"
    )
    schedule: Literal["cosine", "linear"] = Field("cosine", description="how the learning rates fall after warm-up")
    decay_from: float = Field(
        0.35, ge=0, lt=1, description="share of the steps after which a linear fall begins; constant before"
    )
    final_learning_rate: float | None = Field(
        None, ge=0, description="at the last step; empty: 1e-4 after a cosine, 2% of learning_rate after a linear fall"
    )
    warmup_steps: int = Field(50, ge=0, description="steps in which the learning rate rises from zero")
    weight_decay: float = Field(0.1, ge=0, description="of matrices only, as a share of their learning rate")
    beta_2: float = Field(0.99, gt=0, lt=1, description="AdamW's second-moment decay")
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this global norm")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the weights, which is judged and kept instead of them; 0: none",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations dropped while training")
    accumulate: int = Field(
        1, ge=1, description="passes of `batch` windows added up into one step; as one batch so many times as large"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of matrix products; weights and sums stay float32, float16 has its loss scaled"
    )
    lora_rank: int = Field(
        0, ge=0, description="rank of the matrices trained beside frozen weights (LoRA); 0: all weights are trained"
    )
    lora_alpha: float = Field(
        0, ge=0, description="what they add is scaled by lora_alpha / lora_rank; 0: as lora_rank, which scales by 1"
    )
    recompute: bool = Field(
        False, description="compute each layer's activations again in the backward pass: less memory, a third more time"
    )
    devices: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        1, description="GPUs (or, without any, CPU devices) of this machine that share each batch; all: every one"
    )
    backend: Literal["tensorflow", "jax"] = Field("tensorflow", description="the library that Keras computes with")
    seed: int = Field(1, ge=0, description="of weights, dropout and the order of windows")
    eval_every: int = Field(100, ge=1, description="steps between two looks at the held-out loss")
    patience: int = Field(
        5, ge=0, description="looks at the held-out loss without a better one before training stops early; 0: never"
    )
    sample_every: int = Field(200, ge=1, description="steps between two sample texts")
    checkpoint_every_s: float = Field(
        60, gt=0, description="seconds between two checkpoints; a killed training loses no more"
    )
    checkpoint_every: int = Field(0, ge=0, description="steps between two checkpoints as well; 0: by time alone")
    keep_checkpoints: int = Field(
        3,
        ge=1,
        description="finished trainings whose best weights stay in checkpoint_dir; one that can go on always stays",
    )
    checkpoint_dir: str | None = Field(
        None, description="folder for checkpoints of trainings under way; empty: inside data_dir"
    )

    @property
    def peak_rates(self) -> tuple[float, float, float]:
        """AdamW's rate, its rate for embeddings, and Muon's."""
        return (
            self.learning_rate,
            self.learning_rate if self.embedding_rate is None else self.embedding_rate,
            10 * self.learning_rate if self.muon_learning_rate is None else self.muon_learning_rate,
        )

    @property
    def last_learning_rate(self) -> float:
        """`final_learning_rate`, with what it is where it is empty."""
        if self.final_learning_rate is not None:
            return self.final_learning_rate
        return 1e-4 if self.schedule == "cosine" else 0.02 * self.learning_rate

    @model_validator(mode="after")
    def _low_rank_is_trained_by_adamw(self) -> "Train":
        if self.lora_rank and self.optimiser == "muon":
            raise ValueError(
                "optimiser: 'muon' does not train the matrices of lora_rank; set optimiser to auto or adamw."
            )
        return self

    @field_validator("batch", mode="plain")
    @classmethod
    def _batch_is_a_number_or_auto(cls, batch: object) -> object:
        if batch == "auto" or (type(batch) is int and batch >= 1):
            return batch
        raise ValueError(f"{batch!r} is neither a whole number above 0 nor 'auto'")
