"""A recipe against a described cluster: fit, time, nodes and money, before anything is paid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import plan
from orchestrator.api.clusters import check_cluster
from orchestrator.cli.main import app
from orchestrator.errors import ResourceError

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster.yaml"
PRICES = {"head": 0.5, "gpu-spot": 4.0}
SMALL = """
cluster_name: c
provider: {type: aws}
max_workers: 4
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, node_config: {}}
  cpu: {resources: {CPU: 8, memory: 2000000000}, node_config: {}, max_workers: 4}
"""


@pytest.fixture(autouse=True)
def new_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def test_fit_time_and_money() -> None:
    found = check_cluster("paper", CLUSTER, prices=PRICES)
    assert found.plan.cluster == "2 nodes: 2 x (48 CPUs, 4 GPUs)"
    assert (found.plan.device, found.plan.slots) == ("cuda", 4)
    assert [node.kind for node in found.nodes] == ["gpu-spot", "gpu-spot"]
    assert found.hourly == pytest.approx(2 * 4.0 + 0.5)
    assert found.dollars == pytest.approx(8.5 * found.plan.seconds / 3600)
    assert found.plan.seconds > max(step.seconds for step in found.plan.steps)
    assert "GPUs that are not in this machine" in found.plan.grounds


def test_a_run_that_needs_one_node_pays_for_one() -> None:
    found = check_cluster("smoke", CLUSTER, "resources.slots=1", "resources.workers=1", prices=PRICES)
    assert len(found.nodes) == 1
    assert found.hourly == pytest.approx(4.5)


def test_without_prices_nothing_is_said_of_money() -> None:
    found = check_cluster("smoke", CLUSTER)
    assert (found.hourly, found.dollars, len(found.outlook)) == (None, None, 1)


def test_memory_counts_where_the_description_knows_it(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(SMALL)
    with pytest.raises(ResourceError, match=r"8 workers of teacher need|workers of expert-\w+ need") as refused:
        check_cluster("smoke", file, "resources.slots=32")
    assert "2 GB" in refused.value.where
    assert "resources.slots" in refused.value.fix
    file.write_text(SMALL.replace(", memory: 2000000000", ""))
    assert check_cluster("smoke", file, "resources.slots=32").plan.slots == 32


def test_more_slots_end_no_later() -> None:
    seconds = [
        plan("smoke", f"resources.slots={slots}", "resources.threads=1", cluster=CLUSTER).seconds for slots in (1, 2, 4)
    ]
    assert seconds == sorted(seconds, reverse=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--price", "gpus=3"], 'there is no node type .gpus.* did you mean "gpu"'),
        (["--price", "gpu=0"], "0 is no price"),
        (["--price", "gpu=inf"], "inf is no price"),
        (["--price", "gpu"], "'gpu' is no price"),
        (["--price", "gpu-spot=4"], "the price of head is missing .*--price head=DOLLARS"),
        (["resources.workers=9"], "9 training workers .* 8 GPUs"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_type(words: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["cluster", "check", "smoke", str(CLUSTER), *words])
    assert isinstance(ended.exception, ResourceError)
    assert ended.exception.exit_code == 2
    assert re.search(said, " ".join(str(ended.exception).split()))


def test_the_command_says_it_all(tmp_path: Path) -> None:
    prices = ["--price", "head=0.5", "--price", "gpu-spot=4"]
    ended = CliRunner().invoke(app, ["cluster", "check", "smoke", str(CLUSTER), *prices])
    assert ended.exit_code == 0, ended.output
    assert "on 2 nodes: 2 x (48 CPUs, 4 GPUs)" in ended.output
    assert "it fits" in ended.output
    assert re.search(r"at most \$8.50 an hour, with the head; in all about \$\d", ended.output)
    assert list(tmp_path.iterdir()) == []
