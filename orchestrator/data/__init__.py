"""Text that ships, all of it written for this project and under CC0-1.0.

`miniwiki` is the sample corpus, and `tags` has the names of languages; the wheel holds both. `router` is what the
prompt router learns and is tested with: a distribution of its own (`mome-router-text`), larger than all code together.
"""
