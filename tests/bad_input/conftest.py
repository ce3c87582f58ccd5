import warnings

import pytest
from given import lay_out, train


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Sound videos, lists and textures, made once."""
    folder = tmp_path_factory.mktemp("world")
    lay_out(folder)
    return folder


@pytest.fixture(scope="session")
def trained(world):
    """The same folder, with two checkpoints."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(world)
        train(world)
    return world
