"""Lists, videos and textures."""

from given import TINY, Case, cut, gzipped, of, png, sound, tar, video, zipped

_UCF = "check-data configs/finetune/ucf101.yaml --videos videos --lists lists"
_HMDB = "check-data configs/finetune/hmdb51.yaml --videos videos --lists lists"
_CSV = "check-data configs/finetune/kinetics400.yaml --videos videos --lists lists"
_FOLDERS = "check-data configs/finetune/folders.yaml --videos folders"
_FIT = f"fit --config configs/finetune/ucf101.yaml {TINY} --data.videos videos --data.lists lists --data.num_workers 0"
_MANIFEST = f"fit --config configs/finetune/folders.yaml {TINY} --data.videos folders --data.manifest m.csv"


def _ucf(file: str, text: str | bytes, said: str) -> Case:
    return Case(_UCF, said, {f"lists/{file}": text})


def _hmdb(text: str, said: str, file: str = "Run_test_split1.txt") -> Case:
    return Case(_HMDB, said, {f"lists/{file}": text})


def _csv(text: str, said: str, file: str = "train.csv") -> Case:
    return Case(_CSV, said, {f"lists/{file}": text})


LISTS = [
    _ucf("classInd.txt", "", "?"),
    _ucf("classInd.txt", "2 Jump\n1 Run", "?"),
    _ucf("classInd.txt", "1 Jump\n3 Run", "?"),
    _ucf("classInd.txt", "Jump\nRun", "?"),
    _ucf("classInd.txt", "1 Jump\n2 jump", "?"),
    _ucf("classInd.txt", b"\x00\xff", "?"),
    _ucf("trainlist01.txt", "\n\n", "?"),
    _ucf("trainlist01.txt", "Jump/v_Jump_0.avi", "?"),
    _ucf("trainlist01.txt", "Jmup/v_Jump_0.avi 1", "?"),
    _ucf("trainlist01.txt", "Jump/v_Jump_0.avi 2", "?"),
    _ucf("trainlist01.txt", f"Jump/v_Jump_0.avi {'9' * 5000}", "?"),
    _ucf("trainlist01.txt", "v_Jump_0.avi 1", "?"),
    _ucf("trainlist01.txt", "/Jump/v_Jump_0.avi 1", "?"),
    _ucf("trainlist01.txt", b"\xff\xfe\x00\x01", "?"),
    _ucf("testlist01.txt", "", "?"),
    _ucf("testlist01.txt", "Walk/v.avi", "?"),
    Case(f"{_UCF} --split 4", "?"),
    Case(f"{_UCF} --split -1", "?"),
    Case(f"{_UCF} --split one", "?"),
    Case(f"{_UCF} --lists nowhere", "?"),
    Case(f"{_UCF} --lists textures", "?"),
    Case(f"{_UCF} --videos nowhere", "?"),
    Case(f"{_UCF} --videos lists/classInd.txt", "?"),
    Case(_FIT, "?", {"lists/trainlist01.txt": "Jump/v_Jump_9.avi 1"}),
    Case(_FIT, "?", {"lists/trainlist01.txt": "Jump/../../../etc/passwd 1"}),
    Case(f"{_FIT} --data.layout ucf", "?"),
    _hmdb("", "?"),
    _hmdb("v_Run_0.avi", "?"),
    _hmdb("v_Run_0.avi 3", "?"),
    _hmdb("v_Run_0.avi 1", "?", "run_test_split1.txt"),
    Case(f"{_HMDB} --split 2", "?"),
    Case(f"{_HMDB} --split 2", "?", {"lists/Run_test_split2.txt": "v_Run_0.avi 1"}),
    _csv("", "?"),
    _csv("path,label\nRun/v_Run_0.avi,0", "?"),
    _csv("Run/v_Run_0.avi -1", "?"),
    _csv("Run/v_Run_0.avi 1.5", "?"),
    _csv("Run/v_Run_0.avi ²", "?"),
    _csv("Run/v_Run_0.avi 1000000000", "?"),
    _csv(f"Run/v_Run_0.avi {'9' * 5000}", "?"),
    _csv("Jump", "?", "classes.txt"),
    _csv("Jump\njump", "?", "classes.txt"),
    _csv("Jump\nJump", "?", "classes.txt"),
    Case(f"{_CSV} --lists textures", "?"),
    Case(f"{_CSV} --split 2", "?"),
    Case(_FOLDERS, "?", {"folders/test/Walk/v.avi": b""}),
    Case(_FOLDERS, "?", {"folders/train/run/v.avi": b""}),
    Case(f"{_FOLDERS} --videos videos", "?"),
    Case(f"{_FOLDERS} --lists lists", "?"),
    Case(f"{_FOLDERS} --videos mine", "?", {"mine/train/A/.a": b"", "mine/train/B/.b": b""}),
    Case(_MANIFEST, "?"),
    Case(_MANIFEST, "?", {"m.csv": "a,b\n"}),
    Case(_MANIFEST, "?", {"m.csv": ""}),
    Case(_MANIFEST, "?", {"m.csv": '"' + "a" * 200_000}),
    Case(_MANIFEST, "?", {"m.csv": "train/Jump/v_Jump_0.avi,13462,-5,24,32,25.0,0.8,train,\n"}),
    Case(f"{_UCF} --out lists/classInd.txt", "?"),
    Case(f"{_UCF} --out lists", "?"),
    Case(f"{_UCF} --out lists/classInd.txt/m.csv", "?"),
    Case(f"{_UCF} --num_workers 0", "?"),
]

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"
_SOUND = of("videos/Jump/v_Jump_0.avi", bytes)
_CUT = of("videos/Jump/v_Jump_0.avi", cut(0.5))
_KEYS = "visualize made/pretrained.ckpt --videos a.avi --shown 1 --pca_videos 1"
_TEST = (
    f"test --config configs/finetune/folders.yaml {TINY} --data.videos folders --data.num_workers 0 --data.stride 2 "
    "--data.test_segments 1 --model.checkpoint made/classifier.ckpt"
)


