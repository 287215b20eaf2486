import copy

import torch
from torch import nn

from skflow.training.vector import ParameterVector, parameter_vectors


def parameters():
    return [nn.Parameter(torch.arange(6.0).reshape(2, 3)), nn.Parameter(torch.ones(4))]


def test_parameters_become_views_of_a_vector():
    several = parameters()
    before = [p.detach().clone() for p in several]
    vector = ParameterVector(several)
    torch.testing.assert_close([p.detach() for p in several], before)
    with torch.no_grad():
        vector.vector.mul_(2)
        torch.testing.assert_close([p.detach() for p in several], [2 * b for b in before])
        several[1].fill_(5)
    assert vector.vector[6:].tolist() == [5, 5, 5, 5]


def test_gradients_are_collected_from_where_they_were_put():
    first, second = parameters()
    first.grad = torch.ones(2, 3)
    vector = ParameterVector([first, second])
    assert vector.gradient.tolist() == [1] * 6 + [0] * 4
    second.grad = torch.full((4,), 3.0)
    first.grad = None
    vector.collect()
    assert vector.gradient.tolist() == [0] * 6 + [3] * 4
    first.grad += 2
    assert vector.gradient.tolist() == [2] * 6 + [3] * 4
    vector.zero_gradients()
    assert first.grad.tolist() == [[0] * 3] * 2


def test_one_vector_for_each_precision():
    several = [*parameters(), nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    vectors = parameter_vectors(several)
    assert [len(one.vector) for one in vectors] == [10, 2]
    assert parameter_vectors([]) == []


def test_a_copy_has_entries_of_its_own():
    several = parameters()
    vector = ParameterVector(several)
    twin = copy.deepcopy(several[0])
    with torch.no_grad():
        vector.vector.zero_()
    assert twin.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert twin.untyped_storage().nbytes() == 6 * 4
