from dataclasses import replace

import numpy as np
import pytest
import torch

from vsr.analysis.motion import MOTION
from vsr.analysis.sources import CLIP, Folder, Rendered
from vsr.errors import InputError
from vsr.recipe import load_recipe
from vsr.render import render_video

SMALL = replace(load_recipe("acc_shapes"), size=64)


def together(source, videos, frames, clips=True):
    samples = list(source.samples(videos, frames, clips))
    return [f for s in samples for f in s.frames], [c for s in samples for c in s.clips], sum(s.short for s in samples)


class TestRendered:
    def test_shows_frames_and_clips_of_the_videos(self):
        frames, clips, short = together(Rendered(SMALL, 3), 18, 4)
        assert (len(frames), len(clips), short) == (18, 18, 0)
        for number in (0, 17):
            whole = render_video(SMALL, 3, number, size=64).permute(3, 0, 1, 2)
            same = [(whole.transpose(0, 1) == frame).flatten(1).all(dim=1).nonzero() for frame in frames[number]]
            assert np.diff([int(place[0]) for place in same]).tolist() == [25, 25, 25]
            starts = range(whole.shape[1] - CLIP + 1)
            assert any(torch.equal(whole[:, start : start + CLIP], clips[number]) for start in starts)

    def test_knows_motion_where_there_are_objects(self):
        (sample,) = Rendered(SMALL, 0).samples(2, 1, False)
        assert sample.motion.shape == (2, len(MOTION))
        assert sample.clips == []
        bare = replace(SMALL, num_objects=0, background="color")
        assert next(Rendered(bare, 0).samples(2, 1, False)).motion is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_videos": 3}, r"'acc_shapes' has 3 videos, 4 were asked for: give --videos 3"),
            ({"duration": (5, 9)}, r"videos of 5 frames, too few for 6 each: give --frames 5"),
            ({"size": 48}, r"frames of 48 x 48 px: statistics need 64 or more"),
        ],
    )
    def test_refuses(self, changes, message):
        with pytest.raises(InputError, match=message):
            list(Rendered(replace(SMALL, **changes), 0).samples(4, 6, False))


class TestFolder:
    def test_reads_whatever_is_there(self, films):
        source = Folder(films, 0)
        frames, clips, short = together(source, 6, 3)
        assert (len(frames), len(clips), short) == (6, 5, 1)
        assert sorted(tuple(f.shape) for f in frames) == [(3, 3, 80, 80)] * 5 + [(3, 3, 256, 256)]
        assert sorted({tuple(c.shape) for c in clips}) == [(3, CLIP, 80, 96), (3, CLIP, 300, 400)]

    def test_frames_are_spread_and_clips_are_not(self, films):
        source = Folder(films, 5)
        for number, path in enumerate(source.files):
            if path.name in ("large.mp4", "short.mkv"):
                continue
            shown, clip = source._read(number, 4, True)
            assert [n // 6 for n in shown[:, 0, 40, 40].tolist()] == [0, 1, 2, 3]
            assert np.diff(clip[0, :, 40, 48].int()).tolist() == [1] * (CLIP - 1)

    def test_what_is_hidden_and_what_is_no_file_is_left_out(self, tmp_path):
        for name in ("films/.trash/a.mp4", "films/.b.mp4", "films/c.mp4"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "films" / "d.mp4").mkdir()
        assert Folder(tmp_path / "films", 0).files == [tmp_path / "films" / "c.mp4"]

    def test_a_choice_follows_from_the_seed(self, films):
        def first(seed):
            return together(Folder(films, seed), 3, 2)

        assert all(torch.equal(a, b) for a, b in zip(first(1)[0], first(1)[0], strict=True))
        chosen = {seed: [f.float().mean().item() for f in first(seed)[0]] for seed in range(4)}
        assert len({tuple(means) for means in chosen.values()}) == 4

    def test_refuses(self, films, tmp_path, write, numbered):
        with pytest.raises(InputError, match=r"nothing: no such folder"):
            Folder(tmp_path / "nothing", 0)
        (tmp_path / "notes.txt").touch()
        with pytest.raises(InputError, match=r"has no videos: give a folder with files that end in .*\.mp4"):
            Folder(tmp_path, 0)
        with pytest.raises(InputError, match=r"has 6 videos, 7 were asked for: give --videos 6"):
            list(Folder(films, 0).samples(7, 1, False))
        with pytest.raises(InputError, match=r"short\.mkv has 9 frames, 10 were asked for: give --frames 9"):
            list(Folder(films, 0).samples(6, 10, False))
        write(tmp_path / "tiny.mp4", numbered(4, 32, 100))
        with pytest.raises(InputError, match=r"tiny\.mp4 has frames of 100 x 32 px: statistics need 64 or more"):
            list(Folder(tmp_path, 0).samples(1, 2, False))
