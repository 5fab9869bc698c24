"""Evaluation: perplexity of models on blocks, routing metrics, and the intervals that go with the numbers."""
