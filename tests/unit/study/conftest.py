from tests.unit.stages.conftest import data, trained
from tests.unit.stages.test_mixtures import experts

__all__ = ["data", "experts", "trained"]