def _sheet(content: object, said: str) -> Case:
    return Case("corrupt a.avi sheet.png --perturbations jpeg --severities 1", said, {"a.avi": content})


VIDEOS = [
    _sheet(b"", "?"),
    _sheet(b"no video", "?"),
    _sheet(_LFS, "?"),
    _sheet(bytes(20_000), "?"),
    _sheet(_CUT, "?"),
    _sheet(of("videos/Jump/v_Jump_0.avi", lambda content: content[1000:]), "?"),
    _sheet(lambda folder: sound(), "?"),
    _sheet(lambda folder: cut(0.5)(video("libx264", "mp4")), "?"),
    _sheet(lambda folder: tar(a__avi=b"x"), "?"),
    Case("corrupt folder.avi sheet.png", "?", {"folder.avi/inside": b""}),
    Case(_KEYS, "?", {"a.avi": b""}),
    Case(_KEYS, "?", {"a.avi": _CUT}),
    Case(_KEYS, "?", {"a.avi": lambda folder: video(frames=1)}),
    Case(f"{_KEYS} --what reconstructions", "?", {"a.avi": b"no video"}),
    Case("visualize made/pretrained.ckpt --videos nowhere", "?"),
    Case("visualize made/pretrained.ckpt --videos textures", "?"),
    Case("analyze mine --videos 2", "?", {"mine/a.avi": b"", "mine/b.avi": _SOUND}),
    Case("analyze mine --videos 2", "?", {"mine/a.avi": _CUT, "mine/b.avi": _SOUND}),
    Case("analyze mine --videos 3", "?", {"mine/a.avi": _SOUND, "mine/b.avi": _SOUND}),
    Case("analyze mine --videos 2 --frames 30", "?", {"mine/a.avi": _SOUND, "mine/b.avi": _SOUND}),
    Case("analyze mine --videos 2", "?", {"mine/a.avi": _SOUND, "mine/b.avi": lambda folder: video(height=2, width=2)}),
    Case(_TEST, "?", {"folders/test/Jump/v_Jump_4.avi": _CUT}),
    Case(_FIT, "?", {"videos/Jump/v_Jump_0.avi": b"", "videos/Jump/v_Jump_1.avi": b""}),
]

_RENDER = "render acc_images --size 32 --out a.png --texture_folder"


def _images(said: str, place: str = "mine", **files: object) -> Case:
    return Case(f"{_RENDER} {place}", said, {name.replace("__", "."): content for name, content in files.items()})


