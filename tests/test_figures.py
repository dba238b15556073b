"""Figures say what they show, and what could be taken for something else."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from labkit.figures import (
    CLASS_COLOURS,
    Figure,
    bars,
    beside,
    curves,
    described,
    feature_maps,
    gallery,
    gaze,
    greener,
    heatmap_rows,
    heatmaps,
    learning,
    look,
    new_canvas,
    overlaid,
    roc_curves,
    row_with_curves,
    score_histogram,
    score_histograms,
    shares,
    threshold_view,
    top_classes,
)
from labkit.figures.look import TABLES, table
from labkit.figures.panels import Chart
from labkit.metrics import energy_inside
from labkit.probe import threshold_sweep
from tools.make_colours import tables

SCORES, LABELS = torch.tensor([-1.0, 0.5, 0.2, 2.0]), torch.tensor([0, 0, 1, 1])
PICTURE = np.zeros((8, 8, 3), np.uint8)
MASK = np.zeros((8, 8), bool)
MASK[2:4, 2:4] = True
SIGNED = torch.linspace(-1, 3, 64).reshape(8, 8)


def colours(panel, row, column, of=8):
    """The colour of a map's pixel, as it is shown; its bar is left out."""
    pixels = np.asarray(panel.picture.convert("RGB"))
    times = pixels.shape[1] // of
    return pixels[row * times + times // 2, column * times + times // 2]


def axes_of(figure):
    """The axes of a figure's one chart."""
    (chart,) = (panel for panel in figure.panels if isinstance(panel, Chart))
    return chart.canvas.axes


# A figure


def test_a_figure_is_html_with_escaped_alternative_text():
    canvas, _ = new_canvas(2.0, 1.0)
    figure = Figure(canvas, 'a "map" & <more>', "caption <b>")
    assert figure.html.startswith("<figure")
    assert 'alt="a &quot;map&quot; &amp; &lt;more&gt;"' in figure.html
    assert "<figcaption>caption &lt;b&gt;</figcaption>" in figure.html
    assert 'src="data:image/webp;base64,' in figure.html
    assert figure._repr_html_() == figure.html
    assert 'a "map"' in repr(figure)


def test_the_authors_line_stands_before_what_the_figure_says():
    figure = heatmaps(PICTURE, {"map": SIGNED}, alt="A leaf.")
    assert figure.alt.startswith("A leaf. Picture, and beside it 1 map of it. map: of both signs")
    assert '<img alt="A leaf. Picture, and' in figure.html
    assert figure.html.count("A leaf.") == 1
    assert not heatmaps(PICTURE, {"map": SIGNED}).alt.startswith("A leaf.")


def test_every_picture_is_an_image_with_sizes_and_nothing_rests_on_a_style():
    html = heatmaps(PICTURE, {"map": SIGNED, "other": SIGNED}).html
    images = re.findall(r"<img[^>]*>", html)
    assert len(images) == 3
    assert all(re.search(r'alt="[^"]{20,}".* width="448" height="\d+"', one) for one in images)
    bare = re.sub(r' style="[^"]*"', "", html)
    words = re.sub(r"<[^>]+>", " ", bare).split()
    assert words == ["picture", "map", "-3", "0", "3", "other", "-3", "0", "3"]
    assert not re.search(r"<(script|style|svg)", html)


def test_a_png_stands_beside_the_html_only_where_it_is_asked_for(monkeypatch):
    figure = heatmaps(PICTURE, {"map": SIGNED})
    assert figure._repr_png_() is None
    monkeypatch.setenv("LABKIT_FIGURES", "png")
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "svg", "pdf"])
def test_figures_are_saved_in_any_format(tmp_path, ending):
    for name, figure in {
        "map": heatmaps(PICTURE, {"map": SIGNED}, alt="A leaf."),
        "chart": bars({"a": (0.5, 0.4, 0.6)}, xlabel="x"),
    }.items():
        path = tmp_path / "new folder" / f"{name}.{ending}"
        figure.save(path)
        assert path.stat().st_size > 1000
        if ending == "png":
            with Image.open(path) as saved:
                assert saved.text["Description"] == figure.alt


