"""Settings of the training loop."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from textmill.settings.group import Settings


class Train(Settings):
    """The training loop."""

    steps: int = Field(
        0, ge=0, description="optimiser steps; 0: five passes over the text with a base, 600 from scratch"
    )
    batch: int | Literal["auto"] = Field(
        16, description="windows per forward pass; auto: as many as fit into memory, at most 64"
    )
    memory: float | None = Field(
        None, gt=0, description="gigabytes the training may use; empty: what is free on the device at the start"
    )
    optimiser: Literal["auto", "muon", "adamw"] = Field(
        "auto",
        description="muon: Muon for the matrices inside blocks, AdamW for the rest; auto: muon, or adamw with LoRA or if Muon would more than double the time of a step",
    )
    learning_rate: float = Field(
        1e-3, gt=0, description="AdamW's peak learning rate; 1e-4 or less to fine-tune a large base"
    )
    muon_learning_rate: float | None = Field(
        None, gt=0, description="Muon's peak learning rate; same schedule as AdamW's; empty: 10 times learning_rate"
    )
    embedding_rate: float | None = Field(
        None, gt=0, description="AdamW's peak learning rate for embeddings; empty: learning_rate"
    )
    schedule: Literal["cosine", "linear"] = Field(
        "cosine", description="shape of the decay of the learning rates after warm-up"
    )
    decay_from: float = Field(
        0.35, ge=0, lt=1, description="fraction of the steps after which linear decay begins; constant before"
    )
    final_learning_rate: float | None = Field(
        None, ge=0, description="learning rate at the last step; empty: 1e-4 for cosine, 2% of learning_rate for linear"
    )
    warmup_steps: int = Field(50, ge=0, description="steps in which the learning rate rises from zero")
    weight_decay: float = Field(
        0.1, ge=0, description="weight decay of matrices (of nothing else), multiplied by their learning rate"
    )
    beta_2: float = Field(0.99, gt=0, lt=1, description="AdamW's second-moment decay")
    clip_norm: float = Field(1.0, gt=0, description="maximum global norm of the gradients; larger ones are scaled down")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a moving average of the weights, which is evaluated and saved instead of them; 0: no average",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="fraction of activations dropped in training")
    accumulate: int = Field(
        1,
        ge=1,
        description="forward passes of `batch` windows per optimiser step; acts like a batch that many times larger",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="precision of matrix products; weights and sums stay float32; float16 uses loss scaling"
    )
    lora_rank: int = Field(
        0, ge=0, description="rank of the LoRA matrices trained beside frozen weights; 0: train all weights"
    )
    lora_alpha: float = Field(0, ge=0, description="LoRA updates are scaled by lora_alpha / lora_rank; 0: scaled by 1")
    recompute: bool = Field(
        False, description="recompute activations in the backward pass: less memory, a third more time"
    )
    devices: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        1, description="GPUs of this machine that share each batch (CPU devices if it has no GPU); all: every one"
    )
    backend: Literal["tensorflow", "jax"] = Field("tensorflow", description="the library that Keras computes with")
    seed: int = Field(1, ge=0, description="random seed of weights, dropout and the order of windows")
    eval_every: int = Field(100, ge=1, description="steps between evaluations of the held-out loss")
    patience: int = Field(
        5, ge=0, description="evaluations without a lower held-out loss before training stops early; 0: never"
    )
    sample_every: int = Field(200, ge=1, description="steps between sample texts")
    checkpoint_every_s: float = Field(
        60, gt=0, description="seconds between checkpoints; a killed training loses at most this much"
    )
    checkpoint_every: int = Field(0, ge=0, description="steps between additional checkpoints; 0: by time only")
    keep_checkpoints: int = Field(
        3,
        ge=1,
        description="finished trainings whose best weights stay in checkpoint_dir; resumable trainings always stay",
    )
    checkpoint_dir: str | None = Field(None, description="folder for checkpoints; empty: inside data_dir")

    @property
    def peak_rates(self) -> tuple[float, float, float]:
        """Peak learning rates: AdamW's, AdamW's for embeddings, Muon's."""
        return (
            self.learning_rate,
            self.learning_rate if self.embedding_rate is None else self.embedding_rate,
            10 * self.learning_rate if self.muon_learning_rate is None else self.muon_learning_rate,
        )

    @property
    def last_learning_rate(self) -> float:
        """`final_learning_rate`, or its default for the schedule if it is empty."""
        if self.final_learning_rate is not None:
            return self.final_learning_rate
        return 1e-4 if self.schedule == "cosine" else 0.02 * self.learning_rate

    @model_validator(mode="after")
    def _low_rank_is_trained_by_adamw(self) -> "Train":
        if self.lora_rank and self.optimiser == "muon":
            raise ValueError(
                "optimiser: 'muon' cannot train LoRA matrices (lora_rank); set optimiser to auto or adamw."
            )
        return self

    @field_validator("batch", mode="plain")
    @classmethod
    def _batch_is_a_number_or_auto(cls, batch: object) -> object:
        if batch == "auto" or (type(batch) is int and batch >= 1):
            return batch
        raise ValueError(f"{batch!r} is neither a whole number above 0 nor 'auto'")
