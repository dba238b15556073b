"""Figures carry their alternative text, and say what could be taken for something else."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from labkit import figures
from labkit.figures import (
    CLASS_COLOURS,
    Figure,
    bars,
    curves,
    feature_maps,
    gallery,
    gaze,
    heatmap_rows,
    heatmaps,
    learning,
    new_canvas,
    overlaid,
    roc_curves,
    row_with_curves,
    score_histogram,
    shares,
    threshold_view,
    top_classes,
)
from labkit.probe import threshold_sweep

SCORES, LABELS = torch.tensor([-1.0, 0.5, 0.2, 2.0]), torch.tensor([0, 0, 1, 1])
PICTURE = np.zeros((8, 8, 3), np.uint8)


def test_a_figure_is_html_with_escaped_alternative_text():
    canvas, _ = new_canvas(2.0, 1.0)
    figure = Figure(canvas, 'a "map" & <more>', "caption <b>")
    assert figure.html.startswith("<figure")
    assert 'alt="a &quot;map&quot; &amp; &lt;more&gt;"' in figure.html
    assert "<figcaption>caption &lt;b&gt;</figcaption>" in figure.html
    assert 'src="data:image/webp;base64,' in figure.html
    assert figure._repr_html_() == figure.html
    assert 'a "map"' in repr(figure)


def test_a_figure_without_alternative_text_is_refused():
    with pytest.raises(ValueError, match="alt must say what one should see"):
        Figure(new_canvas(1.0, 1.0)[0], "  ")


def test_the_threshold_view_says_its_numbers():
    figure = threshold_view(SCORES, LABELS, ("healthy", "black rot"), 0.3)
    assert "At threshold 0.300" in figure.alt
    assert "1 of 2 black rot found, 1 of 2 healthy mistaken" in figure.alt
    assert "ROC curve at (0.50, 0.50)" in figure.alt
    assert figure.caption == "Threshold 0.300: accuracy 0.500"


def test_an_empty_map_is_said_and_signed_maps_diverge_around_zero(drawn):
    signed = torch.linspace(-1, 3, 64).reshape(8, 8)
    maps = {"empty": torch.zeros(8, 8), "signed": signed, "unsigned": signed.abs()}
    heatmaps(PICTURE, maps, alt="three maps")
    by_title = {axis.get_title(): axis for axis in drawn["axes"] if axis.get_title()}
    assert set(by_title) == {"picture", "empty: all zero", "signed", "unsigned"}
    low, high = by_title["signed"].images[0].get_clim()
    assert low == -high
    assert by_title["signed"].images[0].get_cmap().name == "RdBu_r"
    assert by_title["unsigned"].images[0].get_clim()[0] == 0
    assert by_title["unsigned"].images[0].get_cmap().name == "inferno"


def test_a_gallery_wants_a_title_for_each_picture():
    with pytest.raises(ValueError, match="got 1 for 2 pictures"):
        gallery([PICTURE] * 2, ["one"], alt="two")
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    assert gallery([PICTURE] * 7, list("abcdefg"), alt="seven", masks=[mask, *[None] * 6]).html


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the figures that are drawn meanwhile."""
    kept = {}
    monkeypatch.setattr(figures, "Figure", lambda canvas, *_: kept.update(axes=canvas.axes))
    return kept


def test_one_bright_pixel_does_not_darken_the_others(drawn):
    relevance = torch.linspace(0, 1, 1000).reshape(20, 50)
    relevance[0, 0] = 100.0
    heatmaps(PICTURE, {"map": relevance}, alt="a map")
    assert drawn["axes"][1].images[0].get_clim() == pytest.approx((0, 1), abs=0.01)


def test_a_map_with_a_single_bright_pixel_is_not_called_empty(drawn):
    relevance = torch.zeros(40, 50)
    relevance[3, 4] = 2.0
    heatmaps(PICTURE, {"map": relevance}, alt="a dot")
    assert drawn["axes"][1].get_title() == "map"
    assert drawn["axes"][1].images[0].get_clim() == (0, 2)


