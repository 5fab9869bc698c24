"""The stages as a graph: what depends on what, what is cached, what it will cost, and how it is run."""
