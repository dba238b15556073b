"""The generated leaves: drawn again to the last bit, exact masks, and no way round the lesions."""

import json
from functools import cache

import numpy as np
import pytest
from cases import case
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_scripts import drawing, make_leaves
from data_scripts.make_leaves import BLACK_ROT, HEALTHY, draw_leaf, shipped
from data_scripts.manifest import ASSETS, read_manifest, sha256, update_manifest

SHIPPED = list(shipped())
SAMPLE = SHIPPED[7::41]  # 13 pictures, from both parts and both classes
# Chlorosis reaches 21 pixels; the soft edge of a lesion, a dew drop's lens and the blur add to it.
REACH = make_leaves.CHLOROSIS_SIGMA * make_leaves.CHLOROSIS_TRUNCATE + 6

drawn = cache(draw_leaf)


def read(name):
    return np.asarray(Image.open(ASSETS / name))


def mask_of(item):
    return read(f"{item.name}_mask.png")


# The shipped files


def test_the_seeds_of_the_shipped_pictures_are_0_to_499_part_by_part_and_class_by_class():
    assert [item.seed for item in SHIPPED] == list(range(500))
    layout = {seed: (SHIPPED[seed].name, SHIPPED[seed].label) for seed in (0, 199, 200, 400, 499)}
    assert layout == {
        0: ("leaves/train/healthy/leaf_0001", HEALTHY),
        199: ("leaves/train/healthy/leaf_0200", HEALTHY),
        200: ("leaves/train/black_rot/leaf_0001", BLACK_ROT),
        400: ("leaves/test/healthy/leaf_0001", HEALTHY),
        499: ("leaves/test/black_rot/leaf_0050", BLACK_ROT),
    }


def test_a_shipped_picture_is_drawn_again_to_the_last_bit():
    for item in SAMPLE:
        with case(item.name):
            leaf = drawn(item.seed, item.label)
            entries = read_manifest()
            assert entries[f"{item.name}.jpg"]["seed"] == item.seed
            assert entries[f"{item.name}.jpg"]["drawn_sha256"] == sha256(leaf.picture)
            assert entries[f"{item.name}_mask.png"]["drawn_sha256"] == sha256(mask_of(item))


def test_a_shipped_mask_is_that_of_the_leaf_drawn_again():
    for item in SAMPLE:
        with case(item.name):
            leaf = drawn(item.seed, item.label)
            np.testing.assert_array_equal(mask_of(item) >= 1, leaf.leaf_mask)
            np.testing.assert_array_equal(mask_of(item) == 2, leaf.lesion_mask)


def test_a_shipped_jpeg_stays_near_the_drawn_picture():
    for item in SAMPLE[::4]:
        difference = read(f"{item.name}.jpg").astype(float) - drawn(item.seed, item.label).picture
        assert np.abs(difference).mean() < 4, item.name  # of 255


def test_the_manifest_lists_every_file_on_disk_with_its_checksum_and_no_other():
    listed = {
        name: entry["sha256"]
        for name, entry in read_manifest().items()
        if entry["script"] == make_leaves.SCRIPT
    }
    files = [path for path in (ASSETS / "leaves").rglob("*") if path.is_file()]
    on_disk = {path.relative_to(ASSETS).as_posix(): sha256(path.read_bytes()) for path in files}
    assert listed == on_disk
    names = {item.name + end for item in SHIPPED for end in (".jpg", "_mask.png")}
    assert set(listed) == names


def test_the_shipped_leaves_take_less_than_12_megabytes():
    sizes = [path.stat().st_size for path in (ASSETS / "leaves").rglob("*") if path.is_file()]
    assert 0 < sum(sizes) < 12e6


def test_shipped_masks_hold_lesions_on_every_diseased_leaf_and_on_no_healthy_one():
    for item in SHIPPED:
        values = set(np.unique(mask_of(item)).tolist())
        assert values == ({0, 1, 2} if item.label == BLACK_ROT else {0, 1}), item.name


def test_lesions_are_small_spots_of_the_picture():
    shares = [np.mean(mask_of(item) == 2) for item in SHIPPED if item.label == BLACK_ROT]
    assert 0.015 < np.median(shares) < 0.03
    assert min(shares) >= make_leaves.MIN_LESION_SHARE
    assert max(shares) < 0.12


def test_mean_colour_does_not_tell_the_disease():
    def mean_colours(part):
        items = [item for item in SHIPPED if f"/{part}/" in item.name]
        colours = [read(f"{item.name}.jpg").mean(axis=(0, 1)) for item in items]
        return np.array(colours), np.array([item.label for item in items])

    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    classifier.fit(*mean_colours("train"))
    colours, labels = mean_colours("test")
    assert roc_auc_score(labels, classifier.decision_function(colours)) < 0.65


# Drawing


def test_the_same_seed_gives_the_same_leaf_and_another_seed_another():
    once, again, other = draw_leaf(3, BLACK_ROT), draw_leaf(3, BLACK_ROT), draw_leaf(4, BLACK_ROT)
    for part in ("picture", "leaf_mask", "lesion_mask"):
        np.testing.assert_array_equal(getattr(once, part), getattr(again, part))
        assert np.any(getattr(once, part) != getattr(other, part))


def test_drawing_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_leaf(3, BLACK_ROT, size=64)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_the_label_changes_nothing_away_from_the_lesions():
    for seed in range(10, 18):
        with case(f"seed {seed}"):
            healthy, diseased = drawn(seed, HEALTHY), drawn(seed, BLACK_ROT)
            changed = np.any(healthy.picture != diseased.picture, axis=2)
            distance = ndimage.distance_transform_edt(~diseased.lesion_mask)
            assert changed[diseased.lesion_mask].mean() > 0.9
            assert distance[changed].max() <= REACH
            np.testing.assert_array_equal(healthy.leaf_mask, diseased.leaf_mask)


