"""The zoo: architectures by name, one frozen dataclass a file; presets are small subclasses in files of their own."""
