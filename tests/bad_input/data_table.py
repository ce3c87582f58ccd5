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
    _ucf(
        "classInd.txt", "", "lists/trainlist01.txt, line 1: class 'Jump' is not in lists/classInd.txt: correct either"
    ),
    _ucf(
        "classInd.txt",
        "2 Jump\n1 Run",
        "lists/classInd.txt, line 1: '2 Jump' is not '1 Name': number the classes from 1",
    ),
    _ucf(
        "classInd.txt",
        "1 Jump\n3 Run",
        "lists/classInd.txt, line 2: '3 Run' is not '2 Name': number the classes from 1",
    ),
    _ucf("classInd.txt", "Jump\nRun", "lists/classInd.txt, line 1: 'Jump' is not '1 Name': number the classes from 1"),
    _ucf("classInd.txt", "1 Jump\n2 jump", "lists/classInd.txt: names a class twice: correct the index"),
    _ucf(
        "classInd.txt",
        b"\x00\xff",
        "lists/classInd.txt, line 1: '\\x00\\udcff' is not '1 Name': number the classes from 1",
    ),
    _ucf("trainlist01.txt", "\n\n", "lists: the train list of split 1 is empty: check it and the layout (ucf101)"),
    _ucf(
        "trainlist01.txt",
        "Jump/v_Jump_0.avi",
        "lists/trainlist01.txt, line 1: 'Jump/v_Jump_0.avi' is not like 'Class/file.avi 1': correct the line",
    ),
    _ucf(
        "trainlist01.txt",
        "Jmup/v_Jump_0.avi 1",
        "lists/trainlist01.txt, line 1: class 'Jmup' is not in lists/classInd.txt; did you mean 'Jump'?: correct either",
    ),
    _ucf(
        "trainlist01.txt",
        "Jump/v_Jump_0.avi 2",
        "lists/trainlist01.txt, line 1: Jump is number 1 in lists/classInd.txt, not 2: correct either",
    ),
    _ucf(
        "trainlist01.txt",
        f"Jump/v_Jump_0.avi {'9' * 5000}",
        "lists/trainlist01.txt, line 1: Jump is number 1 in lists/classInd.txt, not 99999999999999999999: correct either",
    ),
    _ucf(
        "trainlist01.txt",
        "v_Jump_0.avi 1",
        "lists/trainlist01.txt, line 1: 'v_Jump_0.avi 1' is not like 'Class/file.avi 1': correct the line",
    ),
    _ucf(
        "trainlist01.txt",
        "/Jump/v_Jump_0.avi 1",
        "lists/trainlist01.txt, line 1: '/Jump/v_Jump_0.avi 1' is not like 'Class/file.avi 1': correct the line",
    ),
    _ucf(
        "trainlist01.txt",
        b"\xff\xfe\x00\x01",
        "lists/trainlist01.txt, line 1: '\\udcff\\udcfe\\x00\\x01' is not like 'Class/file.avi 1': correct the line",
    ),
    _ucf("testlist01.txt", "", "lists: the val list of split 1 is empty: check it and the layout (ucf101)"),
    _ucf(
        "testlist01.txt",
        "Walk/v.avi",
        "lists/testlist01.txt, line 1: class 'Walk' is not in lists/classInd.txt: correct either",
    ),
    Case(f"{_UCF} --split 4", "split 4: no lists/trainlist04.txt: choose one of 1"),
    Case(f"{_UCF} --split -1", "split -1: no lists/trainlist-1.txt: choose one of 1"),
    Case(f"{_UCF} --split one", "split one is not a whole number or null (see vsr check-data --help)"),
    Case(f"{_UCF} --lists nowhere", "lists nowhere: no such folder: give the folder that holds the lists of ucf101"),
    Case(
        f"{_UCF} --lists textures",
        "textures/trainlist01.txt: no such file: set lists to the folder that holds the split lists",
    ),
    Case(f"{_UCF} --videos nowhere", "videos nowhere: no such folder: give the folder that holds the videos"),
    Case(
        f"{_UCF} --videos lists/classInd.txt",
        "videos lists/classInd.txt: no such folder: give the folder that holds the videos",
    ),
    Case(
        _FIT,
        "1 of 1 videos are missing, first videos/Jump/v_Jump_9.avi (lists/trainlist01.txt, line 1): put them there, or set videos (now videos) to the folder that holds them",
        {"lists/trainlist01.txt": "Jump/v_Jump_9.avi 1"},
    ),
    Case(
        _FIT,
        "1 of 1 videos are missing, first videos/Jump/../../../etc/passwd (lists/trainlist01.txt, line 1): put them there, or set videos (now videos) to the folder that holds them",
        {"lists/trainlist01.txt": "Jump/../../../etc/passwd 1"},
    ),
    Case(
        f"{_FIT} --data.layout ucf",
        "layout ucf is not in ucf101, hmdb51, csv, folders; did you mean 'ucf101'? (see vsr fit --help)",
    ),
    _hmdb("", "lists/Run_test_split1.txt: empty: get it again, or remove the class's lists of all splits"),
    _hmdb(
        "v_Run_0.avi",
        "lists/Run_test_split1.txt, line 1: 'v_Run_0.avi' is not like 'file.avi 1' (1, 2 or 0): correct the line",
    ),
    _hmdb(
        "v_Run_0.avi 3",
        "lists/Run_test_split1.txt, line 1: 'v_Run_0.avi 3' is not like 'file.avi 1' (1, 2 or 0): correct the line",
    ),
    _hmdb(
        "v_Run_0.avi 1",
        "lists: the classes 'Run' and 'run' differ only in case, which not every file system can tell apart: rename one",
        "run_test_split1.txt",
    ),
    Case(f"{_HMDB} --split 2", "split 2: no lists/<class>_test_split2.txt: choose one of 1"),
    Case(
        f"{_HMDB} --split 2",
        "lists/Jump_test_split2.txt: no such file: it lists the videos",
        {"lists/Run_test_split2.txt": "v_Run_0.avi 1"},
    ),
    _csv("", "lists: the train list of split 1 is empty: check it and the layout (csv)"),
    _csv(
        "path,label\nRun/v_Run_0.avi,0",
        "lists/train.csv, line 1: 'path,label' is not like 'path label' with a label of 0 or more: correct the line",
    ),
    _csv(
        "Run/v_Run_0.avi -1",
        "lists/train.csv, line 1: 'Run/v_Run_0.avi -1' is not like 'path label' with a label of 0 or more: correct the line",
    ),
    _csv(
        "Run/v_Run_0.avi 1.5",
        "lists/train.csv, line 1: 'Run/v_Run_0.avi 1.5' is not like 'path label' with a label of 0 or more: correct the line",
    ),
    _csv(
        "Run/v_Run_0.avi ²",
        "lists/train.csv, line 1: 'Run/v_Run_0.avi ²' is not like 'path label' with a label of 0 or more: correct the line",
    ),
    _csv(
        "Run/v_Run_0.avi 1000000000",
        "lists/train.csv, line 1: label 1000000000… is the number of no class: number them from 0",
    ),
    _csv(
        f"Run/v_Run_0.avi {'9' * 5000}",
        "lists/train.csv, line 1: label 99999999999999999999… is the number of no class: number them from 0",
    ),
    _csv(
        "Jump",
        "lists/train.csv, line 5: label 1 is out of range 0 to 0 (lists/classes.txt has 1 classes): correct either",
        "classes.txt",
    ),
    _csv(
        "Jump\njump",
        "lists: the classes 'Jump' and 'jump' differ only in case, which not every file system can tell apart: rename one",
        "classes.txt",
    ),
    _csv("Jump\nJump", "lists: the class 'Jump' is named twice: name each once", "classes.txt"),
    Case(f"{_CSV} --lists textures", "textures/train.csv: no such file: provide it"),
    Case(f"{_CSV} --split 2", "split 2: the layout csv has only one: set split to 1"),
    Case(
        _FOLDERS, "folders/test/Walk: no such class in folders/train: rename either", {"folders/test/Walk/v.avi": b""}
    ),
    Case(
        _FOLDERS,
        "folders: the classes 'Run' and 'run' differ only in case, which not every file system can tell apart: rename one",
        {"folders/train/run/v.avi": b""},
    ),
    Case(
        f"{_FOLDERS} --videos videos",
        "videos/train: no such folder: the layout is train/<class>/<video>, test/<class>/<video>",
    ),
    Case(f"{_FOLDERS} --lists lists", "lists lists: the layout folders has none: leave lists out"),
    Case(
        f"{_FOLDERS} --videos mine",
        "mine: the train list of split 1 is empty: check it and the layout (folders)",
        {"mine/train/A/.a": b"", "mine/train/B/.b": b""},
    ),
    Case(_MANIFEST, "manifest m.csv: no such file: make it with vsr check-data"),
    Case(
        _MANIFEST,
        "manifest m.csv, line 1: not a line of a manifest: make it anew with vsr check-data",
        {"m.csv": "a,b\n"},
    ),
    Case(
        _MANIFEST,
        "manifest m.csv names no readable video of the training list, such as folders/train/Jump/v_Jump_0.avi: make it anew with vsr check-data",
        {"m.csv": ""},
    ),
    Case(
        _MANIFEST,
        "manifest m.csv, line 1: not a line of a manifest: make it anew with vsr check-data",
        {"m.csv": '"' + "a" * 200_000},
    ),
    Case(
        _MANIFEST,
        "manifest m.csv, line 1: not a line of a manifest: make it anew with vsr check-data",
        {"m.csv": "train/Jump/v_Jump_0.avi,13462,-5,24,32,25.0,0.8,train,\n"},
    ),
    Case(
        f"{_UCF} --out lists/classInd.txt",
        "manifest lists/classInd.txt, line 1: not a line of a manifest: make it anew with vsr check-data",
    ),
    Case(f"{_UCF} --out lists", "can't write lists (Is a directory): give another --out"),
    Case(f"{_UCF} --out lists/classInd.txt/m.csv", "can't write lists/classInd.txt/m.csv (…): give another --out"),
    Case(f"{_UCF} --num_workers 0", "num_workers 0 is not positive: give 1 or more"),
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
    _sheet(b"", "a.avi: empty (0 bytes): copy or download it again, or take it off the list"),
    _sheet(
        b"no video",
        "a.avi: not a readable video (Invalid data found when processing input): copy or download it again, or take it off the list",
    ),
    _sheet(_LFS, "a.avi: a Git LFS pointer, not the video itself: fetch it with 'git lfs pull'"),
    _sheet(
        bytes(20_000),
        "a.avi: not a readable video (Invalid data found when processing input): copy or download it again, or take it off the list",
    ),
    _sheet(_CUT, "a.avi: cut off or damaged at frame 0: copy or download it again, or take it off the list"),
    _sheet(
        of("videos/Jump/v_Jump_0.avi", lambda content: content[1000:]),
        "a.avi: damaged after frame 20 (Invalid data found when processing input): copy or download it again, or take it off the list",
    ),
    _sheet(
        of("videos/Jump/v_Jump_0.avi", lambda content: content.replace(b"FMP4", b"ZZZZ")),
        "a.avi: its codec is none that FFmpeg knows, or its header is damaged: copy or download it again, or take it off the list",
    ),
    _sheet(lambda folder: sound(), "a.avi: has no video stream: copy or download it again, or take it off the list"),
    _sheet(
        lambda folder: cut(0.5)(video("libx264", "mp4")),
        "a.avi: not a readable video (Invalid data found when processing input): copy or download it again, or take it off the list",
    ),
    _sheet(
        lambda folder: tar(a__avi=b"x"),
        "a.avi: not a readable video (Invalid data found when processing input): copy or download it again, or take it off the list",
    ),
    Case("corrupt folder.avi sheet.png", "folder.avi: no such file: check the path", {"folder.avi/inside": b""}),
    Case(_KEYS, "a.avi: empty (0 bytes): copy or download it again, or take it off the list", {"a.avi": b""}),
    Case(
        _KEYS,
        "a.avi: cut off or damaged at frame 0: copy or download it again, or take it off the list",
        {"a.avi": _CUT},
    ),
    Case(_KEYS, "a.avi has 1 frame, a window 2: give a longer video", {"a.avi": lambda folder: video(frames=1)}),
    Case(
        f"{_KEYS} --what reconstructions",
        "a.avi: not a readable video (Invalid data found when processing input): copy or download it again, or take it off the list",
        {"a.avi": b"no video"},
    ),
    Case(
        "visualize made/pretrained.ckpt --videos nowhere",
        "nowhere: no such file or folder: give a video, or the folder of one class's videos",
    ),
    Case(
        "visualize made/pretrained.ckpt --videos textures",
        "textures holds no videos: give the folder of one class's videos, files that end in .3gp, .asf, .avi, .flv, .m2ts, .m4v, .mkv, .mov, .mp4, .mpeg, .mpg, .mts, .ogv, .ts, .vob, .webm, .wmv",
    ),
    Case(
        "analyze mine --videos 2",
        "mine/a.avi: empty (0 bytes): copy or download it again, or take it off the list",
        {"mine/a.avi": b"", "mine/b.avi": _SOUND},
    ),
    Case(
        "analyze mine --videos 2",
        "mine/a.avi: cut off or damaged at frame 0: copy or download it again, or take it off the list",
        {"mine/a.avi": _CUT, "mine/b.avi": _SOUND},
    ),
    Case(
        "analyze mine --videos 3",
        "mine has 2 videos, 3 were asked for: give --videos 2",
        {"mine/a.avi": _SOUND, "mine/b.avi": _SOUND},
    ),
    Case(
        "analyze mine --videos 2 --frames 30",
        "mine/a.avi has 20 frames, 30 were asked for: give --frames 20",
        {"mine/a.avi": _SOUND, "mine/b.avi": _SOUND},
    ),
    Case(
        "analyze mine --videos 2",
        "mine/a.avi has frames of 32 x 24 px: statistics need 64 or more, give larger videos",
        {"mine/a.avi": _SOUND, "mine/b.avi": lambda folder: video(height=2, width=2)},
    ),
    Case(
        _TEST,
        "folders/test/Jump/v_Jump_4.avi: cut off or damaged at frame 0: copy or download it again, or take it off the list",
        {"folders/test/Jump/v_Jump_4.avi": _CUT},
    ),
    Case(
        _FIT,
        "2 of 8 training videos can't be read, more than max_bad_share 0.01 allows: videos/Jump/v_Jump_0.avi, videos/Jump/v_Jump_1.avi: mend them, take them off the list or raise max_bad_share; the first is videos/Jump/v_Jump_0.avi: empty (0 bytes): copy or download it again, or take it off the list",
        {"videos/Jump/v_Jump_0.avi": b"", "videos/Jump/v_Jump_1.avi": b""},
    ),
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
        "textures statistical --count 2 --out mine --size 64",
        "mine/manifest.jsonl is not a manifest of vsr: give --out a new or an empty folder",
        {"mine/manifest.jsonl": b"\xff\xfe\n"},
    ),
    Case(
        "textures statistical --count 2 --out mine --size 64",
        "mine/manifest.jsonl is not a manifest of vsr: give --out a new or an empty folder",
        {"mine/manifest.jsonl": "[" * 100_000 + "\n"},
    ),
    Case(
        "textures statistical --count 2 --out lists/classInd.txt --size 64",
        "can't write lists/classInd.txt (File exists): give another --out",
    ),
]