def test_lesions_lie_on_the_leaf_and_healthy_leaves_have_none():
    for seed in range(10, 18):
        with case(f"seed {seed}"):
            healthy, diseased = drawn(seed, HEALTHY), drawn(seed, BLACK_ROT)
            assert diseased.lesion_mask.sum() >= 12
            assert not np.any(diseased.lesion_mask & ~diseased.leaf_mask)
            assert not healthy.lesion_mask.any()


def test_a_hole_is_neither_leaf_nor_lesion(monkeypatch):
    def one_large_hole(rng, canvas, blade):
        rows, columns = np.nonzero(blade.cover > 0.5)
        radius = np.hypot(
            canvas.x - canvas.x[0, int(columns.mean())], canvas.y - canvas.y[int(rows.mean()), 0]
        )
        return (radius < 0.2) * 1.0, np.zeros_like(blade.cover)

    seed = 12
    whole = draw_leaf(seed, BLACK_ROT)
    monkeypatch.setattr(make_leaves, "insect_holes", one_large_hole)
    holed = draw_leaf(seed, BLACK_ROT)
    hole = whole.leaf_mask & ~holed.leaf_mask
    assert np.pi * (0.18 * 112) ** 2 < hole.sum() < np.pi * (0.22 * 112) ** 2
    assert whole.lesion_mask[hole].any()
    assert not holed.lesion_mask[hole].any()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 2), r"label must be 0 \(healthy\) or 1 \(black rot\), got 2"),
        ((-1, 0), "seed must be 0 or more, got -1; the shipped pictures have 0 to 499"),
        ((0, 0, 32), "size must be at least 64 pixels, got 32.*draw larger"),
    ],
)
def test_an_argument_that_does_not_exist_is_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        draw_leaf(*arguments)


def test_downsampling_averages_areas():
    # 3 pixels to 2: each output covers one and a half inputs, (2 a + b) / 3 and (b + 2 c) / 3.
    row = np.array([[0.0, 3.0, 9.0]])
    expected = np.array([1.0, 7.0])
    np.testing.assert_allclose(drawing.downsample(row.T @ np.ones((1, 3)), 2)[:, 0], expected)
    np.testing.assert_allclose(drawing.downsample(np.ones((3, 1)) @ row, 2)[0], expected)


def test_a_flat_surface_is_as_bright_as_its_colour_and_a_slope_to_the_light_brighter():
    light = drawing.Light(1.0, 0.0, elevation=np.pi / 4)  # from the right, half way up
    np.testing.assert_allclose(drawing.relief(np.zeros((4, 4)), light), 1.0)
    falls_to_the_right = -np.arange(4.0) * np.ones((4, 1))  # slope 1: faces the light
    np.testing.assert_allclose(drawing.relief(falls_to_the_right, light), np.sqrt(2.0))
    np.testing.assert_allclose(drawing.relief(-falls_to_the_right, light), 0.0, atol=1e-12)


def test_a_shadow_falls_away_from_the_light():
    cover = np.zeros((31, 31))
    cover[15, 15] = 1.0
    shadow = drawing.cast_shadow(cover, drawing.Light(1.0, 0.0, 1.0), drop=6.0, softness=1.0)
    assert np.unravel_index(shadow.argmax(), shadow.shape) == (15, 9)


# The manifest and the command line


def test_the_manifest_keeps_the_entries_of_other_scripts_and_drops_stale_ones(tmp_path):
    update_manifest("b.py", {"b.png": {"sha256": "2"}}, tmp_path)
    update_manifest("a.py", {"old.png": {"sha256": "0"}}, tmp_path)
    update_manifest("a.py", {"a.png": {"seed": 5, "sha256": "1"}}, tmp_path)
    assert read_manifest(tmp_path) == {
        "a.png": {"script": "a.py", "seed": 5, "sha256": "1"},
        "b.png": {"script": "b.py", "sha256": "2"},
    }


def test_the_manifest_does_not_depend_on_the_order_of_writing(tmp_path):
    first, second = {"x": {"seed": 1, "sha256": "1"}}, {"y": {"sha256": "2"}}
    for folder, order in (("xy", [("x.py", first), ("y.py", second)]), ("yx", None)):
        for script, files in order or [("y.py", second), ("x.py", first)]:
            update_manifest(script, files, tmp_path / folder)
    text = (tmp_path / "xy" / "MANIFEST.json").read_text(encoding="utf-8")
    assert text == (tmp_path / "yx" / "MANIFEST.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_drawing_files_writes_what_the_manifest_says(tmp_path):
    item = SAMPLE[5]
    entries = make_leaves.draw_files(item, tmp_path)
    shipped_entries = read_manifest()
    assert set(entries) == {f"{item.name}.jpg", f"{item.name}_mask.png"}
    for name, entry in entries.items():
        assert entry["sha256"] == sha256((tmp_path / name).read_bytes())
        assert entry["drawn_sha256"] == shipped_entries[name]["drawn_sha256"]


def test_the_command_line_draws_a_contact_sheet(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_leaves", "--sample", "7", "--out", str(tmp_path)])
    make_leaves.main()
    sheet = np.asarray(Image.open(tmp_path / "leaves_sheet.png"))
    assert sheet.shape == (2 * 227, 6 * 227, 3)
    first_training_leaf = draw_leaf(make_leaves.FIRST_TRAINING_SEED, HEALTHY).picture
    np.testing.assert_array_equal(sheet[:224, :224], first_training_leaf)