def test_a_saved_row_holds_its_panels_side_by_side_with_their_titles(tmp_path):
    heatmaps(PICTURE + 77, {"map": torch.eye(8)}).save(tmp_path / "row.png")
    pixels = np.asarray(Image.open(tmp_path / "row.png").convert("RGB"))
    assert pixels.shape[1] == 2 * 448 + 3 * 12
    assert (pixels[200, 12 + 224] == 77).all()  # the picture
    assert (pixels[: 12 + 24, : 12 + 448] == 0).any()  # its title


# Words


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [
        *((0, 0, "upper left"), (0, 4, "top"), (1, 8, "upper right")),
        *((4, 0, "left"), (4, 4, "centre"), (4, 8, "right")),
        *((8, 0, "lower left"), (8, 4, "bottom"), (7, 7, "lower right")),
    ],
)
def test_the_peak_is_found_in_each_ninth(row, column, place):
    relevance = torch.zeros(9, 9)
    relevance[row, column] = 2.0
    assert described(relevance) == f"from 0 upwards, peak {place}"
    assert described(-relevance).endswith("peak in several places")


def test_a_map_is_described_by_its_numbers():
    S = torch.zeros(9, 9)
    assert described(S) == "all zero"
    assert described(S + 0.5) == "the same everywhere, 0.5"
    assert described(S + torch.nan) == "nothing is known"
    S[0, 0], S[8, 8] = 3.0, 1.0
    mask = S == 1
    assert described(S, mask) == "from 0 upwards, peak upper left, 25 % inside the outline"
    assert described(S, mask & False) == "from 0 upwards, peak upper left"  # an empty mask
    S[4, 4] = -5.0
    share = f"{energy_inside(S, mask):.0%}".replace("%", " %")
    said = "of both signs, peak upper left, most negative centre"
    assert described(S, mask) == f"{said}, {share} inside the outline"
    assert described(-S.abs() - 1).startswith("nowhere positive, peak in several places")
    S[0, 0] = S[8, 8] = 2.0
    assert "peak upper left and lower right" in described(S)  # a tie
    S[:3] = torch.nan
    assert "unknown in 33 % of the picture" in described(S)


def test_what_cannot_be_described_is_said():
    with pytest.raises(ValueError, match=r"must have shape \[H, W\], got \[1, 9, 9\]"):
        described(torch.zeros(1, 9, 9))
    with pytest.raises(ValueError, match=r"the map's shape \[8, 8\], got \[3, 3\]"):
        described(SIGNED, np.ones((3, 3), bool))


def test_charts_say_their_values():
    line = {"a": ([0.5, 0.9, 0.7], [0] * 3, [1] * 3)}
    said = curves([1, 10, 100], line, xlabel="masks", ylabel="r").alt
    assert said == "r over masks: a: 0.5 at 1, 0.7 at 100, largest 0.9 at 10."
    values = {"a": (0.5, 0.25, 0.75), "b": (float("nan"),) * 3}
    assert bars(values, xlabel="AUC").alt == "AUC: a 0.500 [0.250, 0.750]; b: no value."
    assert shares({"a": [0.5, 0.5]}, ["x", "y"], xlabel="").alt == "a: x 50 %, y 50 %."
    sweep = threshold_sweep(SCORES, LABELS)
    assert roc_curves({"s": sweep}).alt == "ROC curves: s, area 0.750."
    said = score_histogram(SCORES, LABELS, ("healthy", "rot"), alt="Scores").alt
    assert said.startswith(
        "Scores. Histograms of the score: 2 healthy from -1 to 0.5, median -0.25"
    )


# Pictures and maps


def test_colour_tables_are_matplotlibs():
    assert np.abs(np.stack([table(name) for name in TABLES]).astype(int) - tables()).max() == 0
    with pytest.raises(ValueError, match="one of RdBu_r, .*got 'jet'"):
        table("jet")


