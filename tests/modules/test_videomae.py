import lightning.pytorch as L
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vsr.errors import InputError
from vsr.models.masking import gather_tokens, normalized_target, patchify, unpatchify
from vsr.modules import VideoMAE

CLIP = {"size": "tiny", "image_size": 32, "num_frames": 4, "patch_size": 16}
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def moving_gradients(n: int, first: int = 0) -> dict[str, torch.Tensor]:
    """Colour gradients that drift: uint8 (n, 3, 4, 32, 32), the hidden follows from the visible."""
    t, y, x = torch.meshgrid(torch.arange(4), torch.arange(32), torch.arange(32), indexing="ij")
    number = torch.arange(first, first + n).view(-1, 1, 1, 1)
    wave = ((x * (number % 3 + 1) + y * 2 + t * 6) % 64) * 4
    video = torch.stack((wave, wave.flip(-1), 255 - wave), 1).to(torch.uint8)
    return {"video": video, "index": number.flatten(), "epoch": torch.zeros(n, dtype=torch.int64)}


class Gradients(L.LightningDataModule):
    steps_per_epoch = 5

    def train_dataloader(self):
        return DataLoader(range(5 * 4), batch_size=4, collate_fn=lambda n: moving_gradients(len(n), n[0]))


class TestTraining:
    def test_overfits_a_tiny_batch(self):
        module, batch = VideoMAE(**CLIP, mask_ratio=0.5), moving_gradients(4)
        optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
        losses = []
        for _ in range(60):
            idx_keep, idx_mask = module.mask(batch["index"], batch["epoch"])
            loss = module.loss(module.model(batch["video"], idx_keep, idx_mask), batch["video"], idx_mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] > 0.9
        assert losses[-1] < 0.3 * losses[0]

    def test_fit_logs_and_follows_the_schedule(self):
        module = VideoMAE(**CLIP, warmup=0.4, global_batch_size=4)
        trainer = L.Trainer(max_epochs=2, **QUIET)
        before = module.model.mask_token.clone()
        trainer.fit(module, datamodule=Gradients())
        assert trainer.global_step == 10
        assert {"loss", "lr"} <= trainer.logged_metrics.keys()
        assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 10
        peak, final = 3e-4 * 4 / 256, 1e-5 * 4 / 256
        last_rate = final + 0.5 * (peak - final) * (1 + torch.cos(torch.tensor(torch.pi * 5 / 6)).item())
        assert trainer.logged_metrics["lr"].item() == pytest.approx(last_rate, rel=1e-5)
        assert not torch.equal(module.model.mask_token, before)

    def test_says_what_it_will_do(self, caplog):
        with caplog.at_level("INFO"):
            module = VideoMAE(**CLIP, warmup=0.4, global_batch_size=4)
            L.Trainer(max_epochs=2, **QUIET).fit(module, datamodule=Gradients())
        said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("global batch")]
        assert said == [
            "global batch 4 = 1 device x 1 micro-batch of 4; lr 4.69e-6 = base 3e-4 x 4 / 256; "
            "10 steps = 2 epochs of 5; warm-up 4 steps, then a cosine to 1.56e-7; 3.4 M parameters are trained"
        ]

    def test_first_step_has_rate_zero(self):
        module = VideoMAE(**CLIP, warmup=1)
        before = {name: p.clone() for name, p in module.named_parameters()}
        trainer = L.Trainer(max_steps=1, limit_train_batches=1, **QUIET)
        trainer.fit(module, datamodule=Gradients())
        assert trainer.logged_metrics["lr"] == 0  # max_steps 1: the warm-up is that step
        assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())

    def test_accumulation_counts_optimiser_steps(self):
        module = VideoMAE(**CLIP)
        trainer = L.Trainer(max_steps=2, accumulate_grad_batches=2, **QUIET)
        trainer.fit(module, datamodule=Gradients())
        assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 2

    def test_loss_is_float32_under_bf16(self):
        module, batch = VideoMAE(**CLIP), moving_gradients(4)
        idx_keep, idx_mask = module.mask(batch["index"], batch["epoch"])
        with torch.autocast("cpu", torch.bfloat16):
            prediction = module.model(batch["video"], idx_keep, idx_mask)
            loss = module.loss(prediction, batch["video"], idx_mask)
        assert prediction.dtype == torch.bfloat16
        assert loss.dtype == torch.float32
        assert loss == module.loss(prediction, batch["video"], idx_mask)
        assert module.loss(prediction.double(), batch["video"], idx_mask).dtype == torch.float64

    def test_order_of_masked_tubes_does_not_matter(self):
        module, batch = VideoMAE(**CLIP), moving_gradients(2)
        _, idx_mask = module.mask(batch["index"], batch["epoch"])
        prediction = torch.randn(2, idx_mask.shape[1], 1536)
        order = torch.randperm(idx_mask.shape[1])
        loss = module.loss(prediction, batch["video"], idx_mask)
        shuffled = module.loss(prediction[:, order], batch["video"], idx_mask[:, order])
        torch.testing.assert_close(shuffled, loss, atol=1e-6, rtol=0)
        assert (module.loss(prediction[:, order], batch["video"], idx_mask) - loss).abs() > 1e-3

    def test_loss_is_over_masked_tubes_only(self):
        module, batch = VideoMAE(**CLIP), moving_gradients(2)
        idx_keep, idx_mask = module.mask(batch["index"], batch["epoch"])
        prediction = torch.randn(2, idx_mask.shape[1], 1536)
        tubes = patchify(batch["video"], 16, 2)
        noise = torch.randint(0, 256, (2, idx_keep.shape[1], 1536), dtype=torch.uint8)
        other = tubes.scatter(1, idx_keep[..., None].expand_as(noise), noise)
        other = unpatchify(other, module.grid, 16, 2)
        assert not torch.equal(other, batch["video"])
        assert module.loss(prediction, batch["video"], idx_mask) == module.loss(prediction, other, idx_mask)


