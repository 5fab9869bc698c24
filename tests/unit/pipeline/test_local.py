import pytest

from orchestrator.config.recipe import ResourcesConfig
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.local import LocalRunner
from orchestrator.stages.base import Stage


@pytest.mark.parametrize(("by_parts", "expected"), [(False, "single"), (True, "expert_parallel")])
def test_a_strategy_for_parts_trains_what_has_parts(tmp_path, by_parts, expected):
    seen = []

    class Training(Stage):
        def run(self, inputs, out, env):
            seen.append(env.strategy.type)

    Training.by_parts = by_parts
    runner = LocalRunner(ResourcesConfig(cpus=1, strategy="expert_parallel"))
    runner.run(Step("training", Training()), {}, tmp_path, tmp_path)
    runner.close()
    assert seen == [expected]
