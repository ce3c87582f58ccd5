"""Recipes, YAML files, and configs."""

from given import Case


def _recipe(text: str | bytes, said: str) -> Case:
    return Case("render mine.yaml", said, {"mine.yaml": text})


def _config(text: str | bytes, said: str, words: str = "fit --config my.yaml") -> Case:
    return Case(words, said, {"my.yaml": text})


def _data(settings: str, said: str, kind: str = "SyntheticVideos") -> Case:
    return _config(f"model: VideoMAE\ndata:\n  class_path: {kind}\n  init_args: {{{settings}}}", said)


_BOMB = "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcde", "bcdef", strict=True))

RECIPES = [
    _recipe("speed: [1, 2]", "mine.yaml: the recipe has no name: add `name: my_dataset`"),
    _recipe("- 1\n- 2", "mine.yaml holds no recipe: write its fields, or a data.init_args.recipe block"),
    _recipe("name: a\nsped: [1, 2]", "mine.yaml: unknown recipe key 'sped'; did you mean 'speed'?"),
    _recipe("name: a\n1: 2", "mine.yaml: unknown recipe key 1"),
    _recipe(
        "data: {init_args: {recipe: 5}}",
        "mine.yaml holds no recipe: write its fields, or a data.init_args.recipe block",
    ),
    _recipe(
        "shares:\n- {weight: 1, recipe: acc_shapes}",
        "mine is a mixture, not one recipe: name one of its parts (acc_shapes)",
    ),
    _recipe("shares: 5", "mine is a mixture, not one recipe: name one of its parts (it has none)"),
    _recipe("shares: [5]", "mine is a mixture, not one recipe: name one of its parts (it has none)"),
    # names
    _recipe("name: 5", "mine.yaml: name 5 is not a word"),
    _recipe("name:", "mine.yaml: name null is not a word"),
    _recipe("name: ''", "recipe name '' can't name a folder: give letters, digits and _, such as my_set"),
    _recipe("name: ../../a", "recipe name '../../a' can't name a folder: give letters, digits and _, such as my_set"),
    _recipe('name: "a\\nb"', "recipe name 'a\\nb' can't name a folder: give letters, digits and _, such as my_set"),
    _recipe("name: 2020-01-01", "mine.yaml: name datetime.date(2020, 1, 1) is not a word"),
    # kinds of values
    _recipe("name: a\nspeed: fast", "mine.yaml: speed 'fast' is not two numbers: write [low, high]"),
    _recipe("name: a\nspeed: 3", "mine.yaml: speed 3 is not two numbers: write [low, high]"),
    _recipe("name: a\nspeed:", "mine.yaml: speed null is not two numbers: write [low, high]"),
    _recipe("name: a\nspeed: [1]", "mine.yaml: speed [1] is not two numbers: write [low, high]"),
    _recipe("name: a\nspeed: [a, b]", "mine.yaml: speed ['a', 'b'] is not two numbers: write [low, high]"),
    _recipe(
        "name: a\nspeed: {low: 1, high: 2}",
        "mine.yaml: speed {'high': 2, 'low': 1} is not two numbers: write [low, high]",
    ),
    _recipe("name: a\nduration: [5.5, 6]", "mine.yaml: duration [5.5, 6] is not two whole numbers: write [low, high]"),
    _recipe(
        "name: a\nduration: [1, 2, 3]", "mine.yaml: duration [1, 2, 3] is not two whole numbers: write [low, high]"
    ),
    _recipe("name: a\nnum_objects: 1.5", "mine.yaml: num_objects 1.5 is not a whole number"),
    _recipe("name: a\nnum_objects: true", "mine.yaml: num_objects true is not a whole number"),
    _recipe("name: a\nnum_videos: all", "mine.yaml: num_videos 'all' is not a whole number or null"),
    _recipe("name: a\ntexture_steady: maybe", "mine.yaml: texture_steady 'maybe' is not true or false"),
    _recipe("name: a\ntexture_folder: 5", "mine.yaml: texture_folder 5 is not a word or null"),
    _recipe("name: a\nshapes: circle", "mine.yaml: shapes 'circle' is not in circles, mixed; did you mean 'circles'?"),
    _recipe("name: a\nfill:", "mine.yaml: fill null is not in color, texture, saturated"),
    _recipe(
        "name: a\nfill: [color]",
        "mine.yaml: fill ['color'] is not in color, texture, saturated",
    ),
    _recipe(
        "name: a\ntexture_source: [images, statistica]",
        "mine.yaml: texture_source 'statistica' is not in statistical, stylegan_oriented, stylegan_high_freq, images; did you mean 'statistical'?",
    ),
    _recipe(
        "name: a\ntexture_source: {a: 1}",
        "mine.yaml: texture_source {'a': 1} is not in statistical, stylegan_oriented, stylegan_high_freq, images",
    ),
    # ranges
    _recipe("name: a\nspeed: [3, 1]", "recipe 'a': speed [3.0, 1.0] is reversed: write [1.0, 3.0]"),
    _recipe(
        "name: a\nspeed: [.nan, 1]",
        "recipe 'a': speed [nan, 1.0] is out of all proportion: give numbers of less than 2^24",
    ),
    _recipe(
        "name: a\nspeed: [0, .inf]",
        "recipe 'a': speed [0.0, inf] is out of all proportion: give numbers of less than 2^24",
    ),
    _recipe(
        "name: a\nscaling: [-1.0e+300, 1.0e+300]",
        "recipe 'a': scaling [-1e+300, 1e+300] is out of all proportion: give numbers of less than 2^24",
    ),
    _recipe(
        "name: a\nradius: [0, 1]",
        "recipe 'a': radius [0.0, 1.0] must be above 0: it is a fraction of the frame, [0.1, 1.0] in the paper",
    ),
    _recipe(
        "name: a\nradius: [0.1, .inf]",
        "recipe 'a': radius [0.1, inf] is out of all proportion: give numbers of less than 2^24",
    ),
    _recipe(
        "name: a\nduration: [0, 5]", "recipe 'a': duration [0, 5] must be at least 1 frame: the paper has [100, 200]"
    ),
    _recipe(
        "name: a\nduration: [1, 1000000000000]",
        "recipe 'a': duration [1, 1000000000000] is too large: give at most 1_048_576",
    ),
    _recipe("name: a\nsize: -1", "recipe 'a': size -1 is too small: give 1 or more"),
    _recipe("name: a\nsize: 1000000000", "recipe 'a': size 1000000000 is too large: give at most 32_768"),
    _recipe(
        "name: a\nnum_objects: 0", "recipe 'a': num_objects 0 leaves the frame empty: give 1 or more, or a background"
    ),
    _recipe(
        "name: a\nnum_objects: -1\nbackground: color",
        "recipe 'a': num_objects -1 leaves the frame empty: give 1 or more, or a background",
    ),
    _recipe(
        "name: a\nnum_objects: 1000000000000",
        "recipe 'a': num_objects 1000000000000 is too large: give at most 1_048_576",
    ),
    _recipe("name: a\nnum_videos: 0", "recipe 'a': num_videos 0 must be at least 1, or null for an endless set"),
    _recipe(
        "name: a\nnum_videos: 5000000000", "recipe 'a': num_videos 5000000000 is too large: give at most 4_294_967_296"
    ),
    _recipe("name: a\nepoch_size: 0", "recipe 'a': epoch_size 0 is too small: give 1 or more"),
    # textures
    _recipe(
        "name: a\ntexture_source: [images, images]",
        "recipe 'a': texture_source ['images', 'images'] must name one source or several different ones",
    ),
    _recipe(
        "name: a\ntexture_source: []", "recipe 'a': texture_source [] must name one source or several different ones"
    ),
    _recipe(
        "name: a\ntexture_frames: 2",
        "recipe 'a': texture_source statistical has no walks: dynamic textures take stylegan_oriented or _high_freq",
    ),
    _recipe(
        "name: a\nbackground: walk",
        "recipe 'a': texture_source statistical has no walks: dynamic textures take stylegan_oriented or _high_freq",
    ),
    _recipe(
        "name: a\nbackground: walk\ntexture_source: [stylegan_oriented, stylegan_high_freq]",
        "recipe 'a': texture_source ['stylegan_oriented', 'stylegan_high_freq'] must be a single generator where its walk is the background",
    ),
    _recipe(
        "name: a\nbackground: walk\ntexture_source: stylegan_oriented\nfill: texture",
        "recipe 'a': fill texture needs a pool, which can't be shown on a walk: write color, or num_objects: 0",
    ),
    _recipe("name: a\ntexture_step: 1.5", "recipe 'a': texture_step 1.5 is no step of a walk: give 0 to 1, about 0.05"),
    _recipe(
        "name: a\ntexture_step: .nan",
        "recipe 'a': texture_step nan is out of all proportion: give numbers of less than 2^24",
    ),
    _recipe("name: a\ntexture_window: 7", "recipe 'a': texture_window 7 must divide texture_pool, 300000"),
    _recipe(
        "name: a\ntexture_window: 1000\nnum_videos: 5",
        "recipe 'a': texture_window 1000 is of endless sets: set num_videos to null, or no window",
    ),
    _recipe("name: a\ntexture_pool: 0", "recipe 'a': texture_pool 0 is too small: give 1 or more"),
    _recipe(
        "name: a\ntexture_pool: 3000000000",
        "recipe 'a': texture_pool 3000000000 is more than the 2^31 textures that can be drawn from",
    ),
    _recipe(
        "name: a\nfill: texture\ntexture_size: 100", "texture size 100 is not possible: use 64, 128, 256, 512 pixels"
    ),
]

