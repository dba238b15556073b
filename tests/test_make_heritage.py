"""The generated monuments: drawn again to the last bit, their parts known, their gaze simulated."""

import re
from functools import cache

import numpy as np
import pytest
from cases import case
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_scripts import make_heritage
from data_scripts.heritage import gaze, materials
from data_scripts.heritage.facades import (
    PART_NAMES,
    STYLES,
    arch,
    beam,
    disc,
    extruded,
    frustum,
    rectangle,
)
from data_scripts.heritage.gaze import simulate_scanpaths
from data_scripts.heritage.raycast import (
    UP,
    Outline,
    Patch,
    Round,
    camera,
    fragments,
    sun_view,
    sunlit,
    trace,
)
from data_scripts.make_heritage import FIRST_TRAINING_SEED, draw_building, draw_street, shipped
from data_scripts.manifest import ASSETS, read_manifest, sha256
from labkit.metrics.gaze import density_map

SHIPPED = list(shipped())
SAMPLE = SHIPPED[3::9]  # 5 pictures, of all styles and both views
PREHISPANIC, COLONIAL, MODERN = range(3)
TIERS, STAIRS, TEMPLE = range(1, 4)
DOME, GABLE, PORTAL, WINDOW, TOWER = range(1, 6)
CURTAIN_WALL, ROOF, ENTRANCE = range(1, 4)
X, BACK = np.eye(3)[:2]

drawn = cache(draw_building)


def read(name):
    return np.asarray(Image.open(ASSETS / name))


def read_columns(name):
    return np.loadtxt(ASSETS / name, ndmin=2)


def scanpath_files(item):
    return [item.file("Scanpaths", "ScanPath_", "txt", f"_P_{k:02d}") for k in range(1, 21)]


def listed():
    script = make_heritage.SCRIPT
    return {n: entry for n, entry in read_manifest().items() if entry["script"] == script}


# The shipped files


def test_the_seeds_of_the_shipped_monuments_are_0_to_23_style_by_style_in_two_views():
    assert [(item.seed, item.view) for item in SHIPPED] == [
        (seed, view) for seed in range(24) for view in (0, 1)
    ]
    assert [item.style for item in SHIPPED] == [PREHISPANIC] * 16 + [COLONIAL] * 16 + [MODERN] * 16
    assert FIRST_TRAINING_SEED > 23


def test_all_files_have_mexculture142s_names():
    name = r"heritage/{}/(Prehispanic|Colonial|Modern)_Monument\d\d_Generated_{}"
    patterns = {
        name.format("Images", r"N_[12]\.png"): 48,
        name.format("Fixations", r"GazeFix_N_[12]\.txt"): 48,
        name.format("Density Maps", r"GFDM_N_[12]\.png"): 48,
        name.format("Part Masks", r"Parts_N_[12]\.png"): 48,
        name.format("Scanpaths", r"ScanPath_N_[12]_P_(0[1-9]|1\d|20)\.txt"): 48 * 20,
        r"streets/[A-Z][a-z]+_[A-Z][a-z]+_Generated(_Masks)?\.png": 6,
    }
    counts = {p: sum(bool(re.fullmatch(p, name)) for name in listed()) for p in patterns}
    assert counts == patterns
    assert len(listed()) == sum(patterns.values())
    assert SHIPPED[17].file("Images") == "heritage/Images/Colonial_Monument09_Generated_N_2.png"


def test_the_manifest_lists_every_file_on_disk_with_its_checksum_and_no_other():
    folders = (ASSETS / "heritage", ASSETS / "streets")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    on_disk = {path.relative_to(ASSETS).as_posix(): sha256(path.read_bytes()) for path in files}
    assert {name: entry["sha256"] for name, entry in listed().items()} == on_disk


def test_the_shipped_pictures_take_less_than_7_megabytes():
    sizes = [path.stat().st_size for path in (ASSETS / "heritage").rglob("*") if path.is_file()]
    assert 0 < sum(sizes) < 7e6


def test_a_shipped_picture_is_drawn_again_to_the_last_bit():
    for item in SAMPLE:
        with case(item.file("Images")):
            building = drawn(item.seed, item.style, view=item.view)
            np.testing.assert_array_equal(read(item.file("Images")), building.picture)
            np.testing.assert_array_equal(read(item.file("Part Masks", "Parts_")), building.parts)
            for name, array in (("Images", building.picture), ("Part Masks", building.parts)):
                entry = listed()[item.file(name, "Parts_" if name == "Part Masks" else "")]
                assert entry["seed"] == item.seed
                assert entry["drawn_sha256"] == sha256(array)


