"""What the data say about the settings of a model."""

from __future__ import annotations

from gapkit.tuning.embedding import Embedding, element_similarity, learn_embedding

__all__ = ["Embedding", "element_similarity", "learn_embedding"]
