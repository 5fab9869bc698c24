"""Artifacts on a store of objects (S3, Google Cloud Storage) or a file system, published whole or not at all."""