def test_an_empty_map_is_said_and_signed_maps_diverge_around_zero():
    maps = {"empty": torch.zeros(8, 8), "signed": SIGNED, "unsigned": SIGNED.abs()}
    figure = heatmaps(PICTURE, maps)
    titles = [panel.title for panel in figure.panels]
    assert titles == ["picture", "empty: all zero", "signed", "unsigned"]
    _, _, signed, unsigned = figure.panels
    assert [signed.labels[0], signed.labels[-1]] == ["-3", "3"]
    assert (colours(signed, 7, 7) == table("RdBu_r")[255]).all()
    assert abs(colours(signed, 2, 0).astype(int) - table("RdBu_r")[128]).max() < 12  # 0.02
    assert unsigned.labels[0] == "0"
    assert (colours(unsigned, 7, 7) == table("inferno")[255]).all()


def test_a_gallery_wants_a_title_for_each_picture():
    with pytest.raises(ValueError, match="got 1 for 2 pictures"):
        gallery([PICTURE] * 2, ["one"])
    figure = gallery([PICTURE] * 7, list("abcdefg"), masks=[MASK, *[None] * 6])
    assert [len(row) for row in figure.rows] == [6, 1]
    assert "Picture 1 of 7, a. Outlined: in several places" in figure.alt
    whites = [(np.asarray(panel.picture) == 255).any() for panel in figure.panels]
    assert whites == [True, *[False] * 6]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (np.full((4, 4), 7, np.uint8), 7),
        (np.full((4, 4, 3), 0.2), 51),
        (np.full((4, 4, 3), 9), 9),
        (np.full((4, 4), 0.5), 0),  # grey numbers are stretched
    ],
)
def test_pictures_are_drawn_as_they_are(picture, expected):
    assert (np.asarray(gallery([picture], ["one"]).panels[0].picture) == expected).all()


def test_one_bright_pixel_does_not_darken_the_others():
    relevance = torch.linspace(0, 1, 1000).reshape(20, 50)
    relevance[0, 0] = 100.0
    assert heatmaps(PICTURE, {"map": relevance}).panels[1].labels == ["0", "0.5", "1"]


def test_a_map_with_a_single_bright_pixel_is_not_called_empty():
    relevance = torch.zeros(40, 50)
    relevance[3, 4] = 2.0
    panel = heatmaps(PICTURE, {"map": relevance}).panels[1]
    assert (panel.title, panel.labels[-1]) == ("map", "2")


@pytest.mark.parametrize(
    ("limit", "label"), [(0.012, "0.01"), (0.6, "0.6"), (9.7, "10"), (36.4, "36"), (1234, "1234")]
)
def test_the_ends_of_a_colour_bar_are_plain_numbers(limit, label):
    labels = heatmaps(PICTURE, {"map": torch.full((8, 8), limit)}).panels[1].labels
    assert [labels[0], labels[-1]] == ["0", label]


def test_each_row_has_its_own_picture_maps_and_outline():
    maps = [{"a": torch.eye(8)}, {"b": 5 * torch.eye(8)}]
    pictures = [PICTURE, PICTURE + 9]
    first, second = heatmap_rows(pictures, maps, masks=[None, MASK], titles=["x", "y"]).rows
    assert [panel.title for panel in [*first, *second]] == ["x", "a", "y", "b"]
    assert (colours(second[0], 7, 7) == 9).all()
    assert [first[1].labels[-1], second[1].labels[-1]] == ["1", "5"]
    cyan = [
        (np.asarray(panel.picture.convert("RGB")) == look.LIGHT).all(-1).any()
        for panel in [*first, *second]
    ]
    assert cyan == [False, False, True, True]
    assert "Outlined: in several places, 6.2 % of the picture." in second[0].alt