@pytest.mark.parametrize(
    ("limit", "label"), [(0.012, "0.01"), (0.6, "0.6"), (9.7, "10"), (36.4, "36"), (1234, "1234")]
)
def test_the_ends_of_a_colour_bar_are_plain_numbers(drawn, limit, label):
    heatmaps(PICTURE, {"map": torch.full((8, 8), limit)}, alt="a map")
    bar = drawn["axes"][-1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", label]


def test_each_row_has_its_own_picture_maps_and_outline(drawn):
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    maps = [{"a": torch.eye(8)}, {"b": 5 * torch.eye(8)}]
    heatmap_rows(
        [PICTURE, PICTURE + 9], maps, masks=[None, mask], titles=["x", "y"], alt="two rows"
    )
    axes = drawn["axes"]
    assert [axis.get_title() for axis in axes[:4]] == ["x", "a", "y", "b"]
    assert axes[2].images[0].get_array().max() == 9
    assert [axis.images[0].get_clim()[1] for axis in axes[1:4:2]] == [1, 5]
    assert [len(axis.collections) for axis in axes[:4]] == [0, 0, 2, 2]


def test_root_colours_give_a_quarter_the_middle_colour_and_say_so(drawn):
    maps = {"map": 4 * torch.eye(8), "signed": torch.eye(8) - 0.5}
    heatmaps(PICTURE, maps, root_colours=True, alt="two maps")
    _, squared, signed, bar, _ = drawn["axes"]
    assert squared.images[0].norm(1.0) == pytest.approx(0.5)
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1", "4"]
    assert signed.images[0].norm(0.25) == pytest.approx(0.75)


def test_shares_stand_side_by_side(drawn):
    shares({"a": [0.5, 0.3, 0.2], "b": [0.0, 1.0, 0.0]}, ["x", "y", "z"], xlabel="", alt="two bars")
    axis = drawn["axes"][0]
    spans = [[(bar.get_x(), bar.get_width()) for bar in part] for part in axis.containers]
    expected = [[(0, 0.5), (0, 0)], [(0.5, 0.3), (0, 1)], [(0.8, 0.2), (1, 0)]]
    np.testing.assert_allclose(spans, expected, atol=1e-12)
    by_part = ["50%", "", "30%", "100%", "20%", ""]  # none where there is no room
    assert [text.get_text() for text in axis.texts] == by_part


def test_feature_maps_share_one_scale(drawn):
    feature_maps(torch.stack([torch.eye(3), 4 * torch.eye(3)]), ["a", "b"], alt="two maps")
    clims = [axis.images[0].get_clim() for axis in drawn["axes"][:2]]
    assert clims == [(0, 4), (0, 4)]


def test_each_class_has_its_own_histogram(drawn):
    score_histogram(SCORES, LABELS, ("healthy", "black rot"), alt="scores")
    axis = drawn["axes"][0]
    counts = [sum(bar.get_height() for bar in group) for group in axis.containers]
    assert counts == [2, 2]
    colours = [group[0].get_facecolor()[:3] for group in axis.containers]
    assert colours == [mpl.colors.to_rgb(colour) for colour in CLASS_COLOURS]


def test_the_confusion_matrix_has_truth_in_its_rows(drawn):
    # at 1.0 one of the two sick is found and nothing mistaken; at 0.1 both, and one mistaken
    for threshold, by_row in ((1.0, ["2", "0", "1", "1"]), (0.1, ["1", "1", "0", "2"])):
        threshold_view(SCORES, LABELS, ("healthy", "black rot"), threshold)
        assert [text.get_text() for text in drawn["axes"][1].texts] == by_row
        assert drawn["axes"][0].lines[0].get_xdata()[0] == threshold


def test_bands_and_intervals_end_where_they_should(drawn):
    curves([1, 2], {"a": ([5, 6], [4, 3], [7, 9])}, xlabel="x", ylabel="y", alt="a band")
    corners = drawn["axes"][0].collections[0].get_paths()[0].vertices
    assert {(1, 4), (2, 3), (1, 7), (2, 9)} <= set(map(tuple, corners))
    assert drawn["axes"][0].get_yscale() == "linear"
    curves([1, 2], {"a": ([5, 6], [4, 3], [7, 9])}, log_y=True, xlabel="", ylabel="", alt="a band")
    assert drawn["axes"][0].get_yscale() == "log"
    bars({"a": (0.5, 0.2, 0.6)}, xlabel="AUC", alt="an interval")
    ends = drawn["axes"][0].collections[0].get_paths()[0].vertices[:, 0]
    assert ends.tolist() == pytest.approx([0.2, 0.6])


def test_figures_do_not_load_pyplot():
    code = "import sys, labkit.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_roc_curves_reach_both_corners(drawn):
    roc_curves({"scores": threshold_sweep(SCORES, LABELS)}, alt="a curve")
    x, y = drawn["axes"][0].lines[0].get_data()
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


def test_each_colour_map_and_limit_is_said_once(drawn, monkeypatch):
    names = {"SIGNED": "PiYG", "UNSIGNED": "cividis", "ACTIVATIONS": "magma"}
    for constant, value in {**names, "LIMIT_QUANTILE": 0.5}.items():
        monkeypatch.setattr(figures, constant, value)
    relevance = torch.arange(64.0).reshape(8, 8)
    maps = {"signed": relevance - 1, "unsigned": relevance}
    heatmaps(PICTURE, maps, alt="two maps")
    shown = [axis.images[0] for axis in drawn["axes"][1:3]]
    heatmaps(PICTURE, maps, root_colours=True, alt="two maps")
    shown.append(drawn["axes"][2].images[0])
    assert [image.get_cmap().name for image in shown] == ["PiYG", "cividis", "cividis"]
    assert [image.get_clim()[1] for image in shown] == [30.5, 31.5, 31.5]
    feature_maps(relevance[None], ["a"], alt="one map")
    assert drawn["axes"][0].images[0].get_cmap().name == "magma"
    over = overlaid(PICTURE, relevance, strength=1.0)
    assert over[4, 0] == pytest.approx(mpl.colormaps["cividis"](1.0)[:3])  # 32, above the limit


def test_nothing_is_drawn_in_rainbow_colours():
    root = Path(__file__).parents[1]
    for path in [*root.glob("labkit/**/*.py"), *root.glob("notebooks/*.ipynb")]:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"cmap\W+(jet|hsv|rainbow|turbo)", source), path


