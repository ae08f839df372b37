"""A decoder-only transformer over characters or other tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_landscape.errors import GeometryError
from lightning_landscape.models.arguments import require_positive


class TransformerBlock(nn.Module):
    """Causal self-attention and a two-layer network of four times the width, each after a LayerNorm.

    Args:
        width: Of the stream.
        heads: Of the attention.
        shortcuts: Whether attention and network add to the stream; without, they replace it.
    """

    def __init__(self, width: int, heads: int, shortcuts: bool) -> None:
        super().__init__()
        self.shortcuts = shortcuts
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.network_norm = nn.LayerNorm(width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, stream: Tensor, hidden: Tensor) -> Tensor:
        """The next stream ``[N, T, width]``; ``hidden [T, T]`` is true where a row must not see a column."""
        normed = self.attention_norm(stream)
        # With the weights asked for, attention is the plain formula: its fused kernel has no second derivative.
        found, _ = self.attention(normed, normed, normed, attn_mask=hidden, need_weights=True)
        stream = stream + found if self.shortcuts else found
        added: Tensor = self.network(self.network_norm(stream))
        return stream + added if self.shortcuts else added


class Transformer(nn.Module):
    """Predicts each next token from those before it.

    Token and position vectors are learned and added, blocks follow, then a LayerNorm and a linear map to the tokens,
    whose weights are the token vectors (tied). There is no dropout. Matrices are drawn from N(0, 0.02^2), biases are 0.

    Args:
        vocabulary: Number of tokens.
        context: Longest input.
        width: Of the stream between the blocks.
        depth: Number of blocks.
        heads: Of each attention; a divisor of the width.
        shortcuts: Whether each half of a block adds to the stream, as in every usual transformer, or replaces it.

    Raises:
        GeometryError: A size is less than 1, or the heads do not divide the width.

    Source: Vaswani et al., arXiv 1706.03762; LayerNorm before each half of a block: Xiong et al., arXiv 2002.04745.

    Example:
        >>> network = Transformer(vocabulary=65, context=16, width=8, depth=1, heads=2)
        >>> network(torch.zeros(3, 16, dtype=torch.int64)).shape
        torch.Size([3, 65, 16])
    """

    hidden: Tensor

    def __init__(
        self,
        vocabulary: int,
        context: int = 64,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        shortcuts: bool = True,
    ) -> None:
        super().__init__()
        require_positive("Transformer", vocabulary=vocabulary, context=context, width=width, depth=depth, heads=heads)
        if width % heads:
            raise GeometryError(f"Transformer got width={width} and heads={heads}: pass heads that divide the width")
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, shortcuts) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        later = torch.ones(context, context, dtype=torch.bool).triu(1)
        self.register_buffer("hidden", later, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[N, vocabulary, T]`` of the tokens that follow each of ``tokens [N, T]``.

        The classes come second, where cross-entropy and accuracy look for them.

        Raises:
            GeometryError: if T is larger than the context.
        """
        length = tokens.shape[1]
        if length > len(self.hidden):
            raise GeometryError(f"the input has {length} tokens: pass at most {len(self.hidden)}, or a larger context")
        stream = self.tokens(tokens) + self.positions.weight[:length]
        for block in self.blocks:
            stream = block(stream, self.hidden[:length, :length])
        logits: Tensor = self.norm(stream) @ self.tokens.weight.T
        return logits.transpose(1, 2)
