import hashlib

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as module
from torchmetrics.image.fid import NoTrainInceptionV3

from vsr.analysis.networks import i3d, inception, videomae
from vsr.errors import InputError
from vsr.models.vit import SIZES, MaskedAutoencoder


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Weights that nobody trained, in the file's own format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = module.FeatureExtractorInceptionV3("random", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for weight in network.state_dict().values():
        if weight.ndim == 4:
            weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


class TestInception:
    def test_features_are_those_of_the_file_without_antialiasing(self, inception_file):
        network = inception(inception_file)
        assert "NOT the published weights" in network.how
        assert network.sha256 == hashlib.sha256(inception_file.read_bytes()).hexdigest()
        frames = torch.randint(0, 256, (2, 3, 400, 400), generator=torch.Generator().manual_seed(1)).byte()
        found = network.features(frames)
        own = NoTrainInceptionV3("inception", ["2048"], str(inception_file), antialias=False)
        assert found.shape == (2, 2048)
        assert torch.equal(found, own(frames))
        own.use_antialias = True
        assert not torch.allclose(found, own(frames), rtol=0.01)

    def test_refuses_other_weights(self, tmp_path):
        torch.save({"conv": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(InputError, match=r"other\.pth \(SHA-256 [0-9a-f]{16}…\) is not FID's Inception weights"):
            inception(tmp_path / "other.pth")
        torch.save({"conv": print}, tmp_path / "code.pth")
        with pytest.raises(InputError, match=r"code\.pth \(SHA-256 .* is not FID's"):
            inception(tmp_path / "code.pth")
        with pytest.raises(InputError, match=r"none\.pth: no such file"):
            inception(tmp_path / "none.pth")


class TestI3d:
    def test_sees_the_middle_of_clips_in_its_range(self, stub_i3d):
        clips = torch.zeros(2, 3, 16, 32, 64, dtype=torch.uint8)
        clips[1, :, :, :, 16:48] = 255
        found = i3d(stub_i3d).features(clips)
        assert found.shape == (2, 3 * 16 + 2)
        assert (found[0] == -1).all()
        assert found[1, -1] == 1
        assert (found[1, :-2] > 0.95).all()  # the outer quarters are cut off

    def test_refuses_other_files(self, tmp_path):
        (tmp_path / "i3d.pt").write_bytes(b"no network")
        with pytest.raises(InputError, match=r"i3d\.pt \(SHA-256 [0-9a-f]{16}…\) is not the TorchScript"):
            i3d(tmp_path / "i3d.pt")
        with pytest.warns((DeprecationWarning, FutureWarning)):
            torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "linear.pt"))
        with pytest.raises(InputError, match=r"linear\.pt \(SHA-256 .* is not the TorchScript file of an I3D"):
            i3d(tmp_path / "linear.pt")


class TestVideomae:
    @pytest.mark.parametrize("frames", [4, 16, 32])
    def test_features_are_the_mean_of_the_encoders_tokens(self, tmp_path, frames):
        torch.manual_seed(0)
        network = MaskedAutoencoder(SIZES["tiny"], image_size=32, num_frames=frames)
        state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
        settings = {"image_size": 32, "num_frames": frames}
        torch.save({"state_dict": state, "hyper_parameters": settings}, tmp_path / "mae.ckpt")
        clips = torch.randint(0, 256, (2, 3, 16, 32, 32)).byte()
        found = videomae(tmp_path / "mae.ckpt").features(clips)
        if frames == 4:
            clips = clips[:, :, :4]
        if frames == 32:
            assert found.shape == (2, 192)
            return
        assert torch.allclose(found, network.encoder.eval()(clips).mean(dim=1), atol=1e-5)