def test_a_shipped_street_is_drawn_again_to_the_last_bit():
    street = draw_street(26, make_heritage.STREETS[26])
    name = "streets/Prehispanic_Colonial_Generated"
    np.testing.assert_array_equal(read(f"{name}.png"), street.picture)
    which = read(f"{name}_Masks.png")
    np.testing.assert_array_equal(np.stack([which == 1, which == 2]), street.masks)
    assert listed()[f"{name}.png"]["drawn_sha256"] == sha256(street.picture)


def test_shipped_gaze_is_simulated_again_from_the_shipped_parts():
    for item in SAMPLE:
        with case(item.file("Images")):
            parts = read(item.file("Part Masks", "Parts_"))
            again = simulate_scanpaths(parts, item.style, 2 * item.seed + item.view)
            for name, scanpath in zip(scanpath_files(item), again, strict=True):
                np.testing.assert_array_equal(read_columns(name), scanpath)


def test_a_fixation_file_holds_the_places_of_all_scanpaths_in_their_order():
    for item in SHIPPED:
        paths = [read_columns(name) for name in scanpath_files(item)]
        fixations = read_columns(item.file("Fixations", "GazeFix_", "txt"))
        np.testing.assert_array_equal(fixations, np.concatenate(paths)[:, :2])


def test_density_maps_are_those_of_the_fixations():
    for item in SHIPPED[::6]:
        fixations = read_columns(item.file("Fixations", "GazeFix_", "txt"))
        density = read(item.file("Density Maps", "GFDM_"))
        expected = density_map(fixations, (224, 224)).numpy() * 255
        assert density.dtype == np.uint8
        assert density.max() == 255
        np.testing.assert_allclose(density, expected, atol=0.51)


def test_every_shipped_picture_shows_its_monument():
    for item in SHIPPED:
        parts = read(item.file("Part Masks", "Parts_"))
        n_parts = len(PART_NAMES[STYLES[item.style]])
        assert parts.max() <= n_parts
        assert len(np.unique(parts[parts > 0])) >= 2, item
        assert 0.02 < np.mean(parts > 0) < 0.6, item


# Drawing


def test_the_same_arguments_give_the_same_monument_and_others_another():
    once, again = draw_building(3, COLONIAL, 96), draw_building(3, COLONIAL, 96)
    np.testing.assert_array_equal(once.picture, again.picture)
    np.testing.assert_array_equal(once.parts, again.parts)
    for other in ((4, COLONIAL, 96), (3, MODERN, 96), (3, COLONIAL, 96, 1)):
        assert np.any(draw_building(*other).picture != once.picture)


def test_drawing_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate_scanpaths(draw_building(3, PREHISPANIC, size=64).parts, PREHISPANIC, 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("style", range(3))
def test_two_views_show_the_same_monument_from_two_sides_under_two_skies(style, monkeypatch):
    shots = []

    def record(function):
        def recorded(*arguments):
            shots.append((function.__name__, arguments))
            return function(*arguments)

        return recorded

    for name in ("photograph", "trace", "draw_daylight"):
        monkeypatch.setattr(make_heritage, name, record(getattr(make_heritage, name)))
    pictures = [draw_building(5, style, 64, view).picture for view in (0, 1)]
    assert np.mean(pictures[0] != pictures[1]) > 0.9
    first, second = (a[2][0] for name, a in shots if name == "photograph")
    assert len(first) == len(second) > 10
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.origin, other.origin)
        np.testing.assert_array_equal(one.colour, other.colour)
    eyes = [a[0].origin for name, a in shots if name == "trace" and not a[0].parallel]
    assert eyes[0][0] > 1.0  # from the right
    assert eyes[1][0] < -1.0  # from the left


def test_the_style_changes_nothing_in_the_sky():
    # What differs is a monument: one piece below, with nothing different above or beside it.
    for seed in (30, 31, 32):
        one, two, three = (drawn(seed, style).picture[:70] for style in range(3))
        same = np.all((one == two) & (one == three), axis=2)
        with case(f"seed {seed}"):
            assert same[:12].all()
            assert same[:, :8].all()
            assert same.mean() > 0.6
            assert not same.all()


