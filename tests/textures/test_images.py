import json
import logging
import os
import re
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from vsr import rng
from vsr.errors import InputError
from vsr.textures.images import ImagePool

SIZE = 16


def picture(seed, width=40, height=30, mode="RGB"):
    """Smooth blobs of colour with a little noise."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = (pixels + draw.integers(-4, 5, pixels.shape)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert(mode)


def fill(folder, count=12):
    """Images in two classes, of two kinds, and things that are none."""
    for k in range(count):
        file = folder / f"class{k % 2}" / f"{k:03}{('.png', '.JPEG')[k % 3 == 0]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(k, 30 + k, 50 - k).save(file, quality=90)
    (folder / "class0" / "._000.png").write_bytes(b"resource fork")
    (folder / "class0" / ".DS_Store").write_bytes(b"")
    (folder / "class0" / "labels.txt").write_text("0\n")
    (folder / ".thumbnails").mkdir()
    picture(99).save(folder / ".thumbnails" / "small.png")
    return folder


def pack(tar, folder, names=None):
    with tarfile.open(tar, "w") as archive:
        for file in sorted(names or [str(p.relative_to(folder)) for p in folder.rglob("*")]):
            archive.add(folder / file, arcname=f"./{file}", recursive=False)
    return tar


def by_pil(file, size=SIZE):
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def everything(pool, size=SIZE):
    return pool.read(torch.arange(len(pool)), size)


def bomb(file, width, height):
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b""))


def test_textures_are_pils_in_a_drawn_order(tmp_path):
    files = sorted(p for p in fill(tmp_path).glob("class*/*") if p.suffix in (".png", ".JPEG") and p.name[0] != ".")
    pool = ImagePool(tmp_path, seed=3)
    assert len(pool) == len(files) == 12
    order = rng.permutation(3, 0, 12, rng.Stream.TEXTURE_ORDER).tolist()
    assert order != sorted(order) != rng.permutation(3, 0, 12).tolist()
    textures = everything(pool)
    assert textures.shape == (12, 3, SIZE, SIZE)
    assert textures.dtype == torch.uint8
    for k, position in enumerate(order):
        assert torch.equal(textures[k], by_pil(files[position]))
    some = torch.tensor([7, 0, 7])
    assert torch.equal(pool.read(some, SIZE), textures[some])
    assert not torch.equal(everything(ImagePool(tmp_path, seed=4)), textures)
    assert pool.read(some[:0], SIZE).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("side", [640, 643])
def test_large_jpegs_are_decoded_at_a_lower_resolution_without_showing(tmp_path, side):
    picture(0, side + 90, side).save(tmp_path / "a.jpg", quality=90)
    texture = ImagePool(tmp_path).read(torch.tensor([0]), 64)[0]
    difference = (texture.int() - by_pil(tmp_path / "a.jpg", 64).int()).abs()
    assert 0 < difference.max() <= 3
    assert difference.float().mean() < 0.5


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_images_are_turned_as_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(0, 643, 511).save(tmp_path / "a.jpg", exif=exif)
    texture = ImagePool(tmp_path).read(torch.tensor([0]), SIZE)[0]
    assert torch.equal(texture, by_pil(tmp_path / "a.jpg"))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture(0, mode=mode).save(file)
    assert torch.equal(ImagePool(tmp_path).read(torch.tensor([0]), SIZE)[0], by_pil(file))


def test_an_archive_is_its_folder(tmp_path):
    loose = ImagePool(fill(tmp_path / "loose"), seed=5)
    packed = ImagePool(pack(tmp_path / "images.tar", tmp_path / "loose"), seed=5)
    assert torch.equal(everything(packed), everything(loose))
    assert packed.manifest() == {**loose.manifest(), "source": str(tmp_path / "images.tar")}
    with tarfile.open(tmp_path / "backwards.tar", "w") as archive:
        for name in reversed(packed._parts[0].names):
            archive.add(tmp_path / "loose" / name, name)
    assert ImagePool(tmp_path / "backwards.tar").manifest()["hash"] == loose.manifest()["hash"]
    (tmp_path / "shards").mkdir()
    names = loose._parts[0].names
    for shard in range(3):
        pack(tmp_path / "shards" / f"{shard}.tar", tmp_path / "loose", names[4 * shard : 4 * shard + 4])
    assert torch.equal(everything(ImagePool(tmp_path / "shards", seed=5)), everything(loose))
    # archives in an archive, as ImageNet comes
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(tmp_path / "shards", "train")
    assert torch.equal(everything(ImagePool(tmp_path / "all.tar", seed=5)), everything(loose))


def test_loose_images_and_archives_are_one_pool(tmp_path):
    inside = fill(tmp_path / "inside", 4)
    place = tmp_path / "place"
    (place / "sub").mkdir(parents=True)
    pack(place / "a.tar", inside)
    pack(place / "sub" / "b.tar", inside)
    picture(50).save(place / "z.png")
    pool = ImagePool(place)
    assert len(pool) == 9
    order = rng.permutation(0, 0, 9, rng.Stream.TEXTURE_ORDER).tolist()
    files = [place / "z.png", *2 * sorted(inside.glob("class*/0*"))]
    assert torch.equal(everything(pool), torch.stack([by_pil(files[k]) for k in order]))


def test_long_names_links_and_devices_in_archives(tmp_path):
    picture(0).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "images.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("dev.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        archive.add(tmp_path / "a.png", f"{'long' * 50}/ü.png")
    pool = ImagePool(tmp_path / "images.tar")
    assert len(pool) == 1
    assert torch.equal(everything(pool)[0], by_pil(tmp_path / "a.png"))


def test_linked_folders_are_read_once(tmp_path):
    fill(tmp_path / "elsewhere", 3)
    (tmp_path / "place").mkdir()
    for name in ("one", "two"):
        (tmp_path / "place" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "place")
    (tmp_path / "elsewhere" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    pool = ImagePool(tmp_path / "place")
    assert pool._parts[0].names == ["one/class0/000.JPEG", "one/class0/002.png", "one/class1/001.png"]


def test_the_manifest_is_plain_and_notices_changes(tmp_path):
    fill(tmp_path)
    before = ImagePool(tmp_path).manifest()
    assert json.loads(json.dumps(before)) == before
    digest = before.pop("hash")
    assert before == {"source": str(tmp_path), "count": 12, "licence": None, "unreadable": 0}
    assert len(digest) == 64
    assert ImagePool(tmp_path, seed=1).manifest()["hash"] == digest
    picture(0).save(tmp_path / "Copying.png")  # an image and no licence
    with tarfile.open(tmp_path / "Copying.tar", "w"):
        pass
    (tmp_path / "Licence.txt").write_text("\n   CC BY 4.0\nterms\n")
    after = ImagePool(tmp_path).manifest()
    assert (after["licence"], after["count"]) == ("CC BY 4.0", 13)
    assert after["hash"] != digest
    (tmp_path / "Copying.png").unlink()
    again = ImagePool(tmp_path)
    assert again.manifest()["hash"] == digest
    file = next(tmp_path.glob("class1/*.png"))
    file.write_bytes(file.read_bytes() + b"0")
    assert ImagePool(tmp_path).manifest()["hash"] != digest


class Textures(torch.utils.data.Dataset):
    def __init__(self, pool):
        self.pool = pool

    def __len__(self):
        return len(self.pool)

    def __getitem__(self, k):
        return self.pool.read(torch.tensor([k]), SIZE)[0], os.getpid()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_reads_in_other_processes_and_writes_no_file(tmp_path, start, monkeypatch):
    fill(tmp_path / "loose")
    pack(tmp_path / "loose" / "images.tar", tmp_path / "loose" / "class1")
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))  # the workers' own queues may lie there, in pymp-...
    pool = ImagePool(tmp_path / "loose")
    assert len(pool) == 18
    here = everything(pool)  # its threads have come and gone before the fork
    loader = DataLoader(
        Textures(pool), batch_size=6, num_workers=2 if start == "fork" else 1, multiprocessing_context=start
    )
    batches = list(loader)
    assert torch.equal(torch.cat([textures for textures, _ in batches]), here)
    assert os.getpid() not in torch.cat([pid for _, pid in batches])
    pool.manifest()
    assert {p: p.stat().st_mtime_ns for p in files} == files
    assert {p for p in tmp_path.rglob("*") if not p.name.startswith("pymp-")} == {*files, tmp_path / "tmp"}


def spoil(file, how):
    data = file.read_bytes()
    if how == "empty":
        file.write_bytes(b"")
    elif how == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif how == "no image":
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 20)
    elif how == "no EXIF":
        file.write_bytes(data[:2] + b"\xff\xe1\x00\x10Exif\x00\x00garbage!" + b"\xff\xd8" * 40)
    else:
        bomb(file, 60000, 60000)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("how", ["empty", "cut", "no image", "no EXIF", "bomb"])
def test_the_next_stands_in_for_an_unreadable_image(tmp_path, caplog, how, packed):
    files = sorted(fill(tmp_path / "loose").glob("class*/0*"))
    order = rng.permutation(0, 0, 12, rng.Stream.TEXTURE_ORDER).tolist()
    spoiled = files[order[11]]
    spoil(spoiled, how)
    pool = ImagePool(pack(tmp_path / "a.tar", tmp_path / "loose") if packed else tmp_path / "loose")
    expected = [by_pil(files[k]) for k in order[:11]]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            textures = pool.read(torch.tensor([*range(12), 11, 11, 11]), SIZE)
            assert torch.equal(textures, torch.stack([*expected, *4 * [expected[0]]]))
    assert pool.manifest()["unreadable"] == 1
    [record] = [r for r in caplog.records if r.name == "vsr.textures.images"]
    name = spoiled.relative_to(tmp_path / "loose").as_posix()
    assert repr(name) in record.getMessage()
    assert "0x" not in record.getMessage()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_pil_only_warns_of_is_a_bomb(tmp_path, monkeypatch, caplog):
    picture(0, 8, 6).save(tmp_path / "small.png")
    picture(1, 40, 30).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    textures = everything(ImagePool(tmp_path))
    assert torch.equal(textures, by_pil(tmp_path / "small.png").expand(2, -1, -1, -1))
    assert "'large.png' can't be read (40 x 30 pixels are an image bomb" in caplog.text


def test_a_pool_with_too_many_unreadable_images_is_refused(tmp_path):
    for k in range(250):
        picture(k, 8, 6).save(tmp_path / f"{k:03}.png")
    for k in (30, 31, 200):
        (tmp_path / f"{k}.png".rjust(7, "0")).write_bytes(b"" if k == 30 else b"nonsense")
    pool = ImagePool(tmp_path)
    with pytest.raises(InputError, match=r"3 of the 250 images of .* can't be read: .*at most 2 may be so$") as error:
        everything(pool)
    message = str(error.value)
    assert "\n" not in message
    for part in ("'030.png' (the file is empty)", "'031.png' (no BMP", "'200.png'", "remove or replace"):
        assert part in message
    with pytest.raises(InputError, match="3 of the 250"):
        everything(pool)
    picture(0).save(tmp_path / "200.png")
    assert len(everything(ImagePool(tmp_path))) == 250
    for file in tmp_path.glob("*.png"):
        file.write_bytes(b"")
    for place in (tmp_path, pack(tmp_path / "one.tar", tmp_path, ["000.png"])):
        with pytest.raises(InputError, match="can't be read"):
            ImagePool(place).read(torch.tensor([0]), SIZE)


@pytest.mark.parametrize("first", [0, 1])
def test_a_refusal_names_images_in_the_order_of_the_folder(tmp_path, first):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    pool = ImagePool(tmp_path)
    with pytest.raises(InputError, match=r"2 of the 2 images .*'a\.png' .*'b\.png' "):
        pool.read(torch.tensor([first]), SIZE)  # meets the other one next


def test_numbers_outside_the_pool_are_refused(tmp_path):
    fill(tmp_path, 3)
    for k in (3, -1):
        with pytest.raises(InputError, match=rf"texture {k} is outside .*has 3 images: set texture_pool to 3"):
            ImagePool(tmp_path).read(torch.tensor([0, k]), SIZE)


def refused(place):
    with pytest.raises(InputError) as error:
        ImagePool(place)
    assert "\n" not in str(error.value)
    assert str(place) in str(error.value)
    return str(error.value)


def test_places_without_images_are_refused(tmp_path):
    assert "does not exist: give a folder" in refused(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no image")
    assert "no image in texture folder" in refused(tmp_path)
    assert "neither a folder nor a .tar archive" in refused(tmp_path / "notes.txt")
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    assert "no image in texture folder" in refused(tmp_path / "none.tar")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")  # root may read everything but this
    assert re.search(r"can't read .*loop.*: make it readable", refused(tmp_path))


def test_truncated_archives_are_refused_wherever_they_are_cut(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        picture(k).save(folder / f"{k}.png")
    data = pack(tmp_path / "whole.tar", folder).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        third = archive.getmembers()[2]
    end = -(-(third.offset_data + third.size) // 512) * 512
    cut = tmp_path / "cut.tar"
    for length, last in (
        (third.offset, "./1.png"),  # between two members
        (third.offset + 100, "./1.png"),  # in a header
        (third.offset_data, "./1.png"),
        (third.offset_data + 700, "./1.png"),  # in an image
        (end, "./2.png"),  # before the end mark
        (end + 100, "./2.png"),
    ):
        cut.write_bytes(data[:length])
        message = refused(cut)
        assert f"truncated or damaged after {last!r}, the last readable member: get it again" in message
    damaged = bytearray(data)
    damaged[third.offset + 150] ^= 255  # its checksum
    cut.write_bytes(damaged)
    assert "damaged after './1.png'" in refused(cut)
    cut.write_bytes(data[: end + 512])
    assert len(ImagePool(cut)) == 3
    for content in (b"", data[:300], data[:600], b"nonsense" * 200):
        cut.write_bytes(content)
        assert "is no tar archive, or damaged in its first member" in refused(cut)
    # and inside another archive
    cut.write_bytes(data[: third.offset])
    with tarfile.open(tmp_path / "outer.tar", "w") as archive:
        archive.add(cut, "inner/cut.tar")
    assert f"{tmp_path / 'outer.tar'}/inner/cut.tar is truncated" in refused(tmp_path / "outer.tar")


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/etc/a.png", "..", "C:\\a.png", "x\\..\\..\\a.png"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name, kind):
    picture(0).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a..b/..c.png")
        member = tarfile.TarInfo(name)
        member.type = kind
        archive.addfile(member)
    assert f"member named {name!r}" in refused(tmp_path / "bad.tar")


def test_negative_sizes_do_not_go_round_in_circles(tmp_path):
    (tmp_path / "zeros").write_bytes(bytes(512))
    member = tarfile.TarInfo("b.png")
    member.size = -1024  # the next header is then where the zeros are, which look like the archive's end
    header = member.tobuf(tarfile.GNU_FORMAT)
    data = pack(tmp_path / "a.tar", tmp_path, ["zeros"]).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        archive.getmembers()
        end = archive.offset
    (tmp_path / "a.tar").write_bytes(data[:end] + header + data[end:])
    assert "damaged after './zeros'" in refused(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar", "w:xz")]
)
def test_compressed_archives_are_refused_with_the_remedy(tmp_path, name, mode):
    picture(0).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / name, mode) as archive:
        archive.add(tmp_path / "a.png", "a.png")
    for place in (tmp_path, tmp_path / name):
        assert "is compressed" in refused(place)
    assert "gunzip" in refused(tmp_path / name)


def test_what_the_system_refuses_is_named(tmp_path):
    pool = ImagePool(fill(tmp_path / "loose"))
    next((tmp_path / "loose").glob("class0/0*")).unlink()
    with pytest.raises(InputError, match=r"can't read .*class0.*: make it readable"):
        pool.manifest()
    archive = pack(tmp_path / "a.tar", tmp_path / "loose")
    pool = ImagePool(archive)
    archive.unlink()
    with pytest.raises(InputError, match="No such file"):
        everything(pool)


def test_sixteen_bits_are_shown_by_their_upper_eight(tmp_path):
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    shown = ImagePool(tmp_path).read(torch.tensor([0]), 64)[0]
    assert np.array_equal(shown[0].numpy(), grey >> 8)
