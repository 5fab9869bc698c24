"""Speed against a baseline in the same run: `mome bench NAME`, one file a bench.

A bench is one frozen dataclass whose `rows()` measures; its fields are its sizes.
"""
