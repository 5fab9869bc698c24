"""Snippets, a file a tag."""
