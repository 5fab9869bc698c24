"""The tests of this package."""

import pytest
import torch
from mome_example.losses import Hellinger
from mome_example.models import Llama
from mome_example.schedules import HalfCosine
from mome_example.sources import Docstrings

from orchestrator.schedules import LossHistory


def test_disjoint_distributions_are_at_distance_one():
    far = torch.tensor([[0.0, -1e4]])
    assert Hellinger().per_token(far, far.flip(1)).item() == pytest.approx(1)
    assert Hellinger().per_token(far, far).item() == 0


def test_the_schedule_ends_where_it_is_told():
    schedule = HalfCosine(end=0.8)
    assert schedule.weights(0, 11, LossHistory()) == (0, 1)
    assert schedule.weights(5, 11, LossHistory())[0] == pytest.approx(0.4)
    assert schedule.weights(10, 11, LossHistory())[0] == pytest.approx(0.8)


def test_docstrings_are_long_enough():
    documents = list(Docstrings(characters=200).documents("en"))
    assert len(documents) > 50
    assert min(len(document.text) for document in documents) >= 200


def test_the_model_has_the_layers_that_were_asked_for():
    model = Llama(layers=3, width=16, heads=4).build(vocab_size=50, context=8)
    assert len(model.model.layers) == 3
