"""GPT-2's sizes as plain numbers, without a framework."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a GPT-2 (Radford et al. 2019, table 2). They determine every tensor's shape."""

    vocabulary: int  # tokens
    window: int  # positions, in tokens
    layers: int
    heads: int
    width: int  # of the residual stream; the feed-forward is four times as wide

    @property
    def parameters(self) -> int:
        """The number of weights. The output matrix is the token embedding and counts once."""
        per_layer = 12 * self.width**2 + 13 * self.width
        return (self.vocabulary + self.window) * self.width + self.layers * per_layer + 2 * self.width


GPT2_VOCABULARY = 50257

SIZES: dict[str, tuple[int, int, int]] = {  # layers, heads, width
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}
OLD_NAMES = {"117M": "124M", "345M": "355M"}


def of_size(name: str, vocabulary: int = GPT2_VOCABULARY, window: int = 1024) -> Architecture:
    """The architecture of one of OpenAI's published sizes, by its current or old name."""
    layers, heads, width = SIZES[OLD_NAMES.get(name, name)]
    return Architecture(vocabulary, window, layers, heads, width)