def test_the_outline_on_a_signed_map_is_thin_and_half_transparent():
    plain, outlined = (heatmaps(PICTURE, {"m": SIGNED}, mask=m).panels[1] for m in (None, MASK))
    before, after = (np.asarray(panel.picture.convert("RGB")) for panel in (plain, outlined))
    changed = (before != after).any(-1)
    assert changed[2 * 56 : 4 * 56, 2 * 56].all()  # a line of one pixel
    assert not changed[2 * 56 + 1 : 4 * 56 - 1, 2 * 56 + 1 : 4 * 56 - 1].any()
    assert (after[changed] == before[changed] // 2).all()


def test_root_colours_give_a_quarter_the_middle_colour_and_say_so():
    maps = {"map": 4 * torch.eye(8), "signed": 2 * torch.eye(8) - 1}
    maps["map"][1, 0], maps["signed"][1, 0] = 1.0, 0.25
    _, squared, signed = heatmaps(PICTURE, maps, root_colours=True).panels
    assert squared.labels == ["0", "1", "4"]
    assert (colours(squared, 1, 0) == table("inferno")[128]).all()
    assert signed.labels == ["-1", "-0.2", "0", "0.2", "1"]
    assert (colours(signed, 1, 0) == table("RdBu_r")[191]).all()  # three quarters of the way


def test_maps_are_compared_on_one_scale_and_by_their_difference():
    maps = {"a": torch.eye(8), "b": -2 * torch.eye(8)}
    _, a, b, more = heatmaps(PICTURE, maps, same_scale=True, difference=True).panels
    assert a.labels == b.labels == ["-2", "0", "2"]
    assert (a.note, b.note) == ("largest: 1", "largest: -2")
    assert more.title == "difference: b less a"
    assert more.labels[0] == "-3"
    with pytest.raises(ValueError, match="exactly two maps of one size, got 1"):
        heatmaps(PICTURE, {"a": torch.eye(8)}, difference=True)


def test_an_inset_is_the_framed_place_enlarged_fourfold():
    picture, relevance = np.zeros((64, 64, 3), np.uint8), torch.zeros(64, 64)
    relevance[40:56, 8:24] = torch.arange(256.0).reshape(16, 16)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[0:2, 0:2], mask[44:52, 12:20] = True, True
    by_place = heatmaps(picture, {"m": relevance}, inset=(48, 16)).rows[1][1]
    by_mask = heatmaps(picture, {"m": relevance}, mask=mask, inset=True).rows[1][1]
    assert by_place.title == by_mask.title == "m, enlarged 4 times"
    whole = heatmaps(picture, {"m": relevance}).panels[1]
    assert by_place.labels == by_mask.labels == whole.labels  # the same colours mean the same
    assert (colours(by_place, 15, 15, of=16) == table("inferno")[255]).all()
    assert by_place.alt == "m, enlarged 4 times: from 0 upwards, peak lower right."
    assert "peak lower right" in by_mask.alt
    with pytest.raises(ValueError, match="in the picture of 64 x 64"):
        heatmaps(picture, {"m": relevance}, inset=(64, 0))
    with pytest.raises(ValueError, match="inset=True needs a mask"):
        heatmaps(picture, {"m": relevance}, inset=True)


def test_what_is_not_known_is_left_out_and_maps_may_have_another_size():
    relevance = torch.ones(4, 4)
    relevance[0], relevance[1] = torch.nan, 0.0
    panel = heatmaps(PICTURE, {"map": relevance}, mask=MASK).panels[1]
    alpha = np.asarray(panel.picture.convert("RGBA"))[..., 3]
    assert not alpha[56].any() and alpha[56 * 4 : 400].all()
    assert "unknown in 25 % of the picture" in panel.alt
    assert heatmaps(PICTURE, {"map": torch.full((3, 5), torch.nan)}).panels[1].alt


def test_small_maps_are_enlarged_by_whole_numbers_and_bars_are_never_taller():
    for size, shown in {
        (28, 28): (448, 448),
        (224, 224): (448, 448),
        (224, 448): (448, 896),
    }.items():
        panel = heatmaps(PICTURE, {"map": torch.ones(size)}).panels[1]
        assert panel.picture.size == (shown[1], shown[0] + 26)


@pytest.mark.parametrize(
    ("maps", "settings", "text"),
    [
        ([{}], {}, "at least one map for each picture"),
        ([{"a": torch.ones(3, 8, 8)}], {}, r"map 'a' must have shape \[H, W\], got \[3, 8, 8\]"),
        ([{"a": torch.ones(8, 8)}] * 2, {}, "maps must be one a picture, got 2 for 1"),
        ([{"a": torch.ones(8, 8)}], {"titles": ["x", "y"]}, "titles must be one a picture, got 2"),
        ([{"a": torch.ones(8, 8)}], {"masks": [np.ones((3, 3), bool)]}, r"picture's size \[8, 8\]"),
    ],
)
def test_what_does_not_fit_is_said(maps, settings, text):
    with pytest.raises(ValueError, match=text):
        heatmap_rows([PICTURE], maps, **settings)
    with pytest.raises(ValueError, match=r"shape \[H, W, 3\] or \[H, W\], got \[3, 8, 8\]"):
        gallery([np.zeros((3, 8, 8))], ["wrong way round"])


def test_feature_maps_share_one_scale():
    a, b, bar = feature_maps(torch.stack([torch.eye(3), 4 * torch.eye(3)]), ["a", "b"]).panels
    assert (colours(a, 0, 0, of=3) == table("viridis")[64]).all()
    assert (colours(b, 0, 0, of=3) == table("viridis")[255]).all()
    assert bar.labels == ["0", "2", "4"]


def test_what_turned_green_is_seen_without_telling_red_from_green():
    before, after = np.full((2, 2, 3), (100, 50, 0), np.uint8), np.full((2, 2, 3), 50, np.uint8)
    after[0, 0, 1] = 101
    assert greener(before, after)[0, 0] == pytest.approx(101 / 255)
    assert greener(before, after)[1, 1] == pytest.approx(50 / 255)


def test_small_multiples_draw_once_what_repeats():
    ones = [
        heatmaps(PICTURE, {"plain": SIGNED, "smooth": SIGNED + k}, caption=f"noise {k}")
        for k in (1, 2, 3)
    ]
    row = beside(ones, caption="Three settings.")
    assert [panel.title for panel in row.panels] == ["picture", "plain", *["smooth"] * 3]
    assert [panel.note for panel in row.panels] == ["", "", "noise 1", "noise 2", "noise 3"]
    assert row.caption == "Three settings."
    with pytest.raises(ValueError, match="at least one, got none"):
        beside([])


def test_histograms_side_by_side_have_the_same_axes():
    figure = score_histograms({"a": SCORES, "b": 5 * SCORES}, LABELS, ("healthy", "rot"))
    axes = [panel.canvas.axes[0] for panel in figure.panels]
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].get_xlim()[1] >= 10
    assert [panel.title for panel in figure.panels] == ["a", "b"]


