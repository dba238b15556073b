"""The embedded leaves, and PlantVillage's own folders."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import case
from PIL import Image
from sklearn.metrics import roc_auc_score

from labkit.data import (
    PATHOLOGY_CLASSES,
    PICTURE_ENDINGS,
    Leaves,
    _camera_number,
    known_truth,
    load_heritage,
    load_leaves,
    load_plant_pathology,
    load_streets,
    read_density_map,
)
from labkit.models import feature_layers, load_model
from labkit.probe import discriminant, features, mean_difference, roc_auc


def test_the_generated_leaves_have_200_and_50_a_class_with_masks():
    for part, n in zip(load_leaves(), (200, 50), strict=True):
        assert part.labels.tolist() == [0] * n + [1] * n
        assert all(picture.shape == (224, 224, 3) for picture in part.pictures)
        for label, leaf, lesion in zip(
            part.labels, part.leaf_masks, part.lesion_masks, strict=True
        ):
            assert leaf.any()
            assert lesion.any() == bool(label)
            assert not (lesion & ~leaf).any()
        assert "generated" in part.description


def leaves_with(lesions, leaf):
    """A healthy leaf and two sick ones, with these masks."""
    picture = np.zeros((2, 2, 3), np.uint8)
    names = ["a", "b", "c"]
    return Leaves([picture] * 3, torch.tensor([0, 1, 1]), names, leaf, lesions, "leaves")


def test_the_truth_is_the_lesions_where_they_are_known_else_the_leaf():
    none, mask, empty = None, np.eye(2, dtype=bool), np.zeros((2, 2), bool)
    known, masks, shown = known_truth(leaves_with([mask, mask, empty], [mask, none, none]))
    assert (known.names, len(masks), shown) == (["b"], 1, "the lesions")
    known, masks, shown = known_truth(leaves_with([none, none, none], [mask, none, mask]))
    assert (known.names, len(masks), shown) == (["c"], 1, "the leaf")
    assert masks[0] is mask
    with pytest.raises(ValueError, match="leaves must have a mask for at least one leaf"):
        known_truth(leaves_with([none, none, none], [mask, none, none]))


def test_so_many_of_the_truth_as_asked_for():
    _, test = load_leaves(n_test=5)
    known, masks, shown = known_truth(test, n=3)
    assert (len(known), len(masks), shown) == (3, 3, "the lesions")
    assert known.labels.tolist() == [1, 1, 1]


def test_two_sets_add_up():
    mask = np.eye(2, dtype=bool)
    both = leaves_with([mask] * 3, [None] * 3) + leaves_with([None] * 3, [mask] * 3)
    assert both.labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert both.names == ["a", "b", "c"] * 2
    assert [one is None for one in both.lesion_masks] == [False] * 3 + [True] * 3
    assert [one is None for one in both.leaf_masks] == [True] * 3 + [False] * 3
    assert len(both) == 6 and both.description == "leaves; leaves"


def test_fewer_can_be_asked_for_and_more_not():
    train, test = load_leaves(n_train=3, n_test=2)
    assert (len(train), len(test)) == (6, 4)
    with pytest.raises(ValueError, match=r"n_train must be at most 200 .* got 201"):
        load_leaves(n_train=201)
    with pytest.raises(ValueError, match="at least 1, got 0 and 50"):
        load_leaves(n_train=0)


def test_subsets_keep_all_parts_together():
    _, test = load_leaves(n_train=1, n_test=3)
    sick = test.where(1)
    assert sick.labels.tolist() == [1, 1, 1]
    assert sick.names == test.names[3:]
    assert all(mask.any() for mask in sick.lesion_masks)
    assert test.subset([4, 0]).names == [test.names[4], test.names[0]]


@pytest.fixture
def plantvillage(tmp_path):
    """Ten leaves a class, two photographs of each, numbered one after the other."""
    for folder, session in (("Apple___healthy", "RS_HL"), ("Apple___Black_rot", "JR_FrgE.S")):
        where = tmp_path / "raw" / "color" / folder
        where.mkdir(parents=True)
        for leaf in range(10):
            for shot in range(2):
                value = 10 * leaf + shot
                name = f"{value:04d}-uuid___{session} {100 + 10 * leaf + shot}.JPG"
                Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(where / name)
    return tmp_path


def test_photographs_of_one_leaf_stay_on_one_side(plantvillage):
    train, test = load_leaves(plantvillage, n_train=14, n_test=6)
    assert (len(train), len(test)) == (28, 12)
    assert not set(train.names) & set(test.names)
    leaves = [
        {(name.split("___")[1].split()[0], int(name.split()[-1][:3]) // 10) for name in part.names}
        for part in (train, test)
    ]
    assert not leaves[0] & leaves[1]


def test_a_run_too_long_for_the_test_set_gives_it_only_what_is_missing(plantvillage):
    # leaves have two photographs each: an odd test set must tear one of them, and no more
    train, test = load_leaves(plantvillage, n_train=15, n_test=5)
    assert (len(train), len(test)) == (30, 10)
    assert test.labels.tolist() == [0] * 5 + [1] * 5
    assert not set(train.names) & set(test.names)
    assert torn_runs(train, test) == 2  # one a class


def torn_runs(train, test):
    """How often the camera's next picture is on the other side."""
    side = {name: part for part in (train, test) for name in part.names}
    order = sorted(side, key=lambda name: _camera_number(Path(name)))
    numbers = [_camera_number(Path(name)) for name in order]
    return sum(
        before[0] == after[0] and after[1] - before[1] in (0, 1) and side[a] is not side[b]
        for a, b, before, after in zip(order, order[1:], numbers, numbers[1:], strict=False)
    )