def test_a_figure_is_saved_with_its_alternative_text(tmp_path):
    figure = bars({"a": (0.5, 0.4, 0.6)}, xlabel="x", alt="A point with its interval.")
    figure.save(tmp_path / "new folder" / "bars.png")
    with Image.open(tmp_path / "new folder" / "bars.png") as saved:
        assert saved.text["Description"] == "A point with its interval."
        assert saved.width == round(figure._width * 1.5)


def test_overlaid_shows_relevance_and_nothing_else():
    picture = np.full((4, 4, 3), (30, 60, 90), np.uint8)
    S = torch.zeros(4, 4)
    S[1, 2], S[3, 3] = 2.0, -5.0
    shown = overlaid(picture, S, strength=1.0)
    grey = np.full(3, 60 / 255)
    assert shown[0, 0] == pytest.approx(grey)
    assert shown[3, 3] == pytest.approx(grey)  # negative relevance is not shown
    assert shown[1, 2] == pytest.approx(mpl.colormaps["inferno"](1.0)[:3])


def test_a_row_has_a_panel_for_each_picture_and_map_and_a_chart_for_the_curves(drawn):
    S, score = torch.rand(8, 8), torch.linspace(1, 0, 5)
    panels = {"picture": PICTURE, "rise": S, "overlay": overlaid(PICTURE, S)}
    row_with_curves(panels, {"deletion": score, "insertion": 1 - score}, alt="a map, two curves")
    *axes, chart, bar = drawn["axes"]
    assert [axis.get_title() for axis in axes] == ["picture", "rise", "overlay"]
    assert axes[1].images[0].get_cmap().name == "inferno"
    assert [line.get_label() for line in chart.lines] == ["deletion", "insertion"]
    assert len({line.get_color() for line in chart.lines}) == 2
    assert len({line.get_linestyle() for line in chart.lines}) == 2
    row_with_curves(panels, {}, alt="a map")
    assert not any(axis.lines for axis in drawn["axes"])