@pytest.mark.slow
def test_mean_colour_does_not_tell_the_style():
    styles = np.arange(75) % 3
    colours = [
        draw_building(FIRST_TRAINING_SEED + k, style, 64, k % 2).picture.mean(axis=(0, 1))
        for k, style in enumerate(styles)
    ]
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    assert cross_val_score(classifier, colours, styles, cv=10).mean() < 0.55  # 1/3 by chance


def middle(parts, part):
    return np.argwhere(parts == part).mean(axis=0)  # row, column


def test_stairs_lie_in_the_middle_of_the_tiers_and_the_temple_on_top():
    for seed in range(40, 46):
        with case(f"seed {seed}"):
            parts = drawn(seed, PREHISPANIC, 112, seed % 2).parts
            columns = np.nonzero(np.any(parts == TIERS, axis=0))[0]
            left, right = columns.min(), columns.max()
            assert 0.15 < (middle(parts, STAIRS)[1] - left) / (right - left) < 0.85
            if np.any(parts == TEMPLE):
                assert np.nonzero(parts == TEMPLE)[0].min() < np.nonzero(parts == TIERS)[0].min()
                assert middle(parts, TEMPLE)[0] < middle(parts, STAIRS)[0] - 5


def test_a_church_has_its_portal_below_its_gable_and_its_towers_and_dome_above():
    for seed in range(40, 46):
        with case(f"seed {seed}"):
            parts = drawn(seed, COLONIAL, 112, seed % 2).parts
            portal, gable = middle(parts, PORTAL), middle(parts, GABLE)
            assert gable[0] < portal[0]
            assert abs(gable[1] - portal[1]) < 20
            for part in {DOME, TOWER} & set(np.unique(parts).tolist()):
                assert np.nonzero(parts == part)[0].max() < portal[0]


def test_a_modern_house_has_its_roof_above_and_its_entrance_below():
    for seed in range(40, 46):
        with case(f"seed {seed}"):
            parts = drawn(seed, MODERN, 112, seed % 2).parts
            rows = {k: np.nonzero(parts == k)[0] for k in (CURTAIN_WALL, ROOF, ENTRANCE)}
            assert rows[ROOF].min() < rows[CURTAIN_WALL].min()
            assert rows[ENTRANCE].max() >= rows[CURTAIN_WALL].max()
            assert len(rows[CURTAIN_WALL]) > len(rows[ROOF])


def test_a_larger_picture_shows_the_same():
    small, large = drawn(7, COLONIAL, 112).parts, drawn(7, COLONIAL, 224).parts[::2, ::2]
    assert np.mean(small == large) > 0.95
    both, either = np.sum((small > 0) & (large > 0)), np.sum((small > 0) | (large > 0))
    assert both / either > 0.85


def test_a_street_shows_two_monuments_side_by_side():
    street = draw_street(50, (MODERN, PREHISPANIC), 112)
    left, right = street.masks
    assert street.styles == (MODERN, PREHISPANIC)
    assert street.picture.shape == (112, 112, 3)
    assert not np.any(left & right)
    assert min(left.mean(), right.mean()) > 0.03
    assert np.argwhere(left).mean(axis=0)[1] < np.argwhere(right).mean(axis=0)[1] - 20
    assert set(np.unique(street.parts[left])) <= {0, CURTAIN_WALL, ROOF, ENTRANCE}
    assert STAIRS in street.parts[right]
    edges = ndimage.binary_dilation(left | right)
    assert not street.parts[~edges].any()


def test_a_street_of_one_style_has_two_different_monuments(monkeypatch):
    seen = []
    photograph = make_heritage.photograph
    monkeypatch.setattr(make_heritage, "photograph", lambda *a: seen.append(a[2]) or photograph(*a))
    draw_street(51, (COLONIAL, COLONIAL), 64)
    left, right = seen[0]
    assert np.any(left[0].colour != right[0].colour)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 3), r"style must be 0 \(pre-Hispanic\), 1 \(colonial\) or 2 \(modern\), got 3"),
        ((-1, 0), "seed must be 0 or more, got -1; the shipped pictures have 0 to 26"),
        ((0, 0, 32), "size must be at least 64 pixels, got 32.*draw larger"),
        ((0, 0, 64, 2), "view must be 0 or 1, got 2: a monument has two pictures"),
    ],
)
def test_an_argument_that_does_not_exist_is_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        draw_building(*arguments)
    seed, style, *rest = arguments
    with pytest.raises(ValueError, match=text):
        draw_street(seed, (0, style), *rest)


