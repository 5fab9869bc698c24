import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from orchestrator.errors import ArtifactError
from orchestrator.reporting import results
from orchestrator.reporting.report import write_report
from orchestrator.reporting.results import collect, learning_curves
from orchestrator.reporting.sentences import effort


def rows(path: Path, *found: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def test_curves_take_cross_entropy_where_it_is_logged_and_the_later_of_two_rows(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "metrics.jsonl",
        {"step": 1, "loss": 9.0, "ce": 8.0, "alpha": 0.5, "beta": 0.5},
        {"step": 2, "loss": 8.0, "ce": 7.0},
        {"step": 2, "loss": 8.0, "ce": 6.0},
        {"message": "a line to print"},
        {"step": 2, "validation_loss": 5.0, "validation_loss/fr": 4.0, "validation_loss/en": 6.0},
    )
    found = learning_curves(path, ["en", "fr"])
    assert found["train"] == [[1, 8.0], [2, 6.0]]
    assert found["validation"] == [[2, 5.0]]
    assert list(found["validation_by_language"]) == ["en", "fr"]
    assert found["alpha"] == [[1, 0.5]]


def test_long_curves_are_thinned_to_means(tmp_path: Path) -> None:
    found = learning_curves(rows(tmp_path / "m", *({"step": i, "loss": float(i % 2)} for i in range(10_000))), [])
    assert len(found["train"]) == 200
    assert found["train"][0] == [24.5, 0.5]


def test_a_pretrained_teacher_has_no_training_to_show(inputs, made_up, tmp_path: Path) -> None:
    (inputs["teacher"] / "metrics.jsonl").unlink()
    (inputs["teacher"] / "training.json").write_text(json.dumps({"parameters": 5_000, "weights_sha256": "0"}))
    write_report(inputs, made_up.RECIPE, tmp_path / "out")
    assert "| teacher | 5 k | – | – |" in (tmp_path / "out" / "report.md").read_text().replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert not (tmp_path / "out" / "figures" / "learning-teacher.svg").exists()


def test_comparisons_are_paired_by_block(inputs, made_up) -> None:
    found = collect(inputs, made_up.RECIPE)["comparisons"]
    assert found["next_best_to_own"]["en"]["rival"] == "fr"
    assert found["next_best_to_own"]["en"]["ratio"] == pytest.approx(700 / 210, rel=0.02)
    assert found["routed_to_teacher"]["fr"]["ratio"] == pytest.approx(150 / 160, rel=0.02)
    low, high = found["routed_to_teacher"]["fr"]["interval"]
    assert found["frequencies_to_own"]["fr"]["ratio"] == pytest.approx(450 / 150, rel=0.02)
    assert high - low < 0.05  # far narrower than the perplexities' own intervals


@pytest.mark.parametrize(
    "name",
    [
        "corpus/corpus.json",
        "blocks/blocks.json",
        "teacher/training.json",
        "evaluation/block_losses.safetensors",
        "router/manifest.json",
    ],
)
@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_damaged_artifact_is_named(inputs, made_up, name: str, content: bytes | None) -> None:
    path = inputs["corpus"].parent / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        collect(inputs, made_up.RECIPE)
    assert error.value.where == str(path)
    assert str(path.parent) in error.value.fix


def test_metrics_cut_short_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl"):
        learning_curves(path, [])


def test_a_value_that_a_file_lacks_is_told_of_that_file(inputs, made_up) -> None:
    (inputs["router"] / "metrics.json").write_text(json.dumps({"languages": ["en"]}))
    with pytest.raises(ArtifactError, match=r"metrics\.json .* 'averaging'") as error:
        collect(inputs, made_up.RECIPE)
    assert error.value.where == str(inputs["router"] / "metrics.json")


def test_a_tensor_that_is_missing_is_told_of_its_file(inputs, made_up) -> None:
    path = inputs["evaluation"] / "block_losses.safetensors"
    save_file({name: values for name, values in load_file(path).items() if name != "works/en"}, path)
    with pytest.raises(ArtifactError, match=r"block_losses\.safetensors .* 'works/en'"):
        collect(inputs, made_up.RECIPE)


def test_a_mistake_of_the_program_stays_one(inputs, made_up, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(path: Path) -> dict:
        return {}["no such key"]

    monkeypatch.setattr(results, "_router", mistaken)
    with pytest.raises(KeyError, match="no such key"):
        collect(inputs, made_up.RECIPE)


def test_results_are_plain(inputs, made_up) -> None:
    with pytest.raises(KeyError):
        collect(inputs, made_up.RECIPE)["blocks"]["no such key"]


def test_versions_that_differ_between_steps_are_all_shown(inputs, made_up) -> None:
    path = inputs["router"] / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"versions": {"torch": "2.14.0"}}))
    assert collect(inputs, made_up.RECIPE)["versions"]["torch"] == "2.13.0, 2.14.0"


def test_curves_leave_out_what_was_not_computed_or_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "ce": 5.0, "soft": null, "alpha": 1.0}\n'
        '{"step": 2, "ce": 4.0, "soft": 2.0, "alpha": 0.0}\n'
        '{"step": 3, "ce": NaN, "soft": Infinity, "alpha": 1.0}\n'
        '{"step": 3, "validation_loss": null, "validation_loss/en": 4.5}\n'
    )
    curves = learning_curves(path, ["en"])
    assert (curves["train"], curves["soft"], curves["validation"]) == ([[1, 5.0], [2, 4.0]], [[2, 2.0]], [])
    assert curves["validation_by_language"] == {"en": [[3, 4.5]]}


def test_memory_is_of_the_largest_step_and_of_the_whole_run(inputs, made_up) -> None:
    assert collect(inputs, made_up.RECIPE)["peak_memory_bytes"]["run"] is None  # on a cluster of others
    path = inputs["router"] / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_peak_memory_bytes": 3_000_000_000}))
    results = collect(inputs, made_up.RECIPE)
    assert (results["peak_memory_bytes"]["largest"], results["peak_memory_bytes"]["run"]) == (800_000_000, 3 * 10**9)
    said = effort(results["seconds"], results["peak_memory_bytes"]).replace("\N{NO-BREAK SPACE}", " ")
    assert said.endswith("The processes of one step held 800 MB at most, all processes of the run together 3 GB.")
