"""What is refused before Ray starts, and the config file."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import ArtifactError, MomeError, ResourceError, ServingError
from serve.files import MixtureFiles

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
REPOSITORY = Path(__file__).resolve().parents[2]


def test_what_can_not_be_served_is_refused_before_ray_starts(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve import app

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ArtifactError, match="no finished run"):
        app.deploy(tmp_path)
    with pytest.raises(ServingError, match="max_replicas"):
        app.deploy(run_folder, max_replicas=0)
    with pytest.raises(ServingError, match="no setting 'slotz'") as refused:
        app.deploy(run_folder, slotz=3)
    assert 'did you mean "slots"?' in refused.value.fix
    with pytest.raises(ServingError, match="less than min_replicas"):
        app.deploy(run_folder, min_replicas=3, max_replicas=2)
    with pytest.raises(ServingError, match="precision"):
        app.deploy(run_folder, precision="int3")
    with pytest.raises(ServingError, match="int8 is computed on CPUs"):
        app.deploy(run_folder, precision="int8", expert_gpus=1)
    with pytest.raises(ServingError, match="can be reached from other machines"):
        app.deploy(run_folder, host="0.0.0.0")
    with pytest.raises(ServingError, match="keys can't be read"):
        app.deploy(run_folder, keys=tmp_path / "none.json")
    for place in (tmp_path, tmp_path / "none" / "requests"):
        with pytest.raises(ServingError, match="can't be logged there"):
            app.deploy(run_folder, access_log=place)
    with pytest.raises(ResourceError, match="no Ray cluster"):
        app.deploy(run_folder, blocking=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServingError, match="can't listen"):
            app.deploy(run_folder, port=taken.getsockname()[1])


def test_of_two_endpoints_that_start_together_one_has_the_port() -> None:
    from serve import app

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with app._taken("127.0.0.1", port), pytest.raises(ServingError, match="in use"), app._taken("127.0.0.1", port):
        pass
    with app._taken("127.0.0.1", port):
        pass


def test_the_config_file_fits_serves_schema_and_names_every_argument_at_its_default(tmp_path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    from serve.app import ServeArguments, settings_of

    file = REPOSITORY / "serve" / "config.yaml"
    config = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text()))
    assert config.http_options.host == "127.0.0.1"
    assert set(config.applications[0].args) == set(ServeArguments.model_fields)
    assert ServeArguments(**config.applications[0].args) == ServeArguments(run=Path("runs/quickstart"))
    assert settings_of(file).keys() == {"host", "port", *ServeArguments.model_fields} - {"run"}
    (tmp_path / "other.yaml").write_text("applications: [{import_path: other, name: a}]")
    for other in ("none.yaml", "other.yaml"):
        with pytest.raises(ServingError, match="can't be read"):
            settings_of(tmp_path / other)


def test_an_expert_is_told_by_its_contents_and_its_settings(run_folder: Path, tmp_path: Path) -> None:
    from serve.app import ServeArguments
    from serve.deployments.applications import Applications

    def names(folder: Path, **settings: object) -> list[str]:
        applications = Applications("mome", ServeArguments(run=run_folder, **settings))
        return [applications.expert("en", folder).application, applications.expert("fr", folder).application]

    copy = tmp_path / "copy"
    shutil.copytree(MixtureFiles.of(run_folder).experts["en"], copy)
    first = names(copy)
    assert len(set(first)) == 2
    assert names(copy, deadline_s=5) == first
    assert names(copy, slots=3) != first
    (copy / "more.txt").write_text("more")
    assert names(copy) != first


@pytest.mark.parametrize(
    ("settings", "experts", "resources", "most"),
    [
        ({}, 4, {"CPU": 2.0}, 1),  # a laptop: two replicas of each expert would wait for one another
        ({}, 4, {"CPU": 17.0}, 4),
        ({"expert_threads": 4}, 4, {"CPU": 17.0}, 1),
        ({"min_replicas": 2}, 4, {"CPU": 2.0}, 2),
        ({"expert_gpus": 0.5}, 4, {"CPU": 2.0, "GPU": 4.0}, 2),
        ({"max_replicas": 3}, 4, {"CPU": 2.0}, 3),
        ({}, 4, {}, 1),
    ],
)
def test_no_more_replicas_by_default_than_the_cluster_computes(
    settings: dict[str, float], experts: int, resources: dict[str, float], most: int
) -> None:
    from serve.app import ServeArguments

    assert ServeArguments(run=Path("run"), **settings).most_replicas(experts, resources) == most  # type: ignore[arg-type]


@pytest.mark.parametrize("one_process", [False, True])
def test_experts_share_a_process_where_they_are_told_to(run_folder: Path, one_process: bool) -> None:
    from serve.app import ServeArguments
    from serve.deployments.applications import Applications

    given = ServeArguments(run=run_folder, one_process=one_process, soft=True)
    applications = Applications("mome", given)
    table = applications.table(MixtureFiles.of(run_folder))
    assert table.mixed is not None
    everything = {each.application for each in table.experts.values()}
    assert len(everything) == (1 if one_process else 2)
    assert (table.mixed.application in everything) == one_process
    assert {each.within for each in table.experts.values()} == ({"en", "fr"} if one_process else {""})
    assert set(applications.build(table)) == table.applications == everything | {table.mixed.application}
    fewer = applications.completed(table.without("fr"))
    assert fewer.mixed is not None
    assert applications.completed(fewer).applications == fewer.applications
    assert fewer.mixed.application != table.mixed.application


def test_what_damages_a_part_is_refused_before_anything_is_deployed(run_folder: Path, tmp_path: Path) -> None:
    from serve.app import deploy

    for part in ("router", "expert-en", "tokenizer"):
        damaged = tmp_path / part
        shutil.copytree(run_folder, damaged)
        file = max(
            (f for f in damaged.glob(f"stages/{part}/*/**/*") if f.suffix in (".safetensors", ".json")), key=_size
        )
        file.write_bytes(file.read_bytes()[:-8] + b"damaged!")
        with pytest.raises(MomeError, match=r"changed|damaged|can't"):
            deploy(damaged)


def _size(file: Path) -> int:
    return file.stat().st_size * (file.name != "manifest.json")