# Rays and surfaces


def forward_view(n=3, half=1.0):
    """An eye 10 metres before the plane y = 0 and 2 above the ground, looking at it."""
    eye = np.array([0.0, -10.0, 2.0])
    return camera(eye, BACK, 0.0, (-half, half), (-half, half), n)


def wall(y=0.0, **settings):
    outline = settings.pop("outline", rectangle(4.0, 6.0))
    return Patch(y * BACK, X, UP, outline, None, np.ones(3), **settings)


def test_rays_meet_a_wall_where_it_stands():
    # Rays through x, y = -2/3, 0, 2/3 of the screen meet the wall at 10 times that, from z = 2.
    seen = trace(forward_view(), [wall(outline=rectangle(7.0, 3.0))])
    inf = np.inf
    expected = [[inf, inf, inf], [10.0, 10.0, 10.0], [inf, inf, inf]]
    np.testing.assert_allclose(seen.depth, expected)
    ((_, shown),) = fragments(forward_view(), seen, [wall(outline=rectangle(7.0, 3.0))])
    np.testing.assert_allclose(shown.a, [-20 / 3, 0.0, 20 / 3], atol=1e-12)
    np.testing.assert_allclose(shown.b, 2.0)
    np.testing.assert_allclose(shown.normal, [-BACK] * 3)
    np.testing.assert_allclose(shown.grain, 10.0 * 2 / 3)


def test_the_nearer_wall_hides_the_farther_and_a_hole_shows_it():
    hole = ((0.0, 1.0, rectangle(1.0, 2.0)),)
    near, far = wall(-4.0, holes=hole), wall(0.0)
    view = forward_view(n=5, half=0.5)
    depth = trace(view, [far, near]).depth
    # The near wall is 6 metres away; its hole is seen within 1/6 of the middle, here the centre.
    assert depth[2, 2] == pytest.approx(10.0)
    assert depth[2, 1] == pytest.approx(6.0)
    assert depth[1, 2] == pytest.approx(6.0)


def test_the_back_of_a_wall_is_not_seen():
    back = Patch(np.zeros(3), -X, UP, rectangle(4.0, 6.0), None, np.ones(3))
    assert np.isinf(trace(forward_view(), [back]).depth).all()


def test_a_column_and_a_dome_are_round():
    column = Round(np.zeros(3), 2.0, 5.0, 0.0, None, np.ones(3))
    view = forward_view(n=201, half=0.5)
    seen = trace(view, [column])
    assert seen.depth[100, 100] == pytest.approx(8.0)  # 10 less the radius
    covered = view.x[np.isfinite(seen.depth[100])]
    assert covered.max() == pytest.approx(2.0 / np.sqrt(96.0), abs=0.005)  # tangent of the edge
    dome = Round(2.0 * UP, 3.0, 3.0, 1.0, None, np.ones(3))  # from 2 metres up: half a ball
    seen = trace(view, [dome])
    row = np.searchsorted(-view.y, -0.1)
    # The distance d along (0, 1, y) solves (d - 10)^2 + (y d)^2 = 9.
    y = view.y[row]
    d = (10.0 - np.sqrt(100.0 - 91.0 * (1.0 + y * y))) / (1.0 + y * y)
    assert seen.depth[row, 100] == pytest.approx(d)
    ((_, shown),) = fragments(view, seen, [dome])
    towards_middle = shown.position - 2.0 * UP
    np.testing.assert_allclose(3.0 * shown.normal, towards_middle, atol=1e-9)


def test_what_reaches_behind_the_eye_is_seen_all_the_same():
    ground = Patch(-50.0 * BACK, X, BACK, rectangle(90.0, 200.0), None, np.ones(3))
    depth = trace(forward_view(n=4), [ground]).depth
    assert np.isinf(depth[:2]).all()  # above the horizon
    np.testing.assert_allclose(depth[2], 2.0 / 0.25)  # 2 metres below the eye, 1/4 a metre
    np.testing.assert_allclose(depth[3], 2.0 / 0.75)


