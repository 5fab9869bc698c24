"""Where the teacher's distributions come from, a file each."""

from orchestrator.teacher._base import Teacher, TeacherStates

__all__ = ["Teacher", "TeacherStates"]
