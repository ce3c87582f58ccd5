"""Command lines of training, of rendering, and of data."""

from given import TINY, Case

_LAPTOP = "--config configs/pretrain/acc_shapes.yaml --config configs/scale/laptop.yaml"
_FINE = f"fit --config configs/finetune/folders.yaml {TINY} --data.videos folders --data.num_workers 0"

COMMANDS = [
    Case(
        "fti",
        "no verb 'fti'; did you mean 'fit'?: vsr has fit, validate, test, …, visualize, …",
    ),
    Case(
        "''",
        "no verb '': vsr has fit, validate, test, …, visualize, …",
    ),
    # render
    Case("render", "the following arguments are required: dataset (see vsr render --help)"),
    Case("render acc_shape", "no dataset 'acc_shape'; did you mean 'acc_shapes'?: give one of acc_dynamic_stylegan, …"),
    Case("render ucf101", "ucf101 has natural videos, no recipe: give one of acc_dynamic_stylegan, …"),
    Case(
        "render nowhere.yaml",
        "no recipe file nowhere.yaml: give the path of a YAML file, or one of acc_dynamic_stylegan, …",
    ),
    Case(
        "render acc_shapes_ucf101_25pct",
        "acc_shapes_ucf101_25pct is a mixture, not one recipe: name one of its parts (acc_shapes, natural videos)",
    ),
    Case("render acc_shapes extra", "unrecognized arguments: extra (see vsr render --help)"),
    Case("render acc_shapes --idx 3", "unrecognized arguments: --idx 3; did you mean 'index'? (see vsr render --help)"),
    Case("render acc_shapes --index x", "index x is not a whole number (see vsr render --help)"),
    Case("render acc_shapes --index -1", "index -1 is outside 'acc_shapes', which has videos 0 .. 4294967295"),
    Case(f"render acc_shapes --index {10**30}", "index …is outside 0 .. 4294967295: give another"),
    Case("render acc_textures --index 9537", "index 9537 is outside 'acc_textures', which has videos 0 .. 9536"),
    Case("render acc_shapes --seed -1", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
    Case(
        f"render acc_shapes --seed {2**64}", "seed 18446744073709551616 is outside 0 .. 2^64 - 1: choose another seed"
    ),
    Case("render acc_shapes --size 0", "size 0 is not positive: give 1 px or more"),
    Case("render acc_shapes --size -5", "size -5 is not positive: give 1 px or more"),
    Case(
        "render acc_shapes --size 1000000",
        "1 clips take 279396.8 GiB as (100, 1000000, 1000000, 3) each, but cpu has … GiB free: make them smaller",
    ),
    Case("render acc_shapes --out a.avi", "can't write a.avi: give --out a file ending in .mp4, .gif or .png"),
    Case(
        "render acc_shapes --size 32 --out lists/classInd.txt/a.png",
        "can't write lists/classInd.txt/a.png (File exists): give a place that can be written",
    ),
    Case("render acc_shapes --renderer quick", "renderer quick is not in fused, reference (see vsr render --help)"),
    Case("render acc_shapes --truth", "--truth is known of the clips of training: add --clip"),
    Case("render acc_shapes --clip --epoch -1", "epoch -1 is outside 0 .. 4294967295: give another"),
    Case(
        f"render acc_shapes --clip --epoch {10**30}",
        "epoch 1000000000000000000000000000000 is outside 0 .. 4294967295: give another",
    ),
    Case("render acc_shapes --clip --num_frames 0", "num_frames 0, stride 4 and size 224 must all be 1 or more"),
    Case(
        "render acc_shapes --clip --stride 50",
        "a clip of 16 frames, 50 apart, spans 751 frames, but videos of 'acc_shapes' have as few as 100: lower num_frames or stride",
    ),
    Case("render acc_shapes --lossless", "--lossless is of many videos: add --count"),
    Case("render acc_shapes --count 0", "count 0 makes nothing: set --count to 1 or more"),
    Case(
        "render acc_textures --count 9538",
        "count 9538 from index 0 is more than 'acc_textures' has, which is videos 0 .. 9536: set --count to at most 9537",
    ),
    Case("render acc_shapes --count 2 --clip", "--count writes whole videos: leave out --clip and --truth, or --count"),
    Case(
        "render acc_shapes --count 2 --size 33",
        "size 33 can't be written as yuv420p: give an even --size, or --lossless",
    ),
    Case("render acc_shapes --count 2 --size 0", "size 0 is not positive: give 1 px or more"),
    Case(
        "render acc_shapes --count 2 --out 'a b'",
        "a b has a space in its path, where lists of videos end a path: give another --out",
    ),
    Case(
        "render acc_shapes --count 2 --out lists",
        "lists holds Jump_test_split1.txt and no manifest.jsonl: give --out a new or an empty folder",
    ),
    Case("render all --index -1", "index -1 is outside 'static_circles', which has videos 0 .. 4294967295"),
    Case("render all --max_textures 0", "recipe 'acc_textures': texture_pool 0 is too small: give 1 or more"),
    Case(
        "render all --texture_folder nowhere",
        "texture folder nowhere does not exist: give a folder of images or .tar archives, or one .tar archive",
    ),
    # fit: what is parsed
    Case("fit", "the following arguments are required: fit.data, fit.model (see vsr fit --help)"),
    Case("fit --config", "argument -c/--config: expected one argument (see vsr fit --help)"),
    Case("fit --config nowhere.yaml", "no config file nowhere.yaml: give a path, or one of vsr's configs/"),
    Case(
        "fit --config configs/pretrain/acc_shape.yaml",
        "no config file configs/pretrain/acc_shape.yaml; did you mean 'configs/pretrain/acc_shapes.yaml'?: give a path, or one of vsr's configs/",
    ),
    Case(
        "fit --config configs/finetune/ucf101.yaml", "the following arguments are required: videos (see vsr fit --help)"
    ),
    Case(
        "fit --config configs/finetune/ucf101.yaml --data.vidoes x",
        "Option 'vidoes' is not accepted; did you mean 'videos'? (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --data.recipe.sped [1,2]",
        "unrecognized arguments: --recipe.sped=[1, 2]; did you mean 'speed'? (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.max_step 3",
        "unrecognized arguments: --trainer.max_step 3; did you mean 'max_steps'? (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --model.size huuge",
        "size huuge is not in tiny, small, base, large, huge; did you mean 'huge'? (see vsr fit --help)",
    ),
    Case(f"fit {_LAPTOP} --model.mask_ratio nan", "mask_ratio nan is not a number (see vsr fit --help)"),
    Case(
        f"fit {_LAPTOP} --model ActionClasifier",
        "model ActionClasifier is not the name of a LightningModule or null; did you mean 'ActionClassifier'? (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.precision 7",
        "trainer.precision 7 is not in 64, 32, 16, …or null (see vsr fit --help)",
    ),
    # fit: what is built
    Case(
        f"fit {_LAPTOP} --run ../../b",
        "--run '../../b' can't name a folder: give letters, digits and _, such as my_set",
    ),
    Case(f"fit {_LAPTOP} --run ''", "--run '' can't name a folder: give letters, digits and _, such as my_set"),
    Case(
        f"fit {_LAPTOP} --data.recipe.speed [2,1]",
        "recipe 'acc_shapes': speed [2.0, 1.0] is reversed: write [1.0, 2.0]",
    ),
    Case(
        f"fit {_LAPTOP} --data.recipe.num_objects 0",
        "recipe 'acc_shapes': num_objects 0 leaves the frame empty: give 1 or more, or a background",
    ),
    Case(f"fit {_LAPTOP} --data.size 100", "image_size 100 px is not a multiple of patch_size 8: use 96 or 104 px"),
    Case(
        f"fit {_LAPTOP} --data.num_frames 15",
        "num_frames 15 frames is not a multiple of tubelet_size 2: use 14 or 16 frames",
    ),
    Case(
        f"fit {_LAPTOP} --data.num_frames 32",
        "a clip of 32 frames, 4 apart, spans 125 frames, but videos of 'acc_shapes' have as few as 100: lower num_frames or stride",
    ),
    Case(f"fit {_LAPTOP} --data.stride 0", "stride 0 is not positive: give 1 or more"),
    Case(f"fit {_LAPTOP} --data.seed -1", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
    Case(
        f"fit {_LAPTOP} --data.global_batch_size 0",
        "global_batch_size 0 is not a positive number of clips: give 1 or more",
    ),
    Case(
        f"fit {_LAPTOP} --data.global_batch_size 10000",
        "global_batch_size 10000 is more than the 9537 videos of an epoch: use 9537 or fewer",
    ),
    Case(
        f"fit {_LAPTOP} --model.mask_ratio 1",
        "mask_ratio 1.0 masks 64 of the 64 tubes of a slice, which leaves none to see: choose at least … and less than 1",
    ),
    Case(
        f"fit {_LAPTOP} --model.base_lr 0",
        "base_lr 0.0 for global_batch_size 16 gives no learning rate: give positive numbers",
    ),
    Case(f"fit {_LAPTOP} --model.warmup 2", "warmup 2.0 is not a share of all steps: give 0 .. 1"),
    Case(f"fit {_LAPTOP} --model.betas [1,1]", "betas [1.0, 1.0] are not rates of decay: give 0 or more, less than 1"),
    Case(
        f"fit {_LAPTOP} --model.clip_grad 0",
        "clip_grad 0.0 is no norm of a gradient: give more than 0, or null for none",
    ),
    Case(f"fit {_LAPTOP} --checkpoints.every_n_steps 0", "every_n_steps 0 is not positive: give 1 or more"),
    Case(
        f"fit {_LAPTOP} --trainer.accelerator abacus",
        "trainer: You selected an invalid accelerator name: `accelerator='abacus'`. Available names are: auto, …(see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.accelerator cpu --trainer.devices x",
        "trainer: `devices` selected with `CPUAccelerator` should be an int > 0. (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.accelerator cpu --trainer.devices 3",
        "global_batch_size 16 can't be shared equally by 3 devices: use 15 or 18 clips, or 2 devices",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.strategy magic",
        "trainer: You selected an invalid strategy name: `strategy='magic'`. …(see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.num_nodes 0",
        "trainer: `num_nodes` must be a positive integer, but got 0. (see vsr fit --help)",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.gradient_clip_val 0.5",
        "trainer.gradient_clip_val 0.5 is not for fused optimisers: give --model.clip_grad 0.5 instead",
    ),
    Case(
        f"fit {_LAPTOP} --trainer.max_epochs -1 --trainer.max_steps -1",
        "a run without an end has no schedule: give --trainer.max_epochs or max_steps",
    ),
    Case(
        "fit --config configs/pretrain/acc_shapes_ucf101_25pct.yaml --config configs/scale/laptop.yaml",
        "share 1 of 'acc_shapes_ucf101_25pct' is natural and names no videos: set --data.videos to the folder of the videos, and --data.lists to that of their lists where it is not beside them",
    ),
    Case(f"{_FINE} --data.videos nowhere", "videos nowhere: no such folder: give the folder that holds the videos"),
    Case(f"{_FINE} --data.held_out 1", "held_out 1.0 is not a share: give 0 or more, less than 1"),
    Case(f"{_FINE} --data.rand_augment 11", "rand_augment 11.0 is no magnitude: give 0 .. 10, or null for none"),
    Case(f"{_FINE} --data.num_workers -1", "num_workers -1 is negative: give 0 or more"),
    Case(f"{_FINE} --data.max_bad_share 1", "max_bad_share 1.0 is not a share: give 0 or more, less than 1"),
    Case(
        f"{_FINE} --data.global_batch_size 9",
        "global_batch_size 9 is more than the 8 videos of the training list: use 8 or fewer",
    ),
    Case(f"{_FINE} --model.mixup 2", "mixup 2.0 is not in 0 .. 1: give more than 0, up to 1, or 0 for none"),
    Case(
        f"{_FINE} --model.layer_decay 0", "layer_decay 0.0 is not in 0 .. 1: give more than 0, up to 1, or 1 for none"
    ),
    Case(
        f"{_FINE} --config configs/probe/folders.yaml --model.base_lr [1,1]",
        "base_lr [1.0, 1.0] names no or equal values: give one, or several that differ",
    ),
    # validate, test
    Case("validate", "the following arguments are required: validate.data, validate.model (see vsr validate --help)"),
    Case(
        "test --config configs/finetune/folders.yaml --data.videos nowhere",
        "videos nowhere: no such folder: give the folder that holds the videos",
    ),
    Case(
        f"validate {_LAPTOP}",
        "vsr validate counts right answers, which this model gives none: give a classifier's config",
    ),
    Case(
        f"test --config configs/test/ucf101p.yaml {TINY} --data.videos videos --data.lists lists "
        "--model.checkpoint made/classifier.ckpt --data.perturbations [jpg]",
        "no perturbation 'jpg'; did you mean 'jpeg'?: choose from …",
    ),
    # plan
    Case("plan", "vsr plan needs a run: give the options of vsr fit, such as --config configs/pretrain/NAME.yaml"),
    Case(
        "plan --config configs/pretrain/acc_shape.yaml",
        "no config file configs/pretrain/acc_shape.yaml; did you mean 'configs/pretrain/acc_shapes.yaml'?: give a path, or one of vsr's configs/",
    ),
    Case(
        f"plan {_LAPTOP} --trainer.max_step 3",
        "unrecognized arguments: --trainer.max_step 3; did you mean 'max_steps'? (see vsr fit --help)",
    ),
    Case(
        f"plan {_LAPTOP} --trainer.accelerator cpu --trainer.devices 3",
        "global_batch_size 16 can't be shared equally by 3 devices: use 15 or 18 clips, or 2 devices",
    ),
    Case(
        "plan --config configs/finetune/ucf101.yaml --data.videos nowhere",
        "videos nowhere: no such folder: give the folder that holds the videos",
    ),
    # check-data
    Case("check-data", "the following arguments are required: config (see vsr check-data --help)"),
    Case("check-data nowhere.yaml", "no config file nowhere.yaml: give a path, or one of vsr's configs/"),
    Case(
        "check-data configs/pretrain/acc_shapes.yaml",
        "configs/pretrain/acc_shapes.yaml has no natural videos: give a config with ActionClips, or with a natural share",
    ),
    Case(
        "check-data configs/scale/laptop.yaml",
        "configs/scale/laptop.yaml has no data block with a class_path: give a config of vsr fit",
    ),
    Case(
        "check-data configs/finetune/ucf101.yaml",
        "configs/finetune/ucf101.yaml names no videos: give --videos, the folder of the videos",
    ),
    # corrupt
    Case("corrupt videos", "the following arguments are required: dst (see vsr corrupt --help)"),
    Case("corrupt nowhere out", "nowhere: no such folder: give the folder of the videos"),
    Case("corrupt nowhere sheet.png", "nowhere: no such file: check the path"),
    Case(
        "corrupt textures out",
        "textures holds 3 files, first 0.png, and no video: give a folder with files that end in .3gp, …",
    ),
    Case("corrupt videos sheet.png", "videos: no such file: check the path"),
    Case(
        "corrupt videos videos/out",
        "videos/out lies in videos, whose videos it would then be counted among: give a DST outside",
    ),
    Case(
        "corrupt videos lists",
        "lists holds Jump_test_split1.txt and no manifest.jsonl: give a new or an empty folder as DST",
    ),
    Case("corrupt videos lists/classInd.txt", "can't write lists/classInd.txt (File exists): give another DST"),
    Case(
        "corrupt videos/Jump/v_Jump_0.avi out",
        "videos/Jump/v_Jump_0.avi is a file: give a folder of videos, or for a sheet of this one a DST ending in .png",
    ),
    Case("corrupt videos out --perturbations jpg", "no perturbation 'jpg'; did you mean 'jpeg'?: choose from …"),
    Case(
        "corrupt videos out --perturbations jpeg jpeg", "perturbations ['jpeg', 'jpeg'] names one twice: name each once"
    ),
    Case(
        "corrupt videos out --perturbations", "argument --perturbations: expected one argument (see vsr corrupt --help)"
    ),
    Case("corrupt videos out --severities 6", "severity 6 is none of 1 .. 5: the benchmark has five"),
    Case(
        "corrupt videos out --severities high",
        "severities ['high'] is not a list of whole numbers or null (see vsr corrupt --help)",
    ),
    Case("corrupt videos out --workers 0", "0 workers can't work: give 1 or more"),
    Case("corrupt videos out --seed -1", "seed -1 is outside 0 .. 2^64 - 1: choose another seed"),
]