def test_a_shadow_falls_away_from_the_sun():
    # The sun stands in the east, 45 degrees up: a slab 3 metres up throws its shadow 3 metres west.
    towards_sun = np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5)])
    slab = Patch(3.0 * UP - BACK, X, BACK, rectangle(1.0, 2.0), None, np.ones(3))
    ground = Patch(-20.0 * BACK, X, BACK, rectangle(20.0, 40.0), None, np.ones(3))
    above = np.array([0.0, -0.01, 9.0])
    view = camera(above, -UP + 1e-3 * BACK, 0.0, (-1.0, 1.0), (-1.0, 1.0), 181)
    ((_, shown),) = fragments(view, trace(view, [ground]), [ground])
    sun = sun_view(towards_sun, np.zeros(3), 12.0, 481)
    light = sunlit(sun, trace(sun, [slab]), shown, bias=0.01)
    in_shadow = shown.position[light < 0.5]
    np.testing.assert_allclose(in_shadow.mean(axis=0), [-3.0, 0.0, 0.0], atol=0.06)
    np.testing.assert_allclose(np.abs(in_shadow + [3.0, 0, 0]).max(axis=0)[:2], 1.0, atol=0.15)
    np.testing.assert_allclose(light[np.abs(shown.position[:, 0] + 3.0) > 1.3], 1.0)


def test_outlines_contain_what_they_should():
    triangle = Outline((0.0, 2.0), (1.0, 0.0))
    a, b = np.array([0.0, 0.4, 0.6, -0.4, 0.0]), np.array([1.0, 1.0, 1.0, 1.0, -0.1])
    assert triangle.contains(a, b).tolist() == [True, True, False, True, False]
    assert (arch(1.0, 3.0).half_width, arch(1.0, 3.0).height) == (1.0, 3.0)
    round_top = arch(1.0, 3.0).contains(np.array([0.8, 0.8]), np.array([2.0, 2.8]))
    assert round_top.tolist() == [True, False]
    circle = disc(2.0, corners=96)
    at = np.array([0.0, 1.3, 1.6]), np.array([0.1, 2.0 + 1.3, 2.0 + 1.6])
    assert circle.contains(*at).tolist() == [True, True, False]


def test_the_walls_of_solids_face_outwards():
    skin = (None, np.ones(3))
    solids = [
        frustum((5.0, 1.0, 2.0), (2.0, 3.0), (1.0, 1.5), 4.0, skin),
        extruded((5.0, 1.0, 2.0), Outline((0.0, 1.0, 3.0), (2.0, 2.0, 0.0)), 1.0, skin),
    ]
    for surfaces, centre in zip(solids, ((5.0, 1.0, 4.0), (5.0, 1.5, 3.0)), strict=True):
        for surface in surfaces:
            middle_of_it = surface.origin + 0.4 * surface.outline.height * surface.up
            assert surface.normal @ (middle_of_it - centre) > 0.1
    over, *cheeks = beam(np.zeros(3), np.array([0.0, 3.0, 4.0]), 1.0, 0.5, skin, 0)
    np.testing.assert_allclose(over.normal, [0.0, -0.8, 0.6], atol=1e-12)
    assert sorted(cheek.normal[0] for cheek in cheeks) == [-1.0, 1.0]


def seen_wall(direction):
    """One fragment of a wall that looks to -y, met at (a, b) = (0, 1) from some direction."""
    row = np.array(direction, float)[None]
    zero, one = np.zeros(1), np.ones(1)
    index = np.zeros(1, int)
    frame = -BACK[None], X[None], UP[None]
    return materials.Fragments(
        index, index, UP[None], row, *frame, zero, one, np.ones((1, 3)), 0.01 * one
    )


def test_a_ray_into_an_opening_meets_its_back_or_its_reveal():
    contains = rectangle(1.0, 2.0).contains
    straight = materials.look_into(seen_wall(BACK), 0.5, contains, -BACK)
    assert (straight.a[0], straight.b[0], straight.back[0]) == (0.0, 1.0, True)
    assert straight.lit[0]  # the sun is behind the viewer
    # Half a metre deep and 3 to the side a metre: 1.5 to the right, past the edge at 1.
    aside = materials.look_into(seen_wall([3.0, 1.0, 0.0]), 0.5, contains, -BACK)
    assert aside.a[0] == pytest.approx(1.5)
    assert not aside.back[0]
    np.testing.assert_allclose(aside.normal[0], -X)
    upwards = materials.look_into(seen_wall([0.0, 1.0, 3.0]), 0.5, contains, -BACK)
    np.testing.assert_allclose(upwards.normal[0], -UP)  # the lintel
    # From high up the sun reaches only 0.5 metres below the lintel's shadow, 4 metres a metre.
    steep = np.array([0.0, -1.0, 4.0]) / np.sqrt(17.0)
    assert not materials.look_into(seen_wall(BACK), 0.5, contains, steep).lit[0]


