import pytest

from orchestrator import plugins
from orchestrator.errors import PluginError


def test_available_leaves_out_helpers():
    names = plugins.available("losses")
    assert "reverse_kl" in names
    assert not [name for name in names if name.startswith("_")]


def test_names_may_have_hyphens():
    assert plugins.find("models.zoo", "gpt2-nano") is plugins.find("models.zoo", "gpt2_nano")


@pytest.mark.parametrize(
    ("room", "name", "options", "said"),
    [
        ("losses", "reverse_lk", {}, 'did you mean "reverse_kl"?'),
        ("losses", "reverse_kl", {"temprature": 1}, 'did you mean "temperature"?'),
        ("losses", "reverse_kl", {"temperature": "hot"}, "temperature"),
        ("losses", "_base", {}, "known:"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(room, name, options, said):
    with pytest.raises(PluginError) as caught:
        plugins.create(room, name, options)
    assert said in str(caught.value)


def test_source_modules_reach_the_classes_built_on():
    modules = plugins.sources_of(plugins.find("models.zoo", "gpt2-nano"))
    assert "orchestrator.models.zoo._presets" in modules
    assert "orchestrator.models.zoo.gpt2" in modules


@pytest.mark.parametrize(
    "room", ["corpus.sources", "losses", "schedules", "models.zoo", "routers", "training.optimizers"]
)
def test_every_file_of_a_room_is_one_plugin(room):
    for name in plugins.available(room):
        assert plugins.find(room, name).__doc__