def test_each_colour_map_and_limit_is_said_once(monkeypatch):
    names = {"SIGNED": "cividis", "UNSIGNED": "viridis", "ACTIVATIONS": "RdBu_r"}
    for constant, value in {**names, "LIMIT_QUANTILE": 0.5}.items():
        monkeypatch.setattr(look, constant, value)
    relevance = torch.arange(64.0).reshape(8, 8)
    _, signed, unsigned = heatmaps(PICTURE, {"s": relevance - 1, "u": relevance}).panels
    assert (colours(signed, 7, 7) == table("cividis")[255]).all()
    assert (colours(unsigned, 4, 0) == table("viridis")[255]).all()  # 32, above the limit
    kept = feature_maps(relevance[None], ["a"]).panels[0]
    assert (colours(kept, 7, 7) == table("RdBu_r")[255]).all()
    over = overlaid(PICTURE, relevance, strength=1.0)
    assert over[4, 0] == pytest.approx(table("viridis")[255] / 255)


def test_overlaid_shows_relevance_and_nothing_else():
    picture = np.full((4, 4, 3), (30, 60, 90), np.uint8)
    S = torch.zeros(4, 4)
    S[1, 2], S[3, 3] = 2.0, -5.0
    shown = overlaid(picture, S, strength=1.0)
    grey = np.full(3, 60 / 255)
    assert shown[0, 0] == pytest.approx(grey)
    assert shown[3, 3] == pytest.approx(grey)  # negative relevance is not shown
    assert shown[1, 2] == pytest.approx(mpl.colormaps["inferno"](1.0)[:3], abs=0.003)