TEXTURES = [
    Case(
        "render acc_images",
        "recipe 'acc_images': texture_source 'images' needs images: give texture_folder, a folder of them (vsr fit: --texture_folder; vsr render: --texture_folder)",
    ),
    _images(
        "texture folder nowhere does not exist: give a folder of images or .tar archives, or one .tar archive",
        "nowhere",
    ),
    _images("no image in texture folder videos: it needs files such as .png or .jpg, or .tar archives", "videos"),
    _images(
        "texture folder lists/classInd.txt is neither a folder nor a .tar archive: give a folder of images or .tar archives, or one .tar archive",
        "lists/classInd.txt",
    ),
    _images(
        "texture folder a.png is neither a folder nor a .tar archive: give a folder of images or .tar archives, or one .tar archive",
        "a.png",
        a__png=lambda folder: png(),
    ),
    _images(
        "texture folder a.zip is neither a folder nor a .tar archive: give a folder of images or .tar archives, or one .tar archive",
        "a.zip",
        a__zip=lambda folder: zipped(a=png()),
    ),
    _images("a.tar is no tar archive, or damaged in its first member (empty file): get it again", "a.tar", a__tar=b""),
    _images(
        "a.tar is no tar archive, or damaged in its first member (invalid header): get it again",
        "a.tar",
        a__tar=b"no tar" * 100,
    ),
    _images(
        "archive a.tar is compressed, so its images can't be read where they stand: decompress it (gunzip, bunzip2, unxz, unzstd) and give the .tar",
        "a.tar",
        a__tar=lambda folder: gzipped(tar(a__png=png())),
    ),
    _images(
        "archive a.tar.gz is compressed, so its images can't be read where they stand: decompress it (gunzip, bunzip2, unxz, unzstd) and give the .tar",
        "a.tar.gz",
        a__tar__gz=lambda folder: gzipped(tar(a__png=png())),
    ),
    _images(
        "a.tar is no tar archive, or damaged in its first member (its end is missing): get it again",
        "a.tar",
        a__tar=lambda folder: cut(0.3)(tar(a__png=png(), b__png=png())),
    ),
    _images(
        "no image in texture folder a.tar: it needs files such as .png or .jpg, or .tar archives",
        "a.tar",
        a__tar=lambda folder: tar(a__txt=b"x"),
    ),
    Case(
        f"{_RENDER} mine",
        "no image in texture folder mine: it needs files such as .png or .jpg, or .tar archives",
        {"mine/.hidden.png": b""},
    ),
    Case(
        f"{_RENDER} mine",
        "2 of the 2 images of mine can't be read: 'a.png' (the file is empty), 'b.png' (no BMP, GIF, JPEG, PNG, TIFF, WEBP); remove or replace them, at most 1 may be so",
        {"mine/a.png": b"", "mine/b.png": b"x"},
    ),
    Case(
        f"{_RENDER} mine",
        "2 of the 2 images of mine can't be read: 'a.png' (the file is empty), 'b.png' (no BMP, GIF, JPEG, PNG, TIFF, WEBP); remove or replace them, at most 1 may be so",
        {"mine/a.png": b"%!PS-Adobe", "mine/b.png": lambda folder: png()[:60]},
    ),
    Case("render acc_textures --max_textures 0", "recipe 'acc_textures': texture_pool 0 is too small: give 1 or more"),
    Case(
        "render acc_textures --max_textures many",
        "max_textures many is not a whole number or null (see vsr render --help)",
    ),
    Case("render acc_textures --texture_size 100", "texture size 100 is not possible: use 64, 128, 256, 512 pixels"),
    Case(
        "render acc_textures --texture_size -64", "recipe 'acc_textures': texture_size -64 is too small: give 1 or more"
    ),
    Case(
        "render acc_stylegan --texture_size 512",
        "texture size 512 is not possible: StyleGAN textures have 1 to 256 pixels a side",
    ),
    Case(
        "render acc_dynamic_stylegan --texture_frames 0",
        "recipe 'acc_dynamic_stylegan': texture_frames 0 is too small: give 1 or more",
    ),
    Case(
        "render acc_textures --max_textures 2 --size 32 --texture_cache lists/classInd.txt",
        "texture cache lists/classInd.txt can't be used ([Errno 20] Not a directory: '…'): give another folder, or none",
    ),
    Case(
        "fit --config configs/pretrain/acc_images.yaml",
        "recipe 'acc_images': texture_source 'images' needs images: give texture_folder, a folder of them (vsr fit: --texture_folder; vsr render: --texture_folder)",
    ),
    Case(
        "fit --config configs/pretrain/acc_textures.yaml --texture_size 100",
        "texture size 100 is not possible: use 64, 128, 256, 512 pixels",
    ),
    Case("textures statistical", "how many textures? Give --count, such as 300000 for the paper's pool"),
    Case("textures --count 2", "the following arguments are required: generator (see vsr textures --help)"),
    Case(
        "textures orient --count 2",
        "generator orient is not in statistical, oriented, high_freq; did you mean 'oriented'? (see vsr textures --help)",
    ),
    Case("textures statistical --count 0", "count 0 makes nothing: set --count to 1 or more"),
    Case("textures statistical --count two", "count two is not a whole number or null (see vsr textures --help)"),
    Case(
        "textures statistical --count 5000000000",
        "items 0 .. 4999999999 are not possible: numbers go from 0 to 4294967295",
    ),
    Case("textures statistical --count 2 --size 100", "texture size 100 is not possible: use 64, 128, 256, 512 pixels"),
    Case(
        "textures oriented --count 2 --size 512",
        "texture size 512 is not possible: StyleGAN textures have 1 to 256 pixels a side",
    ),
    Case("textures statistical --count 2 --seed -1 --size 64", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
    Case(
        "textures statistical --count 2 --out textures --size 64",
        "textures holds 0.png and no manifest.jsonl: give --out a new or an empty folder",
    ),
    Case(
        "textures statistical --count 2 --out lists/classInd.txt --size 64",
        "can't write lists/classInd.txt (File exists): give another --out",
    ),
]
