"""The experiment as frozen, typed, documented models, and the way from YAML and overrides to them."""