def test_gaze_draws_fixations_where_they_are_known():
    points = torch.tensor([[1.0, 2.0], [4.0, 6.0]])
    densities = [torch.eye(8)] * 2
    figure = gaze(
        [PICTURE] * 2, [points, None], densities, titles=["a", "b"], scanpaths=[points, None]
    )
    (known, unknown), below = figure.rows
    assert np.asarray(unknown.picture).max() == 0
    assert np.asarray(known.picture)[int(4.5 * 56), 3 * 56].min() == 255  # the path between them
    yellow = np.abs(np.asarray(known.picture).astype(int) - (240, 228, 66)).max(-1) == 0
    rows, columns = (np.nonzero(yellow)[k] // 56 for k in (0, 1))
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(2, 1), (6, 4)}
    assert known.alt == "a: the picture with 2 fixations as dots and one path as a line."
    assert len(below) == 2


# Charts


def test_the_threshold_view_says_its_numbers():
    figure = threshold_view(SCORES, LABELS, ("healthy", "black rot"), 0.3)
    assert "At threshold 0.300" in figure.alt
    assert "1 of 2 black rot found, 1 of 2 healthy mistaken" in figure.alt
    assert "ROC curve at (0.50, 0.50)" in figure.alt
    assert figure.caption == "Threshold 0.300: accuracy 0.500"


def test_nothing_is_drawn_in_rainbow_colours():
    root = Path(__file__).parents[1]
    for path in [*root.glob("labkit/**/*.py"), *root.glob("notebooks/*.ipynb")]:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"cmap\W+(jet|hsv|rainbow|turbo)", source), path


def test_shares_stand_side_by_side():
    figure = shares({"a": [0.5, 0.3, 0.2], "b": [0.0, 1.0, 0.0]}, ["x", "y", "z"], xlabel="")
    axis = axes_of(figure)[0]
    spans = [[(bar.get_x(), bar.get_width()) for bar in part] for part in axis.containers]
    expected = [[(0, 0.5), (0, 0)], [(0.5, 0.3), (0, 1)], [(0.8, 0.2), (1, 0)]]
    np.testing.assert_allclose(spans, expected, atol=1e-12)
    by_part = ["50%", "", "30%", "100%", "20%", ""]  # none where there is no room
    assert [text.get_text() for text in axis.texts] == by_part


def test_each_class_has_its_own_histogram():
    axis = axes_of(score_histogram(SCORES, LABELS, ("healthy", "black rot")))[0]
    counts = [sum(bar.get_height() for bar in group) for group in axis.containers]
    assert counts == [2, 2]
    colours = [group[0].get_facecolor()[:3] for group in axis.containers]
    assert colours == [mpl.colors.to_rgb(colour) for colour in CLASS_COLOURS]


def test_the_confusion_matrix_has_truth_in_its_rows():
    # at 1.0 one of the two sick is found and nothing mistaken; at 0.1 both, and one mistaken
    for threshold, by_row in ((1.0, ["2", "0", "1", "1"]), (0.1, ["1", "1", "0", "2"])):
        axes = axes_of(threshold_view(SCORES, LABELS, ("healthy", "black rot"), threshold))
        assert [text.get_text() for text in axes[1].texts] == by_row
        assert axes[0].lines[0].get_xdata()[0] == threshold


def test_bands_and_intervals_end_where_they_should():
    band = {"a": ([5, 6], [4, 3], [7, 9])}
    (axis,) = axes_of(curves([1, 2], band, xlabel="x", ylabel="y"))
    corners = axis.collections[0].get_paths()[0].vertices
    assert {(1, 4), (2, 3), (1, 7), (2, 9)} <= set(map(tuple, corners))
    assert axis.get_yscale() == "linear"
    assert axes_of(curves([1, 2], band, log_y=True, xlabel="", ylabel=""))[0].get_yscale() == "log"
    (axis,) = axes_of(bars({"a": (0.5, 0.2, 0.6)}, xlabel="AUC"))
    ends = axis.collections[0].get_paths()[0].vertices[:, 0]
    assert ends.tolist() == pytest.approx([0.2, 0.6])


