"""Sentences, a file a tag."""
