"""Versions of a mixture: kept whatever becomes of the stages, switched in one step, mended from what is left."""

import re
import shutil

import pytest

from orchestrator.artifacts import Store, write_json
from orchestrator.cli.growing import list_versions
from orchestrator.errors import ArtifactError
from orchestrator.mixtures.versions import TRAINED, Versions, record_run

LANGUAGES = ("en", "fr")
STEPS = ("corpus", "tokenizer", "tokens", "blocks", "teacher", "expert-en", "expert-fr", "router", "evaluation")


def recipe(*languages):
    return {"name": "run", "corpus": {"languages": {language: {} for language in languages}}}


def publish(store, step, text="text", fingerprint=None):
    print_of_step = (fingerprint or step).ljust(64, "0")
    return store.publish(step, print_of_step, {"made": text}, lambda out: (out / "a.txt").write_text(text) and None)


@pytest.fixture
def store(tmp_path):
    """A finished run in miniature."""
    store = Store(tmp_path / "run")
    store.set_current("run", {step: publish(store, step) for step in STEPS})
    write_json(store.root / "recipe.json", recipe(*LANGUAGES))
    return store


@pytest.fixture
def grown(store):
    """The run's versions: the trained one, and a second with Spanish."""
    first = record_run(store)
    parts = {name: first.part(name) for name in first.parts} | {"expert-es": publish(store, "expert-es")}
    Versions(store.root).publish("add es", 1, recipe(*LANGUAGES, "es"), parts)
    return Versions(store.root)


def test_a_finished_run_is_version_1_once(store):
    version = record_run(store)
    assert (version.number, version.action, version.parent, version.languages) == (1, TRAINED, None, LANGUAGES)
    assert set(version.parts) == set(STEPS) - {"tokens"}
    assert record_run(store) == version == Versions(store.root).current()
    assert Versions(store.root).numbers() == [1]


def test_an_unfinished_run_has_none(store):
    artifacts = store.current()
    store.set_current("run", {name: artifacts[name] for name in STEPS if name != "expert-fr"})
    assert record_run(store) is None
    assert Versions(store.root).current() is None
    with pytest.raises(ArtifactError, match="no version 1"):
        Versions(store.root).get(1)


def test_lineage_and_going_back_and_forth(grown):
    current = grown.current()
    assert (current.number, current.parent, current.action) == (2, 1, "add es")
    assert current.languages == (*LANGUAGES, "es")
    grown.use(1)
    assert grown.current().languages == LANGUAGES
    grown.use(2)
    assert grown.current() == current


def test_the_same_change_made_again_is_the_same_version(store, grown):
    second = grown.get(2)
    grown.use(1)
    again = grown.publish("add es", 1, second.recipe, {name: second.part(name) for name in second.parts})
    assert again == second == grown.current()
    other = {name: second.part(name) for name in second.parts} | {"expert-es": publish(store, "expert-es", "other")}
    assert grown.publish("add es", 1, second.recipe, other).number == 3


def test_versions_outlive_the_stages(store, grown):
    store.remove("expert-fr", "expert-fr".ljust(64, "0"))
    publish(store, "expert-fr", "trained again")
    shutil.rmtree(store.root / "stages" / "router")
    store.clean()
    version = grown.current()
    assert (version.part("expert-fr").folder / "a.txt").read_text() == "text"
    assert version.part("router")


def test_a_new_run_is_a_new_version_and_the_same_run_is_not(store, grown):
    assert record_run(store).number == 1
    assert grown.current().number == 2, "the grown mixture stays"
    store.set_current("run", store.current() | {"expert-fr": publish(store, "expert-fr", "other seed", "fr2")})
    assert record_run(store).number == 3
    assert grown.current().number == 3
    assert grown.numbers() == [1, 2, 3]


def test_another_evaluation_is_no_other_mixture(store, grown):
    store.set_current("run", store.current() | {"evaluation": publish(store, "evaluation", "more", "more")})
    assert record_run(store).number == 1
    assert grown.numbers() == [1, 2]


def test_going_back_to_an_earlier_recipe_makes_its_version_current(store):
    first = store.current()
    record_run(store)
    store.set_current("run", first | {"expert-fr": publish(store, "expert-fr", "other seed", "fr2")})
    assert record_run(store).number == 2
    store.set_current("run", first)
    assert record_run(store).number == 1
    assert Versions(store.root).current().number == 1


def test_a_missing_file_is_named_with_the_remedy_which_works(grown):
    lost = grown.get(1).folder / "expert-fr" / "a.txt"
    lost.unlink()
    told = r"version 1 is not whole(.|\n)*expert-fr/a.txt(.|\n)*mome mixture use run 1"
    with pytest.raises(ArtifactError, match=told):
        grown.get(1).part("expert-fr")
    assert grown.use(1).part("expert-fr")
    assert lost.read_text() == "text"


def test_what_is_lost_for_good_leaves_the_current_version(store, grown):
    shutil.rmtree(store.root / "stages")
    for number in (1, 2):
        (grown.get(number).folder / "router" / "a.txt").unlink()
    with pytest.raises(ArtifactError, match=r"no other copy(.|\n)*router/a.txt(.|\n)*another version \(2\)"):
        grown.use(1)
    assert grown.current().number == 2


def overwrite(path, *, in_place):
    """Other bytes, as many of them; in place, under every name of the file."""
    data = path.read_bytes()
    if not in_place:
        path.unlink()
    path.write_bytes(b"\xff" * len(data))