def test_figures_load_matplotlib_for_charts_only_and_never_pyplot():
    code = (
        "import sys, numpy as np, labkit.figures as f\n"
        "f.gallery([np.zeros((4, 4, 3), np.uint8)], ['one']).html\n"
        "print('matplotlib' in sys.modules); f.bars\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_roc_curves_reach_both_corners():
    x, y = axes_of(roc_curves({"scores": threshold_sweep(SCORES, LABELS)}))[0].lines[0].get_data()
    assert (x[0], y[0]) == (0, 0)
    assert (x[-1], y[-1]) == (1, 1)


def test_the_readers_own_matplotlib_is_left_alone():
    code = (
        "import matplotlib as mpl; before = dict(mpl.rcParams)\n"
        "from labkit.figures import new_canvas; new_canvas(1.0, 1.0)\n"
        "print(before == dict(mpl.rcParams))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_row_has_a_panel_for_each_picture_and_map_and_a_chart_for_the_curves():
    S, score = torch.rand(8, 8), torch.linspace(1, 0, 5)
    panels = {"picture": PICTURE, "rise": S, "overlay": overlaid(PICTURE, S)}
    figure = row_with_curves(panels, {"deletion": score, "insertion": 1 - score})
    assert [panel.title for panel in figure.panels] == ["picture", "rise", "overlay", ""]
    assert figure.panels[1].labels
    assert "deletion: 1 at 0, 0 at 1; insertion: 0 at 0, 1 at 1." in figure.alt
    (chart,) = axes_of(figure)
    assert [line.get_label() for line in chart.lines] == ["deletion", "insertion"]
    assert len({line.get_color() for line in chart.lines}) == 2
    assert len({line.get_linestyle() for line in chart.lines}) == 2
    assert not any(isinstance(panel, Chart) for panel in row_with_curves(panels, {}).panels)


def test_a_place_on_the_curves_is_marked_by_a_dot():
    scores = {"deletion": torch.tensor([1.0, 0.6, 0.2]), "insertion": torch.tensor([0.0, 1.0])}
    (chart,) = axes_of(row_with_curves({"deletion": PICTURE}, scores, fraction=0.25))
    dots = [line for line in chart.lines if line.get_marker() == "o"]
    places = [[0.25, pytest.approx(0.8)], [0.25, pytest.approx(0.25)]]
    assert [dot.get_xydata()[0].tolist() for dot in dots] == places


def test_an_uncertain_network_is_warned_of_in_words():
    figure = top_classes(PICTURE, [("tabby", 0.49), ("lynx", 0.2)], alt="A cat.")
    (axis,) = axes_of(figure)
    warning = "Warning: the best class is under 0.5; the network is not sure."
    assert axis.get_title() == warning
    assert figure.alt.startswith("A cat.") and figure.alt.endswith(f"lynx 0.200. {warning}")
    assert [bar.get_width() for bar in axis.patches] == [0.49, 0.2]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["tabby", "lynx"]
    sure = top_classes(PICTURE, [("tabby", 0.51)])
    assert axes_of(sure)[0].get_title() == ""
    assert "Warning" not in sure.alt
    strict = top_classes(PICTURE, [("tabby", 0.51)], certain=0.8)
    assert "under 0.8" in axes_of(strict)[0].get_title()


def test_what_is_learned_is_drawn_step_by_step_on_a_logarithmic_scale():
    lines = {"loss": torch.tensor([1.0, 0.1, 0.01]), "probability": torch.tensor([0.9, 0.05])}
    figure = learning({"before": PICTURE, "after": PICTURE + 9}, lines)
    before, after, _ = figure.panels
    (curve,) = axes_of(figure)
    assert [panel.title for panel in (before, after)] == ["before", "after"]
    assert np.asarray(after.picture).max() == 9
    assert curve.get_yscale() == "log"
    assert [line.get_label() for line in curve.lines] == ["loss", "probability"]
    assert curve.lines[0].get_xydata()[:, 0].tolist() == [1, 2, 3]
    assert curve.lines[1].get_ydata() == pytest.approx([0.9, 0.05])
