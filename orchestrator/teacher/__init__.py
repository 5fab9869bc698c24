"""Where the teacher's distributions come from, a file each."""

from orchestrator.teacher._aligned import AlignedTokens, Window
from orchestrator.teacher._base import (
    CachedTeacherSource,
    Teacher,
    TeacherModel,
    TeacherSamples,
    TeacherSource,
    TeacherStates,
)
from orchestrator.teacher._cache import ABOUT, DRAWN, Cache, Shard, shard_name, write_shard
from orchestrator.teacher._kept import KeptTokens

__all__ = [
    "ABOUT",
    "DRAWN",
    "AlignedTokens",
    "Cache",
    "CachedTeacherSource",
    "KeptTokens",
    "Shard",
    "Teacher",
    "TeacherModel",
    "TeacherSamples",
    "TeacherSource",
    "TeacherStates",
    "Window",
    "shard_name",
    "write_shard",
]

PLUGIN = TeacherSource
"""What a plug-in of this room is."""
