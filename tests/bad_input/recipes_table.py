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
    _recipe("speed: [1, 2]", "?"),
    _recipe("- 1\n- 2", "?"),
    _recipe("name: a\nsped: [1, 2]", "?"),
    _recipe("name: a\n1: 2", "?"),
    _recipe("data: {init_args: {recipe: 5}}", "?"),
    _recipe("shares:\n- {weight: 1, recipe: acc_shapes}", "?"),
    _recipe("shares: 5", "?"),
    _recipe("shares: [5]", "?"),
    # names
    _recipe("name: 5", "?"),
    _recipe("name:", "?"),
    _recipe("name: ''", "?"),
    _recipe("name: ../../a", "?"),
    _recipe('name: "a\\nb"', "?"),
    _recipe("name: 2020-01-01", "?"),
    # kinds of values
    _recipe("name: a\nspeed: fast", "?"),
    _recipe("name: a\nspeed: 3", "?"),
    _recipe("name: a\nspeed:", "?"),
    _recipe("name: a\nspeed: [1]", "?"),
    _recipe("name: a\nspeed: [a, b]", "?"),
    _recipe("name: a\nspeed: {low: 1, high: 2}", "?"),
    _recipe("name: a\nduration: [5.5, 6]", "?"),
    _recipe("name: a\nduration: [1, 2, 3]", "?"),
    _recipe("name: a\nnum_objects: 1.5", "?"),
    _recipe("name: a\nnum_objects: true", "?"),
    _recipe("name: a\nnum_videos: all", "?"),
    _recipe("name: a\ntexture_steady: maybe", "?"),
    _recipe("name: a\ntexture_folder: 5", "?"),
    _recipe("name: a\nshapes: circle", "?"),
    _recipe("name: a\nfill:", "?"),
    _recipe("name: a\nfill: [color]", "?"),
    _recipe("name: a\ntexture_source: [images, statistica]", "?"),
    _recipe("name: a\ntexture_source: {a: 1}", "?"),
    # ranges
    _recipe("name: a\nspeed: [3, 1]", "?"),
    _recipe("name: a\nspeed: [.nan, 1]", "?"),
    _recipe("name: a\nspeed: [0, .inf]", "?"),
    _recipe("name: a\nscaling: [-1.0e+300, 1.0e+300]", "?"),
    _recipe("name: a\nradius: [0, 1]", "?"),
    _recipe("name: a\nradius: [0.1, .inf]", "?"),
    _recipe("name: a\nduration: [0, 5]", "?"),
    _recipe("name: a\nduration: [1, 1000000000000]", "?"),
    _recipe("name: a\nsize: -1", "?"),
    _recipe("name: a\nsize: 1000000000", "?"),
    _recipe("name: a\nnum_objects: 0", "?"),
    _recipe("name: a\nnum_objects: -1\nbackground: color", "?"),
    _recipe("name: a\nnum_objects: 1000000000000", "?"),
    _recipe("name: a\nnum_videos: 0", "?"),
    _recipe("name: a\nnum_videos: 5000000000", "?"),
    _recipe("name: a\nepoch_size: 0", "?"),
    # textures
    _recipe("name: a\ntexture_source: [images, images]", "?"),
    _recipe("name: a\ntexture_source: []", "?"),
    _recipe("name: a\ntexture_frames: 2", "?"),
    _recipe("name: a\nbackground: walk", "?"),
    _recipe("name: a\nbackground: walk\ntexture_source: [stylegan_oriented, stylegan_high_freq]", "?"),
    _recipe("name: a\nbackground: walk\ntexture_source: stylegan_oriented\nfill: texture", "?"),
    _recipe("name: a\ntexture_step: 1.5", "?"),
    _recipe("name: a\ntexture_step: .nan", "?"),
    _recipe("name: a\ntexture_window: 7", "?"),
    _recipe("name: a\ntexture_window: 1000\nnum_videos: 5", "?"),
    _recipe("name: a\ntexture_pool: 0", "?"),
    _recipe("name: a\ntexture_pool: 3000000000", "?"),
    _recipe("name: a\nfill: texture\ntexture_size: 100", "?"),
]

YAML = [
    _recipe("", "?"),
    _recipe("name: [", "?"),
    _recipe("name: a\n\tspeed: [1, 2]", "?"),
    _recipe("name: 'a", "?"),
    _recipe("{name: a: b}", "?"),
    _recipe(b"\xff\xfe\x00name", "?"),
    _recipe(b"name: a\x00b", "?"),
    _recipe("name: a\n---\nname: b", "?"),
    _recipe("name: a\nspeed: [1, 2]\nspeed: [3, 4]", "?"),
    _recipe("!!python/object/apply:os.system ['touch hacked']", "?"),
    _recipe("name: !mine a", "?"),
    _recipe("name: *unknown", "?"),
    _recipe("<<: 5\nname: a", "?"),
    _recipe("? [1, 2]\n: 3", "?"),
    _recipe("name: 2020-13-41", "?"),
    _recipe("[" * 3000, "?"),
    _recipe("name: a\nspeed: " + "[" * 60 + "]" * 60, "?"),
    _recipe(f"a: &a [x]\n{_BOMB}\nname: a\nspeed: *f", "?"),
    _recipe("name: a\nspeed: &x [*x, *x]", "?"),
    _recipe("name: a\n#" + " " * 2**20, "?"),
    Case("render folder.yaml", "?", {"folder.yaml/inside": ""}),
]

CONFIGS = [
    _config("name: [", "?"),
    _config(b"\xff\xfe\x00", "?"),
    _config("[1, 2]", "?"),
    _config("model: VideoMAE\nmodel: ActionClassifier", "?"),
    _config("modle: VideoMAE", "?"),
    _config("model: VideoMEA\ndata: SyntheticVideos", "?"),
    _config("model: VideoMAE", "?"),
    _config("model:\n  class_path: subprocess.Popen\n  init_args: {args: touch hacked, shell: true}", "?"),
    _config("trainer: ../nowhere.yaml", "?"),
    _config("trainer:\n  max_steps: many", "?"),
    _config("trainer:\n  callbacks:\n  - class_path: Nowhere", "?"),
    _data("recipe: {name: a, sped: [1, 2]}", "?"),
    _data("recipe: {name: a}, size: big", "?"),
    _data("name: a, shares: 5", "?", "VideoMixture"),
    _data("name: a, shares: [{weight: 1, recpie: acc_shapes}]", "?", "VideoMixture"),
    _data("name: a, shares: [{weight: 0.5, recipe: acc_shapes}]", "?", "VideoMixture"),
    _data("name: a, shares: [{weight: 1, recipe: acc_shapes, videos: x}]", "?", "VideoMixture"),
    _config("data: 5", "?", "check-data my.yaml"),
    _config("data: {class_path: 5}", "?", "check-data my.yaml"),
    _config("data: {class_path: ActionClips, init_args: 5}", "?", "check-data my.yaml"),
    _config("data: {class_path: ActionClips, init_args: {videos: videos, num_frames: x}}", "?", "check-data my.yaml"),
    _config("data: {class_path: VideoMixture, init_args: {shares: 5}}", "?", "check-data my.yaml"),
    _config("data: {class_path: VideoMixture, init_args: {shares: [5]}}", "?", "check-data my.yaml"),
    _config("data: {class_path: VideoMixture}", "?", "check-data my.yaml"),
]