def test_a_changed_file_is_mended_from_a_copy(grown):
    router = grown.current().folder / "router" / "a.txt"
    overwrite(router, in_place=False)
    told = r"a.txt of router of version 2 in the run run has changed(.|\n)*mome mixture use run 2 mends"
    with pytest.raises(ArtifactError, match=told):
        grown.current().part("router").check()
    grown.use(2)
    assert router.read_text() == "text"
    assert grown.current().part("router").check()


def test_a_file_that_changed_under_all_its_names_leaves_the_current_version(grown):
    overwrite(grown.get(1).folder / "expert-fr" / "a.txt", in_place=True)
    with pytest.raises(ArtifactError, match=r"has changed(.|\n)*no other copy(.|\n)*mome run RECIPE --force expert-fr"):
        grown.use(1)
    assert grown.current().number == 2


def test_a_run_that_is_moved_or_copied_reads_nothing_from_the_old_place(store, grown, tmp_path):
    moved = shutil.copytree(store.root, tmp_path / "elsewhere" / "other name")
    shutil.rmtree(store.root)
    there = Versions(moved)
    assert {artifact.folder.parents[2] for artifact in Store(moved).current().values()} == {moved}
    assert there.current().folder == moved / "mixtures" / "2"
    (there.get(1).folder / "router" / "a.txt").unlink()
    assert there.use(1).part("router").check().folder.is_relative_to(moved)
    assert record_run(Store(moved)).number == 1


def test_a_copy_that_has_other_content_does_not_mend(store, grown):
    shutil.rmtree(store.root / "stages")
    publish(store, "router", "trained again")
    for number in (1, 2):
        (grown.get(number).folder / "router" / "a.txt").unlink()
    with pytest.raises(ArtifactError, match="no other copy"):
        grown.use(1)


def test_another_releases_version_says_so(grown):
    (grown.folder / "2" / "version.json").write_text('{"format": 2}')
    with pytest.raises(ArtifactError, match=r"version 2 can't be read: its format is 2(.|\n)*take the release"):
        grown.current()


@pytest.mark.parametrize("content", ["", "{", "{}", "3", '{"format": 2}', '{"format": 1, "more": 1}'])
def test_a_damaged_description_is_told_and_hinders_no_other_version(grown, content):
    (grown.folder / "1" / "version.json").write_text(content)
    with pytest.raises(ArtifactError, match="version 1 can't be read"):
        grown.get(1)
    assert grown.current().number == 2
    second = grown.current()
    parts = {name: second.part(name) for name in second.parts}
    assert grown.publish("remove fr", 2, second.recipe, parts).number == 3


def test_the_run_makes_its_version_anew_where_the_current_one_is_lost(store):
    first = record_run(store)
    (first.folder / "version.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"version 1 can't be read(.|\n)*mome run RECIPE"):
        Versions(store.root).use(1)
    assert record_run(store).number == 2
    shutil.rmtree(store.root / "mixtures" / "2")
    assert record_run(store) == Versions(store.root).current()


def test_going_on_from_a_grown_version_that_is_lost(store, grown):
    (grown.folder / "2" / "version.json").write_text("{")
    assert record_run(store).number == 1
    assert grown.current().number == 1


def test_a_current_version_of_another_release_is_not_lost(store, grown):
    (grown.folder / "2" / "version.json").write_text('{"format": 2}')
    with pytest.raises(ArtifactError, match="take the release that wrote it"):
        record_run(store)
    assert grown.current_number() == 2


def test_a_list_shows_the_damaged_with_the_others(grown, capsys):
    (grown.folder / "2" / "version.json").write_text("{")
    list_versions(grown.root.name, grown.root.parent)
    shown = capsys.readouterr().out
    assert re.search(r"^ *1 +trained +en, fr .*\n *2 +can't be read +current", shown, re.MULTILINE)
    assert "mixtures/2/version.json" in shown
    (grown.folder / "current.json").write_text("2")
    list_versions(grown.root.name, grown.root.parent)
    assert "mome mixture use run NUMBER" in capsys.readouterr().out


def test_a_damaged_pointer_is_told_and_mended_by_a_choice(grown):
    (grown.folder / "current.json").write_text("2")
    with pytest.raises(ArtifactError, match="mome mixture use run NUMBER"):
        grown.current()
    assert grown.use(2) == grown.current()


def test_unknown_versions_are_answered_with_the_known_ones(grown):
    with pytest.raises(ArtifactError, match=r"no version 7(.|\n)*1, 2"):
        grown.use(7)
    assert grown.current().number == 2


def test_a_version_is_there_whole_or_not_at_all(store, grown, monkeypatch):
    second = grown.current()
    monkeypatch.setattr("orchestrator.mixtures.versions._link", lambda source, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        grown.publish("remove fr", 2, second.recipe, {name: second.part(name) for name in second.parts})
    assert grown.numbers() == [1, 2]
    assert grown.current() == second
    assert sorted(path.name for path in grown.folder.iterdir()) == ["1", "2", "current.json"]


def test_a_folder_that_is_no_recipe_s_run(tmp_path):
    store = Store(tmp_path)
    store.set_current("sweep", {"expert-en": publish(store, "expert-en")})
    with pytest.raises(ArtifactError, match="no run of a recipe"):
        record_run(store)
