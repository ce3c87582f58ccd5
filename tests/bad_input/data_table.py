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
    Case("render acc_images", "?"),
    _images("?", "nowhere"),
    _images("?", "videos"),
    _images("?", "lists/classInd.txt"),
    _images("?", "a.png", a__png=lambda folder: png()),
    _images("?", "a.zip", a__zip=lambda folder: zipped(a=png())),
    _images("?", "a.tar", a__tar=b""),
    _images("?", "a.tar", a__tar=b"no tar" * 100),
    _images("?", "a.tar", a__tar=lambda folder: gzipped(tar(a__png=png()))),
    _images("?", "a.tar.gz", a__tar__gz=lambda folder: gzipped(tar(a__png=png()))),
    _images("?", "a.tar", a__tar=lambda folder: cut(0.3)(tar(a__png=png(), b__png=png()))),
    _images("?", "a.tar", a__tar=lambda folder: tar(a__txt=b"x")),
    Case(f"{_RENDER} mine", "?", {"mine/.hidden.png": b""}),
    Case(f"{_RENDER} mine", "?", {"mine/a.png": b"", "mine/b.png": b"x"}),
    Case(f"{_RENDER} mine", "?", {"mine/a.png": b"%!PS-Adobe", "mine/b.png": lambda folder: png()[:60]}),
    Case("render acc_textures --max_textures 0", "?"),
    Case("render acc_textures --max_textures many", "?"),
    Case("render acc_textures --texture_size 100", "?"),
    Case("render acc_textures --texture_size -64", "?"),
    Case("render acc_stylegan --texture_size 512", "?"),
    Case("render acc_dynamic_stylegan --texture_frames 0", "?"),
    Case("render acc_textures --max_textures 2 --size 32 --texture_cache lists/classInd.txt", "?"),
    Case("fit --config configs/pretrain/acc_images.yaml", "?"),
    Case("fit --config configs/pretrain/acc_textures.yaml --texture_size 100", "?"),
    Case("textures statistical", "?"),
    Case("textures --count 2", "?"),
    Case("textures orient --count 2", "?"),
    Case("textures statistical --count 0", "?"),
    Case("textures statistical --count two", "?"),
    Case("textures statistical --count 5000000000", "?"),
    Case("textures statistical --count 2 --size 100", "?"),
    Case("textures oriented --count 2 --size 512", "?"),
    Case("textures statistical --count 2 --seed -1 --size 64", "?"),
    Case("textures statistical --count 2 --out textures --size 64", "?"),
    Case("textures statistical --count 2 --out lists/classInd.txt --size 64", "?"),
]
