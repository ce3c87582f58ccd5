"""Command lines of what stands around training: studies, reports, sweeps, and looks at what there is."""

from given import Case

_KEYS = "visualize made/pretrained.ckpt --dataset acc_shapes"

STUDIES = [
    # analyze
    Case("analyze", "the following arguments are required: datasets (see vsr analyze --help)"),
    Case(
        "analyze acc_shape", "no dataset 'acc_shape'; did you mean 'acc_shapes'?: give one of acc_dynamic_stylegan, …"
    ),
    Case("analyze textures", "textures has no videos: give a folder with files that end in .3gp, …"),
    Case(
        "analyze acc_shapes acc_shapes",
        "two datasets are called 'acc_shapes': give each once, and folders names of their own",
    ),
    Case("analyze acc_shapes --videos 0", "videos 0 and frames 10: statistics need 2 videos and 1 frame or more"),
    Case(
        "analyze acc_shapes --video 3",
        "unrecognized arguments: --video 3; did you mean 'videos'? (see vsr analyze --help)",
    ),
    Case(
        "analyze acc_textures --videos 10000",
        "'acc_textures' has 9537 videos, 10000 were asked for: give --videos 9537",
    ),
    Case(
        "analyze acc_shapes --frames 1000",
        "'acc_shapes' has videos of 100 frames, too few for 1000 each: give --frames 100",
    ),
    Case("analyze acc_shapes --seed -1 --videos 2", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
    Case("analyze acc_shapes --device tpu9", "device 'tpu9' is not known: use cpu, or cuda"),
    Case("analyze acc_shapes --against nowhere", "nowhere: no such folder: give a folder of videos"),
    Case(
        "analyze acc_shapes --accuracies nowhere",
        "nowhere has no results.json of vsr test of a network that was pre-trained: give the folder of such runs",
    ),
    Case(
        "analyze acc_shapes --out lists/classInd.txt --videos 2 --frames 1",
        "can't write lists/classInd.txt (File exists): give another --out",
    ),
    # visualize
    Case("visualize", "the following arguments are required: checkpoints (see vsr visualize --help)"),
    Case(
        "visualize --dataset acc_shapes", "the following arguments are required: checkpoints (see vsr visualize --help)"
    ),
    Case(
        "visualize made/pretrained.ckpt",
        "what is to be shown? Give either --videos, a folder or file, or --dataset, a name",
    ),
    Case(
        f"{_KEYS} --videos folders", "what is to be shown? Give either --videos, a folder or file, or --dataset, a name"
    ),
    Case(
        "visualize made/pretrained.ckpt --dataset acc_shape",
        "no dataset 'acc_shape'; did you mean 'acc_shapes'?: give one of acc_dynamic_stylegan, …",
    ),
    Case(f"{_KEYS} --index -1", "index -1 is outside 'acc_shapes', which has videos 0 .. 4294967295"),
    Case(f"{_KEYS} --shown 0", "shown 0 is not positive: give 1 or more"),
    Case(f"{_KEYS} --pca_frames 0", "pca_frames 0 is not positive: give 1 or more"),
    Case(f"{_KEYS} --seed -1", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
    Case(f"{_KEYS} --what thoughts", "what thoughts is not in keys, reconstructions (see vsr visualize --help)"),
    Case(
        f"{_KEYS} --what reconstructions --mask_ratio 1 --shown 1",
        "mask_ratio 1.0 masks 4 of the 4 tubes of a slice, which leaves none to see: choose at least 0.25 and less than 1",
    ),
    Case(f"{_KEYS} --what reconstructions --epoch -1 --shown 1", "epoch -1 is outside 0 .. 4294967295: give another"),
    Case(
        f"{_KEYS} --what reconstructions --stride 99 --shown 1",
        "a clip of 4 frames, 99 apart, spans 298 frames, but videos of 'acc_shapes' have as few as 100: lower num_frames or stride",
    ),
    Case(
        f"{_KEYS} --out lists/classInd.txt --shown 1 --pca_videos 1 --pca_frames 4",
        "can't write lists/classInd.txt…: give …",
    ),
    # inspect
    Case("inspect", "the following arguments are required: checkpoint (see vsr inspect --help)"),
    Case("inspect nowhere.ckpt", "checkpoint nowhere.ckpt: no such file; check the path"),
    Case(
        "inspect lists/classInd.txt",
        "checkpoint lists/classInd.txt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    Case(
        "inspect made/pretrained.ckpt --jsn",
        "unrecognized arguments: --jsn; did you mean 'json'? (see vsr inspect --help)",
    ),
    Case("inspect made/pretrained.ckpt more", "unrecognized arguments: more (see vsr inspect --help)"),
    # report
    Case("report", "no folder runs here: give folders with runs, or --gallery"),
    Case("report nowhere", "no folder nowhere: give folders with runs, such as runs"),
    Case("report lists", "no runs in lists: give folders that vsr fit or vsr test has written, or --gallery"),
    Case("report lists/classInd.txt", "no folder lists/classInd.txt: give folders with runs, such as runs"),
    Case(
        "report mine",
        "no runs that can be read (mine: results.json can't be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))) in mine: give folders that vsr fit or vsr test has written, or --gallery",
        {"mine/results.json": "{"},
    ),
    Case(
        "report mine",
        "no runs that can be read (mine: results.json is damaged: it holds no object) in mine: give folders that vsr fit or vsr test has written, or --gallery",
        {"mine/results.json": "[]"},
    ),
    Case(
        "report mine",
        "no runs that can be read (mine/properties.json: properties.json can't be read (Expecting value: line 1 column 2 (char 1))) in mine: give folders that vsr fit or vsr test has written, or --gallery",
        {"mine/properties.json": "["},
    ),
    Case(
        "report --gallery --out lists/classInd.txt",
        "can't write to lists/classInd.txt (File exists): give --out a folder that can be written",
    ),
    Case(
        "report mine",
        "no runs that can be read (mine: results.json can't be read (…)) in mine: give folders that vsr fit or vsr test has written, or --gallery",
        {"mine/results.json": "[" * 100_000},
    ),
    Case("report --galery", "unrecognized arguments: --galery; did you mean 'gallery'? (see vsr report --help)"),
    # sweep
    Case(
        "sweep sumbit list.txt", "no vsr sweep 'sumbit'; did you mean 'submit'?: it has plan, submit, status, resubmit"
    ),
    Case("sweep plan", "the following arguments are required: datasets (see vsr sweep plan --help)"),
    Case("sweep plan nowhere.txt", "can't read the list nowhere.txt: give a text file with a dataset on each line"),
    Case("sweep plan videos", "can't read the list videos: give a text file with a dataset on each line"),
    Case(
        "sweep plan mine.txt",
        "can't read the list mine.txt: give a text file with a dataset on each line",
        {"mine.txt": b"\xff\xfe"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt names no dataset: write one on each line, such as acc_shapes",
        {"mine.txt": "# none\n"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 1: no dataset 'acc_shape'; did you mean 'acc_shapes'?: give one of acc_dynamic_stylegan, …, or the path of a config of vsr fit",
        {"mine.txt": "acc_shape"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 2: 'acc_shapes' stands in the list twice, but has one run folder",
        {"mine.txt": "acc_shapes\nacc_shapes"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 1: 'a; touch hacked' can't be the name of a run folder: use letters, digits, '.', '_' and '-' alone",
        {"mine.txt": "a; touch hacked"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 1: a.yml is taken for a config by its ending .yaml: rename it",
        {"mine.txt": "a.yml"},
    ),
    Case(
        "sweep plan mine.txt",
        "a.yaml is not a YAML file: month must be in 1..12…",
        {"mine.txt": "a.yaml", "a.yaml": "data: 2020-13-41"},
    ),
    Case(
        "sweep plan mine.txt",
        "a.yaml is nested more than 50 deep: write it flatter",
        {"mine.txt": "a.yaml", "a.yaml": "[" * 3000},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 1: a.yaml is no config of pre-training: see those in configs/pretrain/",
        {"mine.txt": "a.yaml", "a.yaml": "data: {init_args: {recipe: }}"},
    ),
    Case(
        "sweep plan mine.txt",
        "mine.txt, line 1: a.yaml holds a dataset called 'b', by which its run folder goes: call both the same",
        {"mine.txt": "a.yaml", "a.yaml": "data: {init_args: {recipe: {name: b}}}"},
    ),
    Case(
        "sweep submit mine.txt --local",
        "acc_images show images: say where these are by `-- --texture_folder DIR`, or leave them out",
        {"mine.txt": "acc_images"},
    ),
    Case(
        "sweep submit mine.txt --local",
        "ucf101 have natural videos: say where these are by --videos, or leave them out",
        {"mine.txt": "ucf101"},
    ),
    Case(
        "sweep plan mine.txt --stages pretrian",
        "no stage 'pretrian'; did you mean 'pretrain'?: give some of pretrain, finetune, probe, test_ucf101p, analyze",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep plan mine.txt --on ucf11",
        "no config file configs/finetune/ucf11.yaml; did you mean 'configs/finetune/ucf101.yaml'?: give a path, or one of vsr's configs/",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep plan mine.txt --videos nowhere",
        "--videos nowhere: there is no such folder; check the path",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep plan mine.txt --config nowhere.yaml",
        "no config file nowhere.yaml: give a path, or one of vsr's configs/",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep submit mine.txt --local --stages pretrain -- --data.seeds 1",
        "Option 'seeds' is not accepted; did you mean 'seed'? (see vsr fit --help)",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep plan mine.txt -- --run 1",
        "--run is what the sweep sets for each of its cells: leave it out",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep plan mine.txt -- finetun --a 1",
        "no stage 'finetun' after --; did you mean 'finetune'?: give one of pretrain, finetune, probe, test_ucf101p, analyze, sbatch, then its options, or options of all stages",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep submit mine.txt --out lists --stages pretrain",
        "…/lists holds Jump_test_split1.txt and no sweep: give --out a folder of its own",
        {"mine.txt": "acc_shapes"},
    ),
    Case(
        "sweep submit mine.txt --at_once 0", "--at_once 0 lets nothing run: give 1 or more", {"mine.txt": "acc_shapes"}
    ),
    Case("sweep status lists", "there is no sweep in lists: vsr sweep submit LIST --out lists makes one"),
    Case(
        "sweep status mine",
        "mine/sweep.json is no manifest of a sweep: mend it, or give another folder",
        {"mine/sweep.json": "{"},
    ),
    Case(
        "sweep status mine",
        "mine/sweep.json is no manifest of a sweep: mend it, or give another folder",
        {"mine/sweep.json": "[" * 100_000},
    ),
    Case(
        "sweep resubmit mine -- --a 1",
        "vsr sweep resubmit takes no options after --: those of vsr sweep submit hold",
        {"mine/sweep.json": "{}"},
    ),
    # demo, doctor
    Case(
        "demo --out lists/classInd.txt",
        "can't write to lists/classInd.txt (File exists): give --out a folder that can be written",
    ),
    Case("demo here", "unrecognized arguments: here (see vsr demo --help)"),
    Case("doctor all", "vsr doctor takes no options, not 'all': give none"),
]