YAML = [
    _recipe("", "mine.yaml holds no recipe: write its fields, or a data.init_args.recipe block"),
    _recipe(
        "name: [",
        "mine.yaml is not a YAML file: while parsing a flow node expected the node content, but found '<stream end>' at line 1, column 8: name: [ ^",
    ),
    _recipe(
        "name: a\n\tspeed: [1, 2]",
        "mine.yaml is not a YAML file: while scanning for the next token found character '\\t' that cannot start any token at line 2, column 1: speed: [1, 2] ^",
    ),
    _recipe(
        "name: 'a",
        "mine.yaml is not a YAML file: while scanning a quoted scalar at line 1, column 7: name: 'a ^ found unexpected end of stream at line 1, column 9: name: 'a ^",
    ),
    _recipe(
        "{name: a: b}",
        "mine.yaml is not a YAML file: while parsing a flow mapping at line 1, column 1: {name: a: b} ^ expected ',' or '}', but got ':' at line 1, column 9: {name: a: b} ^",
    ),
    _recipe(
        b"\xff\xfe\x00name", "mine.yaml is not a YAML file: unacceptable character #x0065: truncated data at position 6"
    ),
    _recipe(
        b"name: a\x00b",
        "mine.yaml is not a YAML file: unacceptable character #x0000: special characters are not allowed at position 7",
    ),
    _recipe(
        "name: a\n---\nname: b",
        "mine.yaml is not a YAML file: expected a single document in the stream at line 1, column 1: name: a ^ but found another document at line 2, column 1: --- ^",
    ),
    _recipe("name: a\nspeed: [1, 2]\nspeed: [3, 4]", "mine.yaml, line 3: the key 'speed' stands twice: leave one out"),
    _recipe(
        "!!python/object/apply:os.system ['touch hacked']",
        "mine.yaml is not a YAML file: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system' at line 1, column 1: !!python/object/apply:os.system ... ^",
    ),
    _recipe(
        "name: !mine a",
        "mine.yaml is not a YAML file: could not determine a constructor for the tag '!mine' at line 1, column 7: name: !mine a ^",
    ),
    _recipe(
        "name: *unknown",
        "mine.yaml is not a YAML file: found undefined alias 'unknown' at line 1, column 7: name: *unknown ^",
    ),
    _recipe(
        "<<: 5\nname: a",
        "mine.yaml is not a YAML file: while constructing a mapping at line 1, column 1: <<: 5 ^ expected a mapping or list of mappings for merging, but found scalar at line 1, column 5: <<: 5 ^",
    ),
    _recipe(
        "? [1, 2]\n: 3",
        "mine.yaml is not a YAML file: while constructing a mapping at line 1, column 1: ? [1, 2] ^ found unhashable key at line 1, column 3: ? [1, 2] ^",
    ),
    _recipe("name: 2020-13-41", "mine.yaml is not a YAML file: month must be in 1..12…"),
    _recipe("[" * 3000, "mine.yaml is nested more than 50 deep: write it flatter"),
    _recipe("name: a\nspeed: " + "[" * 60 + "]" * 60, "mine.yaml is nested more than 50 deep: write it flatter"),
    _recipe(
        f"a: &a [x]\n{_BOMB}\nname: a\nspeed: *f",
        "mine.yaml means more than 100,000 values with its aliases: write it out",
    ),
    _recipe("name: a\nspeed: &x [*x, *x]", "mine.yaml, line 2: an alias stands for itself: write it out"),
    _recipe(
        "name: a\n#" + " " * 2**20,
        "mine.yaml is longer than 1,048,576 bytes: that is no recipe or config, give another file",
    ),
    Case(
        "render folder.yaml",
        "no recipe file folder.yaml: give the path of a YAML file, or one of acc_dynamic_stylegan, …",
        {"folder.yaml/inside": ""},
    ),
]