def test_steps_show_their_risers_from_below_and_their_treads_from_above():
    along = np.array([0.0, 0.8, 0.6])  # 1 metre of slope: 0.8 of tread, 0.6 of riser
    age = materials.draw_age(np.random.default_rng(0))
    stairs = materials.Stairs(age, 1.0, np.zeros(materials.TABLE))
    flight = Patch(-5.0 * BACK, X, along, rectangle(9.0, 9.0), stairs, np.ones(3))
    shown = {}
    for name, height in (("below", 0.5), ("above", 30.0)):
        eye = np.array([0.0, -12.0, height])
        view = camera(eye, -eye, 0.0, (-0.1, 0.1), (-0.1, 0.1), 40)
        ((_, seen),) = fragments(view, trace(view, [flight]), [flight])
        shown[name] = stairs(seen, None).normal[:, 2]
    assert np.mean(shown["below"] > 0.5) < 0.2
    assert np.mean(shown["above"] > 0.5) > 0.6


def test_a_tile_is_interpolated_and_fits_its_mirror_image():
    field = materials.mirrored(np.array([[0.0, 1.0], [2.0, 3.0]]))
    np.testing.assert_array_equal(field[0], [0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(field[:, 0], [0.0, 2.0, 2.0, 0.0])
    tile = materials.Tile(field)
    at = np.array([0.5, 4.25]), np.array([0.0, 0.5])
    np.testing.assert_allclose(tile.at(*at), [0.5, 1.25])  # 0.25 + (2 + ... ) / 2
    np.testing.assert_array_equal(tile.near(*at), [0.0, 0.0])


# Simulated gaze


def two_halves():
    parts = np.full((224, 224), TIERS, np.uint8)
    parts[:, 112:] = TEMPLE
    return parts


def all_fixations(parts, style=PREHISPANIC, n=100):
    return np.concatenate(simulate_scanpaths(parts, style, 0, n))


def test_shipped_scanpaths_are_plausible():
    for item in SHIPPED[::7]:
        with case(item.file("Images")):
            paths = [read_columns(name) for name in scanpath_files(item)]
            for path in paths:
                assert np.all((path[:, :2] >= 0.0) & (path[:, :2] < 224.0))
                assert np.all((path[:, 2] >= 0.079) & (path[:, 2] <= 0.9))
                assert 2.0 < path[:, 2].sum() <= 3.0
                assert 7 <= len(path) <= 16
            durations = np.concatenate(paths)[:, 2]
            assert 0.2 < np.median(durations) < 0.26
            assert np.mean(durations) > np.median(durations)  # skewed, as a log-normal is


def test_gaze_falls_on_the_parts_several_times_as_often_as_chance():
    ratios = []
    for item in SHIPPED:
        parts = read(item.file("Part Masks", "Parts_"))
        x, y = read_columns(item.file("Fixations", "GazeFix_", "txt")).astype(int).T
        ratios.append(np.mean(parts[y, x] > 0) / np.mean(parts > 0))
    assert min(ratios) > 1.5
    assert np.median(ratios) > 3.0


def test_subjects_differ_and_the_same_seed_gives_the_same_ones():
    once, again, other = (simulate_scanpaths(two_halves(), 0, seed, 3) for seed in (1, 1, 2))
    for first, second, third in zip(once, again, other, strict=True):
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first[:5], third[:5])
    assert not np.array_equal(once[0][:5], once[1][:5])
    more = simulate_scanpaths(two_halves(), 0, 1, 5)
    np.testing.assert_array_equal(more[2], once[2])  # the number of subjects changes nobody


def test_gaze_starts_near_the_middle_and_leans_to_it(monkeypatch):
    def from_middle():  # in picture heights; 0.38 for places spread evenly over a square
        paths = simulate_scanpaths(np.ones((224, 224), np.uint8), MODERN, 0, 60)
        first, later = np.stack([p[0] for p in paths]), np.concatenate([p[1:] for p in paths])
        return [np.hypot(*(rows[:, :2] - 112.0).T).mean() / 224 for rows in (first, later)]

    first, later = from_middle()
    assert first < 0.1
    monkeypatch.setattr(gaze, "CENTRE_FLOOR", 1.0)
    assert 0.2 < later < 0.9 * from_middle()[1]


def test_a_part_draws_the_eye_by_its_weight():
    x = all_fixations(two_halves())[:, 0]
    weights = gaze.WEIGHTS["Prehispanic"]
    share = weights["temple"] / (weights["temple"] + weights["tiers"])
    assert np.mean(x > 112) == pytest.approx(share, abs=0.08)


def test_subjects_have_a_taste_of_their_own(monkeypatch):
    def spread(taste):
        monkeypatch.setattr(gaze, "TASTE", taste)
        paths = simulate_scanpaths(two_halves(), PREHISPANIC, 0, 60)
        return np.std([np.mean(path[:, 0] > 112) for path in paths])

    assert spread(taste=0.5) > 1.5 * spread(taste=1e6)  # 1e6: all alike


def test_jumps_are_short(monkeypatch):
    def mean_jump():
        paths = simulate_scanpaths(np.ones((224, 224), np.uint8), MODERN, 0, 60)
        return np.mean([np.hypot(*np.diff(path[:, :2], axis=0).T).mean() for path in paths])

    usual = mean_jump()
    monkeypatch.setattr(gaze, "JUMP", 1e3)  # any length as good as another
    assert 30 < usual < 0.85 * mean_jump()


def test_places_just_seen_are_left_alone(monkeypatch):
    def returns():
        near = []
        for path in simulate_scanpaths(np.ones((224, 224), np.uint8), MODERN, 0, 60):
            jump = path[1:, :2] - path[:-1, :2]
            back = path[2:, :2] - path[:-2, :2]
            near += [*(np.hypot(*jump.T) < 12), *(np.hypot(*back.T) < 12)]
        return np.mean(near)

    usual = returns()
    monkeypatch.setattr(gaze, "RETURN_RADIUS", 1e-6)
    assert usual < 0.5 * returns()


def test_a_picture_without_parts_is_looked_at_in_its_middle():
    x, y, _ = all_fixations(np.zeros((100, 200), np.uint8), n=50).T
    assert (x.mean(), y.mean()) == pytest.approx((100.0, 50.0), abs=6.0)
    assert x.max() > 150  # x counts the columns
    assert y.max() < 100


def test_every_part_has_a_weight():
    for style in STYLES:
        assert tuple(gaze.WEIGHTS[style]) == PART_NAMES[style]
        assert sum(gaze.WEIGHTS[style].values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("parts", "style", "n", "text"),
    [
        (np.zeros((8, 8), np.uint8), 3, 20, "style must be 0 to 2, got 3; STYLES names them"),
        (np.full((8, 8), 4, np.uint8), 0, 20, "values 0 to 3 for style 0, got .* up to 4; pass"),
        (np.zeros((8, 8, 3), np.uint8), 0, 20, r"parts must be \[H, W\].*got \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), 0, 0, "n_subjects must be at least 1, got 0"),
    ],
)
def test_gaze_at_nothing_or_by_nobody_is_an_error(parts, style, n, text):
    with pytest.raises(ValueError, match=text):
        simulate_scanpaths(parts, style, 0, n)


# The command line


def test_drawing_files_writes_what_the_manifest_says(tmp_path):
    item = SAMPLE[1]
    entries = make_heritage.draw_files(item, tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix() for path in written} == set(entries)
    assert len(entries) == 24
    for name, entry in entries.items():
        assert entry["sha256"] == sha256((tmp_path / name).read_bytes())
        assert entry.get("drawn_sha256") == listed()[name].get("drawn_sha256")
        if name.endswith(".txt"):
            assert entry["sha256"] == listed()[name]["sha256"]


def test_the_command_line_draws_two_sheets(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_heritage", "--sample", "2", "--out", str(tmp_path)])
    make_heritage.main()
    sheet = np.asarray(Image.open(tmp_path / "heritage_sheet.png"))
    assert sheet.shape == (227, 6 * 227, 3)
    first = draw_building(FIRST_TRAINING_SEED, PREHISPANIC)
    np.testing.assert_array_equal(sheet[:224, :224], first.picture)
    gaze_sheet = np.asarray(Image.open(tmp_path / "gaze_sheet.png"))
    assert gaze_sheet.shape == (4 * 227, 2 * 227, 3)
    np.testing.assert_array_equal(gaze_sheet[:224, :224], first.picture)