def test_a_folder_is_also_looked_for_from_the_projects_root(plantvillage, monkeypatch):
    monkeypatch.setattr("labkit.data.PROJECT", plantvillage)
    monkeypatch.chdir(plantvillage / "raw")
    assert len(load_leaves("raw/color", n_train=1, n_test=1)[0]) == 2


def test_what_was_downloaded_goes_by_its_name(plantvillage, monkeypatch, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "plantvillage").symlink_to(plantvillage)
    monkeypatch.setattr("labkit.data.PROJECT", tmp_path)
    assert len(load_leaves("plantvillage", n_train=1, n_test=1)[0]) == 2


def test_hidden_files_are_no_leaves(plantvillage):
    for folder in (plantvillage / "raw" / "color").iterdir():
        (folder / "._0000-uuid___RS_HL 100.JPG").write_bytes(b"of a Mac")
    with pytest.raises(ValueError, match=r"must hold 15 \+ 6 pictures, got 20"):
        load_leaves(plantvillage, n_train=15, n_test=6)
    assert len(load_leaves(plantvillage, n_train=14, n_test=6)[0]) == 28


def test_the_split_follows_the_seed(plantvillage):
    names = [load_leaves(plantvillage, n_train=14, n_test=6, seed=s)[1].names for s in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_the_folder_may_be_any_of_three(plantvillage):
    for folder in (plantvillage, plantvillage / "raw", plantvillage / "raw" / "color"):
        assert len(load_leaves(folder, n_train=1, n_test=1)[0]) == 2


def test_blacked_out_twins_give_leaf_masks(plantvillage):
    color = plantvillage / "raw" / "color" / "Apple___healthy"
    path = sorted(color.iterdir())[0]
    twins = plantvillage / "raw" / "segmented" / "Apple___healthy"
    twins.mkdir(parents=True)
    twin = np.zeros((8, 8, 3), np.uint8)
    twin[:4] = 200
    Image.fromarray(twin).save(twins / f"{path.stem}_final_masked.jpg", quality=100)
    train, test = load_leaves(plantvillage, n_train=19, n_test=1)
    masks = dict(zip(train.names + test.names, train.leaf_masks + test.leaf_masks, strict=True))
    assert masks.pop(path.name)[:4].all()
    assert set(map(type, masks.values())) == {type(None)}


def test_camera_numbers_are_read_from_file_names(tmp_path):
    path = tmp_path / "0090d05d___JR_FrgE.S 8727.JPG"
    assert _camera_number(path) == ("JR_FrgE.S ", 8727)
    assert _camera_number(tmp_path / "holiday.jpg") == ("holiday", 0)


def test_folders_that_do_not_serve_are_named(tmp_path, plantvillage):
    with pytest.raises(
        FileNotFoundError, match=r"PlantVillage-Dataset.*got 'no/such'.*no folder"
    ) as error:
        load_leaves("no/such")
    assert "`python -m data_scripts.fetch_plantvillage` fetches them" in str(error.value)
    (tmp_path / "holiday").mkdir()
    with pytest.raises(ValueError, match=r"Apple___healthy and Apple___Black_rot.*pass the root"):
        load_leaves(tmp_path / "holiday")
    with pytest.raises(ValueError, match=r"must hold 200 \+ 50 pictures, got 20; .*n_train="):
        load_leaves(plantvillage)


# Plant Pathology 2020


@pytest.fixture
def pathology(tmp_path):
    """Four leaves a class as Kaggle has them; the shade of a leaf's picture is its number."""
    (tmp_path / "images").mkdir()
    rows = ["image_id,healthy,multiple_diseases,rust,scab"]
    for number in range(16):
        flags = ",".join("1" if number % 4 == k else "0" for k in range(4))
        rows.append(f"Train_{number},{flags}")
        shade = np.full((30, 40, 3), 10 * number, np.uint8)
        Image.fromarray(shade).save(tmp_path / "images" / f"Train_{number}.jpg")
    (tmp_path / "images" / "Test_0.jpg").write_bytes(b"has no label")
    (tmp_path / "train.csv").write_text("\n".join(rows))
    return tmp_path


def in_class_folders(folder):
    """The same leaves as fetch_plant_pathology puts them."""
    for number in range(16):
        place = folder / "sorted" / PATHOLOGY_CLASSES[number % 4] / f"Train_{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "images" / place.name, place)
    return folder / "sorted"


def test_plant_pathology_is_read_from_its_table_and_from_class_folders(pathology):
    for folder in (pathology, in_class_folders(pathology)):
        train, test = load_plant_pathology(
            folder, classes=("scab", "healthy"), n_train=3, n_test=1, size=15
        )
        assert train.labels.tolist() == [0] * 3 + [1] * 3 and test.labels.tolist() == [0, 1]
        assert train.classes == test.where(1).classes == (train + test).classes
        assert train.classes == ("scab", "healthy")
        for leaves in (train, test):
            numbers = [int(name.removeprefix("Train_")[:-4]) for name in leaves.names]
            assert [n % 4 for n in numbers] == [3 if k == 0 else 0 for k in leaves.labels]
            assert all(picture.shape == (15, 20, 3) for picture in leaves.pictures)
            shades = [picture.mean() / 10 for picture in leaves.pictures]
            assert shades == pytest.approx(numbers, abs=0.2)
        assert len({*train.names, *test.names}) == 8
        assert train.description == (
            f"Plant Pathology 2020, 3 apple leaves of each class, from {folder.name}"
        )
        chosen = [
            load_plant_pathology(folder, n_train=3, n_test=1, seed=s)[1].names for s in (0, 0, 1)
        ]
        assert chosen[0] == chosen[1] != chosen[2]
    with pytest.raises(ValueError, match=r"the same classes to be added, got \('scab'"):
        train + load_leaves(n_train=1, n_test=1)[0]


def test_what_is_wrong_with_plant_pathology_is_said(pathology):
    table = (pathology / "train.csv").read_text()
    cases = [
        (table, {"classes": "scab"}, r"at least two different ones of healthy, .*got 'scab'; for"),
        (table, {"classes": ["scab", "scab"]}, "at least two different"),
        (table, {"classes": ["scab", "rusty"]}, "got 'rusty'; did you mean 'rust'"),
        (table, {"n_train": 0}, "n_train and n_test must be at least 1, got 0 and 1"),
        (table, {"size": 0}, "size must be at least 1, got 0"),
        (table, {"n_train": 4}, r"class healthy in .* must hold 4 \+ 1 pictures, got 4; "),
        (table.replace("scab", "scabs"), {}, r"the columns .*scab, got \[.*'scabs'\]; fetch"),
        ("", {}, r"must have the columns image_id, .*, got \[\]"),
        (table.replace("_5,0,1", "_5,1,1"), {}, r"one class with 1 .*'Train_5', '1'.* in line 7"),
        (table.replace("_5,0,1,0,0", "_5"), {}, r"one class with 1 .*'Train_5', None.* in line 7"),
        (table.replace("Train_5", "Train_99"), {}, "hold images/Train_99.jpg, which.*fetch_plant"),
    ]  # fmt: skip
    for content, settings, said in cases:
        (pathology / "train.csv").write_text(content)
        with case(said), pytest.raises((ValueError, FileNotFoundError), match=said):
            load_plant_pathology(pathology, **{"n_train": 3, "n_test": 1, **settings})
    (pathology / "train.csv").unlink()
    with pytest.raises(ValueError, match=r"train\.csv and images, .*with \['images'\]; .*fetch_p"):
        load_plant_pathology(pathology)
    with pytest.raises(FileNotFoundError, match="got 'nowhere'.*data_scripts.fetch_plant"):
        load_plant_pathology("nowhere")


@pytest.mark.real
def test_the_probe_reads_leaf_health_from_real_features(real_folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(real_folder / "torch"))
    model = load_model("squeezenet1_1")
    train, test = load_leaves(real_folder / "plantvillage")
    assert (len(train), len(test)) == (400, 100)
    assert not set(train.names) & set(test.names)
    assert torn_runs(train, test) == 0
    assert sum(mask is not None for mask in train.leaf_masks + test.leaf_masks) == 40
    layer = feature_layers(model)[-1]
    phi = [features(model, model.prepare_all(part.pictures), layer) for part in (train, test)]
    scores = discriminant(phi[1], mean_difference(phi[0], train.labels))
    ours, theirs = roc_auc(scores, test.labels), roc_auc_score(test.labels, scores)
    print(f"AUC of the mean difference: ours {ours:.4f}, scikit-learn's {theirs:.4f}")
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert ours > 0.8
    assert torch.isfinite(scores).all()


# buildings with gaze


def write_grey(path, value, size=(6, 8)):
    """A ramp from 0 in the first pixel to the value in the last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, value, size[0] * size[1]).reshape(size)
    Image.fromarray(np.rint(ramp).astype(np.uint8)).save(path)


@pytest.fixture
def mexculture(tmp_path):
    """Two pictures of one monument and one of another, as MexCulture142 names its files."""
    for stem in (
        "Colonial_Church_Puebla_N_1",
        "Colonial_Church_Puebla_N_2",
        "Modern_Bank_CDMX_N_1",
    ):
        write_grey(tmp_path / "Images" / f"{stem}.png", 90)
    for name, value in (
        ("Colonial_Church_Puebla_GFDM_N_1", 51),
        ("Modern_Bank_CDMX_GFDM_N_1", 255),
    ):
        write_grey(tmp_path / "Density Maps" / f"{name}.png", value)
    write_grey(tmp_path / "Density Maps" / "Prehispanic_Temple_Yucatan_GFDM_N_1.png", 0)
    for folder, name, text in (
        ("Fixations", "Colonial_Church_Puebla_GazeFix_N_1", "1.5 2\n3 4.5\n"),
        ("Scanpaths", "Colonial_Church_Puebla_ScanPath_N_1_P_1", "1.5 2 0.25\n"),
        ("Scanpaths", "Colonial_Church_Puebla_ScanPath_N_1_P_2", "3\t4.5\t0.5\n\n"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.txt").write_text(text)
    return tmp_path


def test_heritage_is_matched_by_name(mexculture):
    heritage = load_heritage(mexculture)
    assert heritage.names == [
        "Colonial_Church_Puebla_N_1",
        "Colonial_Church_Puebla_N_2",
        "Modern_Bank_CDMX_N_1",
    ]
    assert heritage.labels.tolist() == [1, 1, 2]
    assert heritage.pictures[0].shape == (6, 8, 3)
    ramp = torch.arange(48).reshape(6, 8) / 47
    torch.testing.assert_close(heritage.density_maps[0], ramp, atol=0.5 / 51, rtol=0)
    assert heritage.density_maps[1] is None
    assert heritage.fixations[0].tolist() == [[1.5, 2.0], [3.0, 4.5]]
    assert heritage.fixations[2] is None
    assert [path.tolist() for path in heritage.scanpaths[0]] == [[[1.5, 2, 0.25]], [[3, 4.5, 0.5]]]


def test_what_lacks_its_twin_is_listed(mexculture):
    assert load_heritage(mexculture).missing == [
        "Colonial_Church_Puebla_N_2.png has no density map",
        "Prehispanic_Temple_Yucatan_GFDM_N_1.png has no picture",
        "Colonial_Church_Puebla_N_2.png has no fixations",
        "Modern_Bank_CDMX_N_1.png has no fixations",
        "Colonial_Church_Puebla_N_2.png has no scanpaths",
        "Modern_Bank_CDMX_N_1.png has no scanpaths",
    ]


def test_gaze_without_picture_and_what_is_there_twice_are_listed(tmp_path):
    for name in ("street.jpg", "street.png"):
        write_grey(tmp_path / "images" / name, 10)
    write_grey(tmp_path / "Part_Masks" / "Modern_Bank_CDMX_Parts_N_1.png", 1)
    (tmp_path / "SCANPATHS").mkdir()
    for subject in (1, 2):
        name = f"Modern_Bank_CDMX_ScanPath_N_1_P_{subject}.txt"
        (tmp_path / "SCANPATHS" / name).write_text("1 2 0.5\n")
    (tmp_path / "density maps").mkdir()  # and nothing in it
    heritage = load_heritage(tmp_path)
    assert heritage.names == ["street"]
    assert heritage.missing == [
        "street.jpg has no density map",
        "street.jpg has no part mask",
        "Modern_Bank_CDMX_Parts_N_1.png has no picture",
        "street.jpg has no scanpaths",
        "Modern_Bank_CDMX_ScanPath_N_1_P_1.txt has no picture",
        "Modern_Bank_CDMX_ScanPath_N_1_P_2.txt has no picture",
        "street.png is left out: street.jpg has the same name",
    ]


def test_part_masks_hold_indices_and_not_the_colours_of_their_palette(mexculture):
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 4
    image = Image.fromarray(mask)
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    (mexculture / "Part Masks").mkdir()
    image.save(mexculture / "Part Masks" / "Colonial_Church_Puebla_Parts_N_2.png")
    masks = load_heritage(mexculture).part_masks
    assert masks[0] is None
    assert np.array_equal(masks[1], mask)


def test_a_subset_keeps_all_parts_together(mexculture):
    heritage = load_heritage(mexculture)
    some = heritage.subset(torch.tensor([2, 0]))
    assert len(some) == 2
    assert some.names == ["Modern_Bank_CDMX_N_1", "Colonial_Church_Puebla_N_1"]
    assert some.labels.tolist() == [2, 1]
    assert [path.stem for path in some.paths] == some.names
    assert [path.stem for path in some.density_paths] == [
        "Modern_Bank_CDMX_GFDM_N_1",
        "Colonial_Church_Puebla_GFDM_N_1",
    ]
    assert some.fixations[0] is None and len(some.fixations[1]) == 2
    assert [len(paths) for paths in some.scanpaths] == [0, 2]
    assert len(some.part_masks) == 2
    assert (some.missing, some.description) == (heritage.missing, heritage.description)


def test_the_description_says_which_folder(mexculture):
    expected = f"3 pictures from {mexculture.name}, 2 with a density map"
    assert load_heritage(mexculture).description == expected


def test_plain_folders_are_matched_by_stem(tmp_path):
    write_grey(tmp_path / "photos" / "street.jpg", 10)
    write_grey(tmp_path / "gaze" / "street.png", 255)
    heritage = load_heritage(tmp_path / "photos", density_maps=tmp_path / "gaze")
    assert heritage.density_maps[0].max() == 1.0
    assert (heritage.labels.tolist(), heritage.missing) == ([-1], [])


def test_pictures_are_opened_when_asked_for(mexculture):
    heritage = load_heritage(mexculture)
    heritage.paths[1].unlink()
    assert heritage.pictures[0] is not None
    with pytest.raises(FileNotFoundError):
        heritage.pictures[1]


def test_columns_beyond_the_wanted_ones_and_hidden_files_are_left_alone(mexculture):
    path = mexculture / "Fixations" / "Colonial_Church_Puebla_GazeFix_N_1.txt"
    path.write_text("1.5 2 0.3 left\n3 4.5\n")
    (mexculture / "Images" / "._Colonial_Church_Puebla_N_1.png").write_bytes(b"of a Mac")
    heritage = load_heritage(mexculture)
    assert heritage.fixations[0].tolist() == [[1.5, 2.0], [3.0, 4.5]]
    assert len(heritage) == 3


def test_gaze_may_be_separated_by_commas_and_start_with_a_byte_order_mark(mexculture):
    path = mexculture / "Fixations" / "Colonial_Church_Puebla_GazeFix_N_1.txt"
    path.write_bytes(b"\xef\xbb\xbf1.5,2\r\n3; 4\r\n")
    assert load_heritage(mexculture).fixations[0].tolist() == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("line", ["12", "a b", "1 x"])
def test_a_broken_line_of_gaze_is_named(mexculture, line):
    path = mexculture / "Fixations" / "Colonial_Church_Puebla_GazeFix_N_1.txt"
    path.write_text(f"1 2\n{line}\n")
    with pytest.raises(ValueError, match=rf"{path.name} must have 2 numbers.*'{line}' in line 2"):
        load_heritage(mexculture)


def names(paths):
    return [path and path.name for path in paths]


def test_pictures_and_gaze_may_lie_side_by_side(tmp_path):
    for name in (
        "Modern_Bank_CDMX_N_1.png",
        "Modern_Bank_CDMX_gfdm_N_1.PNG",
        "Modern_Bank_CDMX_Parts_N_1.png",
        "Modern_Spare_Parts_N.png",
        "i10.JPEG",
        "i10_fixMap.jpg",
        "i10_fixPts.jpg",
        "i11_fixPts.jpg",
    ):
        write_grey(tmp_path / name, 90)
    np.save(tmp_path / "Modern_Spare_Parts_N.npy", np.eye(6, 8))
    (tmp_path / "Modern_Bank_CDMX_GazeFix_N_1.txt").write_text("1 2\n")
    heritage = load_heritage(tmp_path, density_maps=tmp_path)
    assert heritage.names == ["Modern_Bank_CDMX_N_1", "Modern_Spare_Parts_N", "i10"]
    assert names(heritage.density_paths) == [
        "Modern_Bank_CDMX_gfdm_N_1.PNG",
        "Modern_Spare_Parts_N.npy",
        "i10_fixMap.jpg",
    ]
    assert names(heritage.part_paths) == ["Modern_Bank_CDMX_Parts_N_1.png", None, None]
    assert [None if one is None else one.tolist() for one in heritage.fixations] == [
        [[1.0, 2.0]],
        None,
        None,
    ]
    assert heritage.missing[-1] == (
        "i10_fixPts.jpg and 1 more are left out: .jpg files are not read as fixation pictures"
    )


def test_the_folders_of_mit1003_are_known(tmp_path):
    write_grey(tmp_path / "ALLSTIMULI" / "i10.jpeg", 90)
    write_grey(tmp_path / "ALLFIXATIONMAPS" / "i10_fixMap.jpg", 90)
    write_grey(tmp_path / "ALLFIXATIONMAPS" / "i10_fixPts.jpg", 90)
    heritage = load_heritage(tmp_path)
    assert (heritage.names, names(heritage.density_paths)) == (["i10"], ["i10_fixMap.jpg"])
    assert heritage.missing == [
        "i10_fixPts.jpg is left out: .jpg files are not read as fixation pictures"
    ]


def test_every_format_is_listed_and_what_is_no_picture_is_said(tmp_path):
    for number, ending in enumerate(PICTURE_ENDINGS):
        (tmp_path / f"{number}{ending.upper()}").write_bytes(b"to be opened later")
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "1.heic", "2.heic", "README"):
        (tmp_path / name).write_bytes(b"")
    write_grey(tmp_path / "holiday" / "beach.png", 90)
    heritage = load_heritage(tmp_path)
    assert len(heritage) == len(PICTURE_ENDINGS) > 20
    assert heritage.missing == [
        "1.heic and 1 more are left out: .heic files are not read as pictures",
        "README is left out: such files are not read as pictures",
        "the folder holiday is left out: pass it by itself to read what is in it",
    ]


def test_maps_of_the_pictures_own_names_serve_and_one_on_its_side_is_refused(tmp_path):
    for name in ("a", "b"):
        write_grey(tmp_path / "Images" / f"{name}.png", 90)
    write_grey(tmp_path / "Density_Maps" / "a.png", 90)
    write_grey(tmp_path / "Density_Maps" / "b.png", 90, size=(8, 6))
    heritage = load_heritage(tmp_path)
    assert heritage.missing == []
    assert heritage.density_maps[0].shape == (6, 8)
    with pytest.raises(ValueError, match=r"Density_Maps.b\.png.*rows and columns are swapped"):
        heritage.density_maps[1]
    with pytest.raises(ValueError, match="rows and columns are swapped"):
        heritage.subset([1]).density_maps[0]


def test_folders_without_buildings_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="a folder of pictures, got 'nowhere'.*fetch_mexc"):
        load_heritage("nowhere")
    write_grey(tmp_path / "holiday" / "beach_GFDM.png", 90)
    for folder, there in ((tmp_path, "holiday"), (tmp_path / "holiday", "beach_GFDM.png")):
        with pytest.raises(ValueError, match=rf"must hold pictures .* with \['{there}'\]; pass"):
            load_heritage(folder)


def test_streets_show_two_buildings_side_by_side():
    streets = load_streets()
    assert sorted(street.labels for street in streets) == [(0, 1), (1, 2), (2, 0)]
    for picture, (left, right), _ in streets:
        assert picture.shape == (224, 224, 3)
        assert not (left & right).any()
        assert np.argwhere(left).mean(axis=0)[1] + 40 < np.argwhere(right).mean(axis=0)[1]
        assert min(left.mean(), right.mean()) > 0.03


@pytest.mark.real
def test_real_gaze_loads(real_folder):
    heritage = load_heritage(real_folder / "mexculture142")
    assert (len(heritage), heritage.labels.tolist()) == (2, [1, 2])
    assert heritage.missing == [
        "Prehispanic_EstructuraVIIIDeEdzna_Campeche_GFDM_N_1.png has no picture"
    ]
    for picture, density in zip(heritage.pictures, heritage.density_maps, strict=True):
        assert picture.shape[:2] == density.shape
        assert density.max() > 0.9
    photographs = load_heritage(real_folder / "mit1003")
    assert (len(photographs), photographs.missing) == (25, [])
    for path in photographs.density_paths:
        assert read_density_map(path).max() == 1.0


@pytest.mark.real
def test_real_gaze_loads_by_mit1003s_own_names_in_one_folder(real_folder, tmp_path):
    for path in (real_folder / "mit1003" / "images").iterdir():
        density = path.parents[1] / "density_maps" / path.name
        shutil.copy(path, tmp_path / f"{path.stem}.jpeg")
        shutil.copy(density, tmp_path / f"{path.stem}_fixMap.jpg")
        shutil.copy(density, tmp_path / f"{path.stem}_fixPts.jpg")
    heritage = load_heritage(tmp_path)
    assert len(heritage) == 25 and all(path.suffix == ".jpeg" for path in heritage.paths)
    assert names(heritage.density_paths) == [f"{name}_fixMap.jpg" for name in heritage.names]
    assert heritage.pictures[3].shape[:2] == heritage.density_maps[3].shape
    assert len(heritage.missing) == 1 and " and 24 more are left out" in heritage.missing[0]