def test_a_place_on_the_curves_is_marked_by_a_dot(drawn):
    scores = {"deletion": torch.tensor([1.0, 0.6, 0.2]), "insertion": torch.tensor([0.0, 1.0])}
    row_with_curves({"deletion": PICTURE}, scores, fraction=0.25, alt="a picture and its curves")
    dots = [line for line in drawn["axes"][-1].lines if line.get_marker() == "o"]
    places = [[0.25, pytest.approx(0.8)], [0.25, pytest.approx(0.25)]]
    assert [dot.get_xydata()[0].tolist() for dot in dots] == places


def test_gaze_draws_fixations_where_they_are_known(drawn):
    points = torch.tensor([[1.5, 2.5], [4.0, 6.0]])
    gaze(
        [PICTURE, PICTURE],
        [points, None],
        [torch.rand(8, 8)] * 2,
        titles=["a", "b"],
        alt="two pictures, dots on the first",
        scanpaths=[points, None],
    )
    above = drawn["axes"][:2]
    assert [len(axis.collections) for axis in above] == [1, 0]
    assert above[0].collections[0].get_offsets().tolist() == points.tolist()
    assert [len(axis.lines) for axis in above] == [1, 0]


def test_an_uncertain_network_is_warned_of_in_words(drawn):
    top_classes(PICTURE, [("tabby", 0.49), ("lynx", 0.2)], alt="two bars")
    bars_axis = drawn["axes"][1]
    warning = "Warning: the best class is under 0.5; the network is not sure."
    assert bars_axis.get_title() == warning
    assert [bar.get_width() for bar in bars_axis.patches] == [0.49, 0.2]
    assert [text.get_text() for text in bars_axis.get_yticklabels()] == ["tabby", "lynx"]
    top_classes(PICTURE, [("tabby", 0.51)], alt="one bar")
    assert drawn["axes"][1].get_title() == ""
    top_classes(PICTURE, [("tabby", 0.51)], alt="one bar", certain=0.8)
    assert "under 0.8" in drawn["axes"][1].get_title()


def test_the_warning_is_read_out_too():
    sure, unsure = (top_classes(PICTURE, [("tabby", p)], alt="One bar.") for p in (0.5, 0.4))
    assert sure.alt == "One bar."
    assert unsure.alt.startswith("One bar. Warning: the best class is under 0.5")


def test_what_is_learned_is_drawn_step_by_step_on_a_logarithmic_scale(drawn):
    lines = {"loss": torch.tensor([1.0, 0.1, 0.01]), "probability": torch.tensor([0.9, 0.05])}
    learning({"before": PICTURE, "after": PICTURE + 9}, lines, alt="two pictures and two lines")
    before, after, curve = drawn["axes"]
    assert [axis.get_title() for axis in (before, after)] == ["before", "after"]
    assert after.images[0].get_array().max() == 9
    assert curve.get_yscale() == "log"
    assert [line.get_label() for line in curve.lines] == ["loss", "probability"]
    assert curve.lines[0].get_xydata()[:, 0].tolist() == [1, 2, 3]
    assert curve.lines[1].get_ydata() == pytest.approx([0.9, 0.05])