CONFIGS = [
    _config(
        "name: [",
        "my.yaml is not a YAML file: while parsing a flow node expected the node content, but found '<stream end>' at line 1, column 8: name: [ ^",
    ),
    _config(b"\xff\xfe\x00", "my.yaml is not a YAML file: unacceptable character #x0000: truncated data at position 2"),
    _config("[1, 2]", "Unexpected config: [1, 2] (see vsr fit --help)"),
    _config("model: VideoMAE\nmodel: ActionClassifier", "my.yaml, line 2: the key 'model' stands twice: leave one out"),
    _config(
        "modle: VideoMAE", "Subcommand 'fit' does not accept option 'modle'; did you mean 'model'? (see vsr fit --help)"
    ),
    _config(
        "model: VideoMEA\ndata: SyntheticVideos",
        "model VideoMEA is not the name of a LightningModule or null; did you mean 'VideoMAE'? (see vsr fit --help)",
    ),
    _config("model: VideoMAE", "the following arguments are required: fit.data (see vsr fit --help)"),
    _config(
        "model:\n  class_path: subprocess.Popen\n  init_args: {args: touch hacked, shell: true}",
        "model {'class_path': 'subprocess.Popen', 'init_args': {'args': 'touch hacked', 'she… is not the name of a LightningModule or null (see vsr fit --help)",
    ),
    _config(
        "trainer: ../nowhere.yaml",
        "trainer: no config ../nowhere.yaml that can be read: check its path from where it is named",
    ),
    _config("trainer:\n  max_steps: many", "trainer.max_steps many is not a whole number (see vsr fit --help)"),
    _config(
        "trainer:\n  callbacks:\n  - class_path: Nowhere",
        "trainer.callbacks [{'class_path': 'Nowhere'}] is not the name of a Callback or null (see vsr fit --help)",
    ),
    _data(
        "recipe: {name: a, sped: [1, 2]}",
        "Group 'recipe' does not accept option 'sped'; did you mean 'speed'? (see vsr fit --help)",
    ),
    _data("recipe: {name: a}, size: big", "size big is not a whole number (see vsr fit --help)"),
    _data("name: a, shares: 5", "shares 5 is not a list: write [a, b] (see vsr fit --help)", "VideoMixture"),
    _data(
        "name: a, shares: [{weight: 1, recpie: acc_shapes}]",
        "Option 'recpie' is not accepted; did you mean 'recipe'? (see vsr fit --help)",
        "VideoMixture",
    ),
    _data(
        "name: a, shares: [{weight: 0.5, recipe: acc_shapes}]",
        "the weights of the shares (0.5) sum to 0.5: they must sum to 1",
        "VideoMixture",
    ),
    _data(
        "name: a, shares: [{weight: 1, recipe: acc_shapes, videos: x}]",
        "share 0 of 'a' has a recipe and videos: make two shares of it",
        "VideoMixture",
    ),
    _config("data: 5", "my.yaml has no data block with a class_path: give a config of vsr fit", "check-data my.yaml"),
    _config(
        "data: {class_path: 5}",
        "my.yaml has no data block with a class_path: give a config of vsr fit",
        "check-data my.yaml",
    ),
    _config(
        "data: {class_path: ActionClips, init_args: 5}",
        "my.yaml: init_args 5 is no block of settings: correct it",
        "check-data my.yaml",
    ),
    _config(
        "data: {class_path: ActionClips, init_args: {videos: videos, num_frames: x}}",
        "my.yaml: num_frames 'x' is not a whole number",
        "check-data my.yaml",
    ),
    _config(
        "data: {class_path: VideoMixture, init_args: {shares: 5}}",
        "my.yaml: shares 5 is no list of shares: write - {weight: 1, …} for each",
        "check-data my.yaml",
    ),
    _config(
        "data: {class_path: VideoMixture, init_args: {shares: [5]}}",
        "my.yaml: shares [5] is no list of shares: write - {weight: 1, …} for each",
        "check-data my.yaml",
    ),
    _config(
        "data: {class_path: VideoMixture}",
        "my.yaml: shares null is no list of shares: write - {weight: 1, …} for each",
        "check-data my.yaml",
    ),
]
