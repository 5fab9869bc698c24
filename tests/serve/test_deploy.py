"""What is refused before Ray starts, and the config file."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import ArtifactError, ResourceError, ServingError

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
    with pytest.raises(ServingError, match="less than min_replicas"):
        app.deploy(run_folder, min_replicas=3)
    with pytest.raises(ServingError, match="precision"):
        app.deploy(run_folder, precision="int3")
    with pytest.raises(ServingError, match="int8 is computed on CPUs"):
        app.deploy(run_folder, precision="int8", expert_gpus=1)
    with pytest.raises(ResourceError, match="no Ray cluster"):
        app.deploy(run_folder, blocking=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServingError, match="can't listen"):
            app.deploy(run_folder, port=taken.getsockname()[1])


def test_the_config_file_fits_serves_schema_and_the_arguments() -> None:
    from ray.serve.schema import ServeDeploySchema

    from serve.app import ServeArguments

    config = ServeDeploySchema.model_validate(yaml.safe_load((REPOSITORY / "serve" / "config.yaml").read_text()))
    assert config.http_options.host == "127.0.0.1"
    assert ServeArguments(**config.applications[0].args).run == Path("runs/quickstart")