class TestConstruction:
    def test_defaults_are_the_papers(self):
        """Table 5."""
        with torch.device("meta"):
            h = VideoMAE().hparams
        assert (h.size, h.num_frames, h.image_size, h.mask_ratio) == ("base", 16, 224, 0.75)
        assert (h.base_lr, h.weight_decay, h.betas, h.global_batch_size) == (3e-4, 0.05, (0.9, 0.95), 256)
        assert h.warmup * 3200 == 40

    def test_decoder_depth(self):
        with torch.device("meta"):
            assert len(VideoMAE("large").model.decoder.blocks) == 12
            assert len(VideoMAE("large", decoder_depth=8).model.decoder.blocks) == 8

    def test_seed_alone_draws_the_weights(self):
        torch.manual_seed(1)
        first = VideoMAE(**CLIP, seed=2)
        state = torch.get_rng_state()
        second, third = VideoMAE(**CLIP, seed=2), VideoMAE(**CLIP, seed=3)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
        assert not torch.equal(second.model.mask_token, third.model.mask_token)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": "tinny"}, "did you mean 'tiny'"),
            ({"image_size": 40}, "use 32 or 48 px"),
            ({"num_frames": 5}, "use 4 or 6 frames"),
            ({"mask_ratio": 1.0}, "mask_ratio 1.0"),
            ({"mask_ratio": 0.2}, "at least 0.25"),
            ({"decoder_depth": 0}, "decoder_depth 0 is not positive"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(InputError, match=message):
            VideoMAE(**(CLIP | arguments))

    def test_checkpoint_opens_without_pickled_objects(self, tmp_path):
        module = VideoMAE(**CLIP)
        trainer = L.Trainer(max_steps=1, **QUIET)
        trainer.fit(module, datamodule=Gradients())
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        content = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert all(name.startswith("model.") for name in content["state_dict"])
        again = VideoMAE.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
        assert torch.equal(again.model.mask_token, module.model.mask_token)
        assert again.hparams == module.hparams

    def test_ddp_broadcasts_no_buffer(self, tmp_path):
        """Its collective would hang where one rank has a batch more."""
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
        try:
            assert DistributedDataParallel(VideoMAE(**CLIP)).modules_buffers == []
        finally:
            torch.distributed.destroy_process_group()


class TestReconstruct:
    def test_pictures(self):
        module, batch = VideoMAE(**CLIP, mask_ratio=0.5), moving_gradients(2)
        pictures = module.reconstruct(batch["video"], batch["index"], batch["epoch"])
        assert all(p.dtype == torch.uint8 and p.shape == batch["video"].shape for p in pictures)
        assert torch.equal(pictures.video, batch["video"])
        idx_keep, idx_mask = module.mask(batch["index"], batch["epoch"])
        given, masked, made = (patchify(p, 16, 2) for p in pictures)
        for shown in (masked, made):
            assert torch.equal(gather_tokens(shown, idx_keep), gather_tokens(given, idx_keep))
        assert (gather_tokens(masked, idx_mask) == 128).all()

    def test_uses_each_tubes_own_mean_and_deviation(self, monkeypatch):
        """A prediction of 0 shows the tube's mean colour; the exact target shows the tube itself."""
        module, batch = VideoMAE(**CLIP, mask_ratio=0.5), moving_gradients(2)
        _, idx_mask = module.mask(batch["index"], batch["epoch"])
        tubes = gather_tokens(patchify(batch["video"], 16, 2), idx_mask)

        monkeypatch.setattr(module.model, "forward", lambda *_: normalized_target(tubes))
        made = module.reconstruct(batch["video"], batch["index"], batch["epoch"]).reconstruction
        assert torch.equal(made, batch["video"])

        monkeypatch.setattr(module.model, "forward", lambda *_: torch.zeros(tubes.shape))
        made = module.reconstruct(batch["video"], batch["index"], batch["epoch"]).reconstruction
        mean = tubes.view(2, -1, 512, 3).float().mean(2, keepdim=True).round().expand(-1, -1, 512, -1).flatten(2)
        assert (gather_tokens(patchify(made, 16, 2), idx_mask).float() - mean).abs().max() <= 1

    def test_leaves_no_gradient(self):
        module, batch = VideoMAE(**CLIP), moving_gradients(1)
        module.reconstruct(batch["video"], batch["index"], batch["epoch"])
        assert all(p.grad is None for p in module.parameters())
