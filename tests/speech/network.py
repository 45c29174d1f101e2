"""Whisper's network as functions of its weights, which are named as CTranslate2 names them; for training only.

Linear weights are (out, in), convolutions (out, in, 3); attention fuses query, key and value as CTranslate2 does. Mels
come as (batch, 80, frames), tokens as (batch, length).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody names it

Tensor: TypeAlias = Any
Weights: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the network is; Whisper's own limits of 1500 positions (30 s) and 448 tokens always hold."""

    width: int = 128
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 3
    mels: int = 80
    positions: int = 1500
    tokens: int = 448


def new_weights(shape: Shape, vocabulary: int) -> dict[str, Tensor]:
    """Weights to begin with. A layer's last projections begin small, so that one can be added to a trained network."""
    width = shape.width
    weights: dict[str, Tensor] = {}

    def linear(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        weights[f"{name}/weight"] = torch.randn(rows, columns) * scale / math.sqrt(columns)
        weights[f"{name}/bias"] = torch.zeros(rows)

    def norm(name: str) -> None:
        weights[f"{name}/gamma"], weights[f"{name}/beta"] = torch.ones(width), torch.zeros(width)

    def attention(name: str, *, to_encoder: bool) -> None:
        norm(f"{name}/layer_norm")
        rows = (width, 2 * width) if to_encoder else (3 * width,)
        for index, count in enumerate(rows):
            linear(f"{name}/linear_{index}", count, width)
        linear(f"{name}/linear_{len(rows)}", width, width, 0.2)

    def feed_forward(name: str) -> None:
        norm(f"{name}/layer_norm")
        linear(f"{name}/linear_0", 4 * width, width)
        linear(f"{name}/linear_1", width, 4 * width, 0.2)

    for name, columns in (("conv1", shape.mels), ("conv2", width)):
        weights[f"encoder/{name}/weight"] = torch.randn(width, columns, 3) / math.sqrt(3 * columns)
        weights[f"encoder/{name}/bias"] = torch.zeros(width)
    for layer in range(shape.encoder_layers):
        attention(f"encoder/layer_{layer}/self_attention", to_encoder=False)
        feed_forward(f"encoder/layer_{layer}/ffn")
    for layer in range(shape.decoder_layers):
        attention(f"decoder/layer_{layer}/self_attention", to_encoder=False)
        attention(f"decoder/layer_{layer}/attention", to_encoder=True)
        feed_forward(f"decoder/layer_{layer}/ffn")
    norm("encoder/layer_norm")
    norm("decoder/layer_norm")
    weights["decoder/position_encodings/encodings"] = torch.randn(shape.tokens, width) * 0.02
    weights["decoder/embeddings/weight"] = torch.randn(vocabulary, width) * 0.05
    return weights


def sinusoids(positions: int, width: int) -> Tensor:
    """Where in the sound: Whisper's fixed positions of the encoder."""
    scales = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(positions)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def encode(
    weights: Weights, shape: Shape, mels: Tensor, *, first: int = 0, middle: int = 1, block: int = 1500
) -> tuple[Tensor, Tensor]:
    """Sound as (batch, frames / 2, width), and what it is after ``middle`` + 1 layers.

    With a smaller ``block`` than all positions each of them sees only its own block: much quicker, and near to the
    truth for speech. The sound begins at the position ``first`` of 1500.
    """
    found = F.gelu(F.conv1d(mels, weights["encoder/conv1/weight"], weights["encoder/conv1/bias"], padding=1))
    found = F.gelu(F.conv1d(found, weights["encoder/conv2/weight"], weights["encoder/conv2/bias"], 2, 1))
    found = found.transpose(1, 2)
    found = found + sinusoids(shape.positions, shape.width)[first : first + found.shape[1]].to(found.dtype)
    half_way = found
    for layer in range(shape.encoder_layers):
        found = found + _self_attention(weights, f"encoder/layer_{layer}/self_attention", shape, found, block=block)
        found = found + _feed_forward(weights, f"encoder/layer_{layer}/ffn", found)
        half_way = found if layer == middle else half_way
    return _norm(weights, "encoder/layer_norm", found), half_way


def decode(weights: Weights, shape: Shape, table: Tensor, tokens: Tensor, sound: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What comes after each token, as (batch, length, width), and each layer's attention to the sound
    (batch, heads, length, positions); ``table`` are the embeddings."""
    found = table[tokens] + weights["decoder/position_encodings/encodings"][: tokens.shape[1]]
    looked: list[Tensor] = []
    for layer in range(shape.decoder_layers):
        name = f"decoder/layer_{layer}"
        found = found + _self_attention(weights, f"{name}/self_attention", shape, found)
        heard, where = _attention_to(weights, f"{name}/attention", shape, found, sound)
        found = found + heard
        found = found + _feed_forward(weights, f"{name}/ffn", found)
        looked.append(where)
    return _norm(weights, "decoder/layer_norm", found), looked


def _linear(weights: Weights, name: str, value: Tensor) -> Tensor:
    return F.linear(value, weights[f"{name}/weight"], weights[f"{name}/bias"])


def _norm(weights: Weights, name: str, value: Tensor) -> Tensor:
    return F.layer_norm(value, value.shape[-1:], weights[f"{name}/gamma"], weights[f"{name}/beta"])


def _split(value: Tensor, heads: int) -> Tensor:
    return value.unflatten(2, (heads, -1)).transpose(1, 2)


def _scaled(query: Tensor, shape: Shape) -> Tensor:
    """A query has one number where its scores have twelve."""
    return query * (shape.width / shape.heads) ** -0.5


def _self_attention(weights: Weights, name: str, shape: Shape, value: Tensor, *, block: int = 0) -> Tensor:
    """Among all positions of each block, or for ``block`` 0 to what came before."""
    rows = value.shape[0]
    if block and block < value.shape[1]:
        value = value.unflatten(1, (-1, block)).flatten(0, 1)
    fused = _linear(weights, f"{name}/linear_0", _norm(weights, f"{name}/layer_norm", value))
    query, key, content = (_split(part, shape.heads) for part in fused.chunk(3, dim=-1))
    scores = _scaled(query, shape) @ key.transpose(2, 3)  # quicker in bfloat16 than fused ones
    if not block:
        scores = scores + torch.full(scores.shape[2:], -1e4, dtype=scores.dtype).triu(1)
    found = scores.softmax(dim=-1) @ content
    found = _linear(weights, f"{name}/linear_1", found.transpose(1, 2).flatten(2))
    return found.unflatten(0, (rows, -1)).flatten(1, 2)


def _attention_to(weights: Weights, name: str, shape: Shape, value: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
    query = _split(_linear(weights, f"{name}/linear_0", _norm(weights, f"{name}/layer_norm", value)), shape.heads)
    key, content = (_split(one, shape.heads) for one in _linear(weights, f"{name}/linear_1", sound).chunk(2, dim=-1))
    scores = _scaled(query, shape) @ key.transpose(2, 3)
    where = scores.softmax(dim=-1)
    found = where @ content
    return _linear(weights, f"{name}/linear_2", found.transpose(1, 2).flatten(2)), where


def _feed_forward(weights: Weights, name: str, value: Tensor) -> Tensor:
    inner = F.gelu(_linear(weights, f"{name}/linear_0", _norm(weights, f"{name}/layer_norm", value)))
    return _linear(weights, f"{name}/linear_1", inner)
