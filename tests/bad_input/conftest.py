import warnings

import pytest
from given import lay_out, train


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Sound videos, lists, textures and checkpoints, made once."""
    folder = tmp_path_factory.mktemp("world")
    lay_out(folder)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        train(folder)
    return folder
