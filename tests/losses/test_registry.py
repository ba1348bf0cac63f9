"""The names that a configuration can choose are those of the functions in `src.losses`."""

import inspect

import pytest

from src import losses
from src.config import registry

OBJECTIVES = {f"loss={name}": x.objective for name, x in registry.LOSSES.items() if x.objective and x.trains}
OBJECTIVES |= {f"method={name}": method.objective for name, method in registry.METHODS.items()}


def test_the_registry_lists_the_step_functions_of_the_losses():
    assert registry.STEPS == losses.STEPS


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_names_a_function_and_all_its_options(objective):
    assert objective.function in losses.__all__
    parameters = inspect.signature(getattr(losses, objective.function)).parameters
    options = {name for name, parameter in parameters.items() if parameter.kind == parameter.KEYWORD_ONLY}
    assert {*objective.options, *objective.own_options} == options - {"process_group"}
    for option, kind in objective.own_options.items():
        assert parameters[option].annotation is kind
