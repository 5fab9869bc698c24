import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ArtifactError
from orchestrator.reporting.report import write_report
from orchestrator.study._paper.pages import write_study_report
from orchestrator.study._paper.pages.artifacts import read_study
from tests.unit.reporting import run_folder

PAGES = ("index", "rq1", "rq2", "rq3", "rq4", "rq5", "rq6", "recipe", "baselines")


class _Page(HTMLParser):
    """Addresses that a page refers to, and its text; complains about tags that don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        self.places += [value for key, value in attrs if key in ("href", "src", "xlink:href")]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.places += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def rendered(made: Any, out: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    out.mkdir()
    told = write_study_report(made.inputs, made.entries, made.recipe, out)
    return told, json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def three(folders, report: Path, tmp_path_factory) -> tuple[Path, tuple[str, ...], dict[str, Any]]:
    """The report of a study with three seeds; only to be read."""
    root = tmp_path_factory.mktemp("three")
    made = folders.write_study(root / "run", report, seeds=(1, 2, 3))
    told, results = rendered(made, root / "out")
    return root / "out", told, results


@pytest.fixture(scope="module")
def one(folders, tmp_path_factory) -> tuple[Path, tuple[str, ...], dict[str, Any]]:
    """With one seed, of two languages."""
    root = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "LANGUAGES", ("en", "fr"))
        patch.setattr(run_folder, "CONFUSION", [[60, 1], [0, 61]])
        write_report(run_folder.write_run(root / "main"), run_folder.RECIPE, root / "report")
    told, results = rendered(folders.write_study(root / "run", root / "report", languages=("en", "fr")), root / "out")
    return root / "out", told, results


def verdict(results: dict[str, Any], text: str) -> str:
    return next(claim["verdict"] for claim in results["claims"] if text in claim["claim"])


def test_every_page_is_whole_and_asks_for_nothing_outside(three) -> None:
    out = three[0]
    for name in PAGES:
        page = _Page((out / f"{name}.html").read_text())
        for place in page.places:
            assert place.startswith(("#", "data:,")) or (out / place).is_file(), place
        assert page.places.count("rq5.html") >= 1
    assert (out / "run" / "index.html").is_file()
    assert not (out / "run" / "manifest.json").exists()


def test_nothing_of_the_content_becomes_markup(three, folders) -> None:
    out = three[0]
    text = "".join((out / f"{name}.html").read_text() for name in PAGES)
    assert folders.NASTY not in text
    assert "&lt;script&gt;alert(1)" in (out / "rq1.html").read_text()
    fenced = re.sub(r"```yaml.*?```", "", (out / "report.md").read_text(), flags=re.S)
    assert "<script" not in fenced


def test_all_pages_are_in_the_markdown_with_their_figures(three) -> None:
    out = three[0]
    text = (out / "report.md").read_text()
    assert text.startswith("# Study")
    for title in ("RQ1 alpha", "RQ6 forgetting", "Baselines"):
        assert f"\n## {title}" in text
    figures = re.findall(r"\(figures/(.+?)\.svg\)", text)
    assert len(set(figures)) == len(figures)
    assert {f"{name}.svg" for name in figures} == {path.name for path in (out / "figures").iterdir()}
    assert text.count("Every number in this report") == 1


def test_table4_has_the_papers_names(three) -> None:
    found = three[2]["table4_perplexity"]
    assert list(found) == ["ple", "jeet", "moe_ce_without_common", "moe_ce_with_common"]
    # e to the mean over seeds (0, 0.01, 0.02) and the one block that goes to the next expert
    assert found["ple"]["en"] == pytest.approx(2.718281828 ** (5.0 + 0.01 + 1.1 / 40))
    assert found["moe_ce_without_common"]["de"] / found["moe_ce_with_common"]["de"] == pytest.approx(1.16183, rel=1e-4)


def test_table5_has_the_papers_shape(three) -> None:
    rows = three[2]["table5_moe_ce_inference"]
    assert len(rows) == 17
    assert rows[2]["routable"] == ["en", "py"]
    assert rows[0]["all"] == pytest.approx(sum(rows[0][lang] for lang in ("en", "fr", "de", "py")) / 4)
    assert rows[-1]["en"] == pytest.approx(2.718281828**5.5, rel=1e-6)
    page = (three[0] / "rq5.html").read_text()
    assert "(140.5)" in page  # the paper's, for {en, py} without the common expert


def test_table6_has_the_papers_shape(three) -> None:
    found = three[2]["table6_forgetting"]
    assert found["sequential"]["py"] is None
    assert found["sequential"]["de"]["loss_increase"] == pytest.approx(1.31)
    assert found["sequential"]["de"]["percent"] == pytest.approx(100 * 1.31 / 5.1)
    assert found["single_session"]["en"]["loss_increase"] == pytest.approx(-0.1)
    assert found["ple"]["en"] == {"loss_increase": 0.0, "percent": 0.0}
    assert found["jeet_added"]["en"]["loss_increase"] == pytest.approx(0.08)
    assert found["jeet_added_frozen"] == {
        **{key: {"loss_increase": 0.0, "percent": 0.0} for key in ("en", "fr", "de")},
        "py": None,
    }
    effect = three[2]["forgetting_effects"]["sequential"]["en"]
    assert effect["seeds"] == 3
    assert effect["interval_over_seeds"] == pytest.approx([0.51 - 0.02484, 0.51 + 0.02484], abs=1e-4)


def test_verdicts_with_three_seeds(three) -> None:
    results = three[2]
    assert verdict(results, "Adaptive alpha ends with a lower loss") == "open"
    assert verdict(results, "nearly as good") == "holds"
    assert verdict(results, "Both losses together") == "holds"
    assert verdict(results, "PLE and JEET perform alike") == "holds"
    assert verdict(results, "lags behind PLE") == "holds"
    assert verdict(results, "common expert improves the mixture") == "holds"
    assert verdict(results, "forgets the earlier ones") == "holds"
    assert verdict(results, "PLE, expert after expert") == "holds"
    assert verdict(results, "shared parts trained") == "does not hold"
    assert verdict(results, "shared parts frozen") == "holds"
    assert verdict(results, "“ours” ends with a lower loss than “the paper's”, by 0.3") == "holds"
    assert verdict(results, "than “its losses”") == "does not hold"
    assert any(sentence.startswith("RQ6. Holds:") and "3 seeds" in sentence for sentence in three[1])


def test_one_seed_says_what_its_intervals_cover(one) -> None:
    out, told, results = one
    assert any("one seed, text noise only" in sentence for sentence in told)
    assert not any("seeds)" in sentence for sentence in told)
    assert "More seeds (study.seeds)" in (out / "rq4.html").read_text()
    for claim in results["claims"]:
        assert claim["effect"]["interval_over_seeds"] is None
        assert claim["effect"]["interval_over_blocks"]
    assert verdict(results, "forgets the earlier ones") == "holds"


def test_sweeps_take_means_over_their_languages(three) -> None:
    found = three[2]["sweep_recipe"]["configurations"]
    assert found[0]["losses"]["1"] == pytest.approx(5.05)
    assert found[1]["difference"] == pytest.approx(2.401)
    assert three[2]["rq2"] == {
        "alternating_eval_loss": pytest.approx(5.171), "combined_eval_loss": pytest.approx(5.01),
    }  # fmt: skip


def test_baselines_stand_beside_the_mixtures(three) -> None:
    found = three[2]["baselines"]
    assert three[2]["baselines_reference"] == "ple"
    assert found["dense"]["difference"]["value"] == pytest.approx(0.3 - 1.1 / 40)
    assert found["dense"]["parameters"] == found["merged"]["active_parameters"]
    assert found["ple"]["parameters"] == 4 * found["dense"]["parameters"]
    assert found["jeet"]["parameters"] < found["ple"]["parameters"]
    assert found["ensemble_even"]["active_parameters"] == found["ple"]["parameters"]
    assert found["moe_ce_with_common"]["flops_per_token"] > found["moe_ce_without_common"]["flops_per_token"]
    assert (found["ple"]["tokens"], found["merged"]["built_on_tokens"]) == (4000, 4000)
    assert "merged: worse than PLE, +1.4" in (three[0] / "report.md").read_text()


def test_a_study_that_asks_little_says_so(folders, report: Path, tmp_path: Path) -> None:
    made = folders.write_study(
        tmp_path / "run", report, setups=("jeet",), baselines=(), sweeps=(), forgetting=False
    )  # fmt: skip
    told, results = rendered(made, tmp_path / "out")
    asked = {claim["question"] for claim in results["claims"] if claim["verdict"] != "not asked"}
    assert asked == {"RQ3"}
    assert len(told) == 1
    overview = (tmp_path / "out" / "index.html").read_text()
    for text in ("study.forgetting", "rq1, rq2 and recipe", "study.baselines", "PLE and MoE-CE"):
        assert text in overview
    assert "the study has no setup with a common expert" in (tmp_path / "out" / "rq5.html").read_text()
    assert "table5_moe_ce_inference" not in results


def test_other_languages_have_no_row_of_the_paper(one) -> None:
    out, _, results = one
    assert len(results["table5_moe_ce_inference"]) == 7
    assert results["table6_forgetting"]["sequential"]["fr"] is None
    text = (out / "report.md").read_text()
    assert "The paper has other languages." in text
    assert "A: the paper's" not in text
    assert "PLE, the paper's" not in text


def test_a_size_that_can_not_be_known_is_left_out(folders, report: Path, tmp_path: Path) -> None:
    made = folders.write_study(tmp_path / "run", report, setups=("ple",), sweeps=(), forgetting=False)
    made.recipe["experts"]["model"] = {"type": "no-such-model"}
    _, results = rendered(made, tmp_path / "out")
    assert results["baselines"]["ple"]["parameters"] is None
    assert results["baselines"]["teacher"]["parameters"] > 0


def test_a_damaged_artifact_is_told(folders, report: Path, tmp_path: Path) -> None:
    made = folders.write_study(tmp_path / "run", report, sweeps=(), forgetting=False)
    (made.inputs["evaluation-jeet@1"] / "block_losses.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"block_losses\.safetensors can't be read"):
        read_study(made.inputs, made.entries, made.recipe)
    del made.inputs["main-report"]
    with pytest.raises(ArtifactError, match="main-report"):
        read_study(made.inputs, made.entries, made.recipe)
