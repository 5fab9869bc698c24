"""The dashboard asks for series that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "serving.json"


def test_every_series_of_the_dashboard_is_served(client: TestClient, backend: Any) -> None:
    client.post("/v1/completions", json={"prompt": "la", "stream": True})
    client.post("/v1/completions", json={"prompt": "busy"})
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(panels) == len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels})
    for expression in asked:
        names = re.findall(r"\bmome_\w+", expression)
        assert names
        assert set(names) <= set(found), expression
        for by in re.findall(r"by \(([^)]*)\)", expression):
            assert set(by.split(", ")) <= found[names[0]], expression
    told = {name for expression in asked for name in re.findall(r"\bmome_\w+", expression)}
    assert {name for name in found if name.endswith("_bucket")} <= told
