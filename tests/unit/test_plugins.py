import pickle
import sys

import pytest

from orchestrator import plugins
from orchestrator.config.base import PluginSpec, plugin_of
from orchestrator.config.identity import identity
from orchestrator.errors import PluginError
from orchestrator.plugin_options import options_of, summary

MINE = '''
"""Losses of mine."""

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.losses import SoftLoss


@dataclass(frozen=True)
class Mine(SoftLoss):
    """Squared differences. Of probabilities.

    Attributes:
        power: of the differences;
            an even number.
    """

    version: ClassVar[int] = 3
    power: int = 2
    share: float = 1.0
    """Share of it."""

    def definition(self, log_q_NV, log_p_NV):
        return ((log_q_NV.exp() - log_p_NV.exp()) ** self.power).sum(-1)


@dataclass(frozen=True)
class Undefined(SoftLoss):
    pass


@dataclass(frozen=True)
class Stranger:
    temperature: float = 1.0


@dataclass
class Melting:
    temperature: float = 1.0


class Plain(Mine):
    pass


value = 3
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the current folder, which is on no path."""
    name = f"mine_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    (tmp_path / f"{name}_broken.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield name
    for loaded in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[loaded]
    plugins.find.cache_clear()


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
        ("losses", "reverse_lk", {}, "package.module:Class"),
        ("losses", "reverse_kl", {"temprature": 1}, 'did you mean "temperature"?'),
        ("losses", "jsd", {"gamma": 1}, "beta: a number above 0 and below 1 (default 0.5). The teacher's share"),
        ("losses", "reverse_kl", {"temperature": "hot"}, "temperature: a number above 0 (default 1.0). Softens both"),
        ("losses", "_base", {}, "known:"),
        ("losses", "nobody.has.this:Loss", {}, "there is no module 'nobody'"),
        ("losses", "orchestrator.losses.jds:JSD", {}, 'did you mean "orchestrator.losses.jsd"?'),
        ("losses", "mypackage.losses.Mine", {}, 'with a colon before its class: "mypackage.losses:Mine"'),
        ("corpus.sources", "files:data/es", {}, "files with options is written as {type: files, …}"),
        ("losses", "nobody has:Loss", {}, "write it as package.module:Class"),
        ("losses", "orchestrator.losses.jsd:JDS", {}, 'did you mean "JSD"?'),
        ("schedules", "orchestrator.losses.jsd:JSD", {}, "it lacks weights(step, steps, history, micro)\n"),
        ("losses", "collections:OrderedDict", {}, "@dataclass(frozen=True)"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_there_is(room, name, options, said):
    with pytest.raises(PluginError) as caught:
        plugins.create(room, name, options)
    assert said in str(caught.value)


def test_a_plugin_of_ones_own_is_found_in_the_current_folder(module):
    made = plugins.create("losses", f"{module}:Mine", {"power": 4})
    assert made.power == 4
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(PluginError, match=r"power: a whole number \(default 2\)\. of the differences; an even number"):
        plugins.create("losses", f"{module}:Mine", {"power": "many"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (":Undefined", "it lacks definition(log_q_NV, log_p_NV)"),
        (":Undefined", "derive it from orchestrator.losses.SoftLoss"),
        (":Stranger", "it lacks definition(log_q_NV, log_p_NV)\n"),
        (":Melting", "above class Melting"),
        (":Plain", "is no frozen dataclass"),
        (":value", "has no class 'value'"),
        ("_broken:Mine", "can't be imported: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("_absent:Mine", "install its package into this environment, or lay it in"),
    ],
)
def test_what_is_no_plugin_of_the_room_is_refused_with_what_it_lacks(module, name, said):
    with pytest.raises(PluginError) as caught:
        plugins.find("losses", module + name)
    assert said in str(caught.value)


def test_its_import_path_options_and_version_identify_it(module):
    from pydantic import TypeAdapter

    read = TypeAdapter(plugin_of("losses")).validate_python
    path = f"{module}:Mine"
    assert identity(read(path)) == {"type": path, "version": 3}
    assert identity(read({"type": path, "power": 2, "share": 0.5})) == {"type": path, "share": 0.5, "version": 3}
    assert isinstance(read(path), PluginSpec)


def test_options_say_kind_default_and_documentation(module):
    cls = plugins.find("losses", f"{module}:Mine")
    assert list(map(str, options_of(cls))) == [
        "temperature: a number above 0 (default 1.0). Softens both distributions.",
        "power: a whole number (default 2). of the differences; an even number.",
        "share: a number (default 1.0). Share of it.",
    ]
    assert summary(cls) == "Squared differences."


def test_source_modules_reach_the_classes_built_on(module):
    modules = plugins.sources_of(plugins.find("models.zoo", "gpt2-nano"))
    assert "orchestrator.models.zoo._presets" in modules
    assert "orchestrator.models.zoo.gpt2" in modules
    assert plugins.sources_of(plugins.find("losses", f"{module}:Mine"))[:2] == (module, "orchestrator.losses._base")


@pytest.mark.parametrize("room", [room for room in plugins.ROOMS if room != "benchmarks"])
def test_every_plugin_and_every_option_is_documented(room):
    assert plugins.contract(room) is not None
    for name in plugins.available(room):
        cls = plugins.find(room, name)
        assert summary(cls), name
        assert [option.name for option in options_of(cls) if not option.doc] == [], name


def test_a_definition_that_is_no_loss_of_each_token_is_told(tmp_path):
    import torch

    from orchestrator.errors import TrainingError
    from orchestrator.losses import SoftLoss

    class Summed(SoftLoss):
        def definition(self, log_q_NV, log_p_NV):
            return (log_q_NV - log_p_NV).sum()

    class Deaf(SoftLoss):
        def definition(self, log_q_NV, log_p_NV):
            return log_p_NV.sum(-1)

    for loss in (Summed(), Deaf()):
        with pytest.raises(TrainingError, match=r"each token that depends on the student[\s\S]*of 2 tokens it makes"):
            loss.value_and_grad(torch.randn(2, 5), torch.randn(2, 5))


def test_presets_are_architectures_with_other_defaults():
    small = plugins.create("models.zoo", "gpt2-small", {"dropout": 0.1})
    same = plugins.create("models.zoo", "gpt2", {"layers": 12, "width": 768, "heads": 12, "dropout": 0.1})
    assert small.configuration(100, 8).to_dict() == same.configuration(100, 8).to_dict()
