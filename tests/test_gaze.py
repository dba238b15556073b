import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from PIL import Image
from torch.nn import functional as F
from torch.testing import assert_close

from labkit.data import read_density_map
from labkit.metrics import (
    auc_judd,
    between_subjects,
    cc,
    density_map,
    inside,
    kl,
    note,
    nss,
    resized,
    shuffled_auc,
    sim,
    wooding_sigma,
)


def random_pair(seed, size=(12, 17)):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=size)), torch.from_numpy(rng.random(size))


SMALL = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
GAZE = torch.tensor([[0.0, 2.0], [2.0, 4.0]])


# density maps


def test_wooding_sigma_by_hand():
    # 1200 pixels on 325 mm, seen from 900 mm: R D tan(2 degrees)
    assert wooding_sigma(1200) == pytest.approx(1200 / 325 * 900 * math.tan(math.radians(2)))
    assert wooding_sigma(224) == pytest.approx(21.66, abs=0.005)


def test_one_fixation_leaves_one_gaussian():
    density = density_map(torch.tensor([[2.5, 1.5]]), (4, 6), sigma=1.0)
    for row, column in ((1, 2), (1, 3), (0, 2), (3, 5)):
        expected = math.exp(-((column - 2) ** 2 + (row - 1) ** 2) / 2)
        assert density[row, column].item() == pytest.approx(expected, rel=1e-6)
    assert density.dtype == torch.float32


def test_fixations_add_up():
    one, two = torch.tensor([[1.0, 1.0]]), torch.tensor([[9.0, 5.0]])
    size, sigma = (6, 10), 1.5

    def raw(fixation):
        y, x = np.mgrid[:6, :10] + 0.5
        return np.exp(-((x - fixation[0]) ** 2 + (y - fixation[1]) ** 2) / (2 * sigma**2))

    expected = raw((1, 1)) + 2 * raw((9, 5))
    density = density_map(torch.cat([one, two, two]), size, sigma=sigma)
    assert_close(density, torch.from_numpy(expected / expected.max()).float())
    weighted = density_map(torch.cat([one, two]), size, sigma=sigma, durations=[1.0, 2.0])
    assert_close(weighted, density)


@pytest.mark.real
def test_real_density_maps_are_made_of_gaussians_of_woodings_width(real_folder):
    # a sum of Gaussians of one width is also a sum of narrower ones, but not of wider ones
    folder = real_folder / "mexculture142" / "density_maps"
    for name in ("Modern_PlazaGuardiola_CiudaddeMexico", "Prehispanic_EstructuraVIIIDeEdzna"):
        (path,) = folder.glob(f"{name}*_GFDM_N_1.png")
        density = read_density_map(path)
        H, W = 24, round(24 * density.shape[1] / density.shape[0])
        small = F.adaptive_avg_pool2d(density[None], (H, W))[0].numpy()
        levels = {share: misfit(small, share * wooding_sigma(H)) for share in (0.8, 1.0, 1.25)}
        print(f"{name}: misfit in grey levels by share of Wooding's sigma {levels}")
        assert levels[0.8] < levels[1.0] < 0.5 < levels[1.25]


def misfit(density, sigma):
    """How far the best sum of Gaussians stays away from a map, in grey levels of 255."""
    bumps = [
        np.exp(-((np.arange(n)[:, None] + 0.5 - np.arange(0.5, n, 1.5)) ** 2) / (2 * sigma**2))
        for n in density.shape
    ]
    _, norm = scipy.optimize.nnls(np.kron(*bumps), density.ravel(), maxiter=20000)
    return 255 * norm / math.sqrt(density.size)


def test_inside_leaves_out_the_others():
    points = torch.tensor(
        [[0.0, 0.0], [9.99, 5.0], [10.0, 5.0], [-0.1, 2.0], [5.0, 6.0], [5.0, -0.1], [math.nan, 1]]
    )
    assert inside(points, (6, 10)).tolist() == points[:2].tolist()


# metrics by hand and against others


@pytest.mark.parametrize("seed", range(5))
def test_cc_is_pearsons(seed):
    S, Q = random_pair(seed)
    assert cc(S, Q) == pytest.approx(np.corrcoef(S.flatten(), Q.flatten())[0, 1], abs=1e-12)
    assert cc(S, Q) == pytest.approx(scipy.stats.pearsonr(S.flatten(), Q.flatten())[0], abs=1e-12)


def test_cc_does_not_see_scale_and_offset():
    S, Q = random_pair(0)
    assert cc(3 * S - 7, Q) == pytest.approx(cc(S, Q), abs=1e-12)
    assert cc(-S, Q) == pytest.approx(-cc(S, Q), abs=1e-12)
    assert cc(S, S) == pytest.approx(1.0, abs=1e-12)
    assert max(cc(S, S) for S, _ in map(random_pair, range(30))) == 1.0  # and never 1 + 2e-16


def test_sim_by_hand():
    # SMALL / 8 = (0, 1, 2, 5) / 8 and GAZE / 8 = (0, 2, 2, 4) / 8 share 0 + 1 + 2 + 4 eighths
    assert sim(SMALL, GAZE) == pytest.approx(7 / 8)
    assert sim(SMALL, GAZE, definition="pysaliency") == pytest.approx(7 / 8)
    # on a floor of 1: (1, 2, 3, 6) / 12 against eighths: 0 + 2/12 + 1/4 + 1/2
    assert sim(SMALL + 1, GAZE, definition="pysaliency") == pytest.approx(
        0 + 2 / 12 + 1 / 4 + 1 / 2
    )
    assert sim(SMALL + 1, GAZE) == pytest.approx(7 / 8)


@pytest.mark.parametrize("definition", ["mit", "pysaliency"])
@pytest.mark.parametrize("seed", range(3))
def test_sim_against_the_published_formulas(definition, seed):
    S, Q = (m.numpy() for m in random_pair(seed))
    if definition == "mit":
        P, R = ((m - m.min()) / (m.max() - m.min()) for m in (S, Q))
    else:
        P, R = (m - min(m.min(), 0) for m in (S, Q))
    expected = np.minimum(P / P.sum(), R / R.sum()).sum()
    found = sim(torch.from_numpy(S), torch.from_numpy(Q), definition=definition)
    assert found == pytest.approx(expected, abs=1e-12)


def test_sim_is_symmetric_bounded_and_one_for_itself():
    S, Q = random_pair(0)
    for definition in ("mit", "pysaliency"):
        assert 0 < sim(S, Q, definition=definition) < 1
        assert sim(S, Q, definition=definition) == pytest.approx(sim(Q, S, definition=definition))
        assert sim(2 * S, Q, definition=definition) == pytest.approx(
            sim(S, Q, definition=definition)
        )
        assert sim(S, S, definition=definition) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_kl_against_the_benchmarks_formula(seed):
    Q, P = (m.numpy() for m in (random_pair(seed)[1], random_pair(seed + 10)[1]))
    P, Q, eps = P / P.sum(), Q / Q.sum(), 2.2204e-16
    expected = (Q * np.log(eps + Q / (P + eps))).sum()
    assert kl(torch.from_numpy(P), torch.from_numpy(Q)) == pytest.approx(expected, abs=1e-12)
    assert kl(torch.from_numpy(Q), torch.from_numpy(Q)) == pytest.approx(0.0, abs=1e-12)


def test_kl_by_hand():
    # P = (1, 3) / 4, Q = (1, 1) / 2
    P, Q = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    P = torch.cat([P, torch.zeros(1, 2)])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl(P, Q) == pytest.approx(expected)


def test_nss_by_hand():
    # mean 2, population deviation sqrt((4 + 1 + 0 + 9) / 4); fixated: 5 and 1
    fixations = torch.tensor([[1.5, 1.5], [1.0, 0.2]])
    assert nss(SMALL, fixations) == pytest.approx((3 - 2) / math.sqrt(14 / 4))


def test_x_is_the_column():
    S = torch.zeros(3, 5)
    S[0, 4] = 1.0
    assert nss(S, torch.tensor([[4.5, 0.5]])) > 3
    assert auc_judd(S, torch.tensor([[4.5, 0.5]])) == pytest.approx(1.0)


def test_auc_judd_by_hand():
    # values 1..6, fixated 6 and 3: at 6 one of two found, none of four falsely;
    # at 3 both found, two falsely (5 and 4); then the end
    S = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    fixations = torch.tensor([[2.5, 1.5], [2.5, 0.5]])
    corners = [(0, 0), (0, 0.5), (2 / 4, 1), (1, 1)]
    x, y = zip(*corners, strict=True)
    assert auc_judd(S, fixations) == pytest.approx(np.trapezoid(y, x), abs=1e-9)


def judd_by_loops(S, fixations, jitter):
    """The benchmark's loop."""
    S = S.numpy() + jitter
    fixated = np.zeros(S.shape, bool)
    fixated[fixations[:, 1].astype(int), fixations[:, 0].astype(int)] = True
    thresholds = np.sort(S[fixated])[::-1]
    tp, fp = [0.0], [0.0]
    for i, threshold in enumerate(thresholds, start=1):
        above = (threshold <= S).sum()
        tp.append(i / len(thresholds))
        fp.append((above - i) / (S.size - len(thresholds)))
    return np.trapezoid([*tp, 1.0], [*fp, 1.0])


@pytest.mark.parametrize("seed", range(4))
def test_auc_judd_against_the_benchmarks_loop(seed):
    S = random_pair(seed)[0]  # no two values alike
    fixations = np.random.default_rng(seed).random((9, 2)) * [17, 12]
    expected = judd_by_loops(S, fixations, 0.0)
    assert auc_judd(S, fixations, seed=seed) == pytest.approx(expected, abs=1e-12)


def test_ties_are_broken_as_often_either_way_as_by_the_benchmarks_jitter():
    S = random_pair(0)[0].round()
    rng = np.random.default_rng(1)
    fixations = rng.random((9, 2)) * [17, 12]
    ours = [auc_judd(S, fixations, seed=seed) for seed in range(400)]
    theirs = [judd_by_loops(S, fixations, rng.random(S.shape) * 1e-7) for _ in range(400)]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=4 * np.std(theirs) / math.sqrt(200))
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.15)
    assert judd_by_loops(S, fixations, 0.0) < min(ours)  # without any, the loop's area collapses


def test_a_tie_by_hand():
    # two pixels tie above a third, one of the two is fixated: first with area 1, or second, when
    # the curve goes through (1/2, 1): area 3/4
    S, fixation = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    assert {auc_judd(S, fixation, seed=seed) for seed in range(20)} == {1.0, 0.75}


def test_auc_judd_sees_order_only():
    S = random_pair(1)[0]
    fixations = torch.tensor([[3.0, 4.0], [8.0, 2.0], [12.0, 9.0]])
    for same_order in (1e-9 * S, S + 100, torch.exp(30 * S), -1 / (S - S.min() + 1e-3)):
        assert auc_judd(same_order, fixations) == auc_judd(S, fixations)


def test_where_people_looked_is_predicted_best_by_their_own_density():
    fixations = torch.tensor([[3.2, 4.1], [8.0, 2.5], [8.3, 2.2], [12.9, 9.0]])
    density = density_map(fixations, (12, 17), sigma=0.8)
    assert auc_judd(density, fixations) > 0.99
    assert nss(density, fixations) > 3
    assert cc(density, density) == pytest.approx(1.0, abs=1e-12)


def test_a_random_map_gets_chance():
    rng = np.random.default_rng(0)
    S = torch.from_numpy(rng.random((60, 60)))
    fixations = rng.random((400, 2)) * 60
    assert auc_judd(S, fixations) == pytest.approx(0.5, abs=0.03)
    assert nss(S, fixations) == pytest.approx(0.0, abs=0.12)
    assert shuffled_auc(S, fixations[:200], fixations[200:]) == pytest.approx(0.5, abs=0.06)


def test_shuffled_auc_by_hand():
    # seen 5 and 1, elsewhere 2 and 1: wins 5>2, 5>1, 1<2, tie with 1: 2.5 of 4
    seen, elsewhere = torch.tensor([[1.5, 1.5], [1.5, 0.5]]), torch.tensor([[0.5, 1.5], [1.2, 0.2]])
    assert shuffled_auc(SMALL, seen, elsewhere) == pytest.approx(2.5 / 4)


def test_shuffled_auc_gives_nothing_for_the_centre():
    rng = np.random.default_rng(0)
    fixations = np.clip(rng.normal(30, 8, (600, 2)), 0, 59)
    centre = density_map(torch.tensor([[30.0, 30.0]]), (60, 60), sigma=10.0)
    assert auc_judd(centre, fixations[:300]) > 0.8
    assert shuffled_auc(centre, fixations[:300], fixations[300:]) == pytest.approx(0.5, abs=0.05)


# maps out of the ordinary


# in binary, 0.1 has no end: its mean over many pixels differs from it in the last digit
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 0.1])
def test_a_constant_map_has_a_defined_answer(value):
    S, Q = torch.full((3, 4), value, dtype=torch.float64), torch.arange(12.0).view(3, 4)
    fixations = torch.tensor([[1.0, 1.0]])
    uniform = torch.ones(3, 4)
    assert cc(S, Q) == 0.0
    assert nss(S, fixations) == 0.0
    assert auc_judd(S, fixations) == 0.5
    assert shuffled_auc(S, fixations, fixations) == 0.5
    assert sim(S, Q) == pytest.approx(np.minimum(1 / 12, np.arange(12) / 66).sum())
    assert sim(S, Q, definition="pysaliency") == pytest.approx(sim(uniform, Q))
    assert kl(S, Q) == pytest.approx(kl(uniform, Q))
    assert note(S) == f"constant map of {value:g}"
    large, gaze = torch.full((224, 224), value, dtype=torch.float64), torch.zeros(224, 224)
    gaze[5, 5] = 1.0
    assert (cc(large, gaze), nss(large, fixations), auc_judd(large, fixations)) == (0.0, 0.0, 0.5)


def test_a_map_that_is_constant_to_rounding_is_noted():
    jitter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert note(0.5 + 1e-7 * jitter) == "constant map of 0.5, but for rounding"
    assert note(0.5 + 1e-5 * jitter) == ""
    assert note(1e-8 * jitter) == "25% of the map is negative"  # of a gradient, say
    assert note(1e-8 * jitter, scale=1.0).endswith("but for rounding")  # of probabilities


def test_tiny_values_count():
    S, Q = random_pair(2)
    fixations = torch.tensor([[3.0, 4.0], [8.0, 2.0]])
    assert cc(1e-200 * S, Q) == pytest.approx(cc(S, Q), abs=1e-12)
    assert nss(1e-200 * S, fixations) == pytest.approx(nss(S, fixations), abs=1e-12)


def test_negative_values_are_lifted_and_noted():
    S, Q = random_pair(0)
    assert kl(S, Q) == pytest.approx(kl(S - S.min(), Q))
    assert note(S - S.min()) == ""
    assert note(-SMALL) == "75% of the map is negative"
    hardly = torch.ones(100, 100)
    hardly[3, 4] = -1.0
    assert note(hardly) == "0.01% of the map is negative"


BROKEN = torch.tensor([[0.0, math.nan], [math.inf, 1.0]])
ONE = torch.tensor([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cc(BROKEN, GAZE), "relevance must be finite, got 2 of 4 values NaN"),
        (lambda: nss(BROKEN, ONE), "relevance must be finite"),
        (lambda: note(BROKEN), "relevance must be finite"),
        (lambda: kl(SMALL, BROKEN), "density must be finite"),
        (lambda: sim(SMALL, torch.zeros(2, 3)), "one shape, got [2, 2] and [2, 3]"),
        (lambda: cc(SMALL, torch.ones(2, 2)), "density must not be constant, got 1 everywhere"),
        (lambda: cc(SMALL[None], GAZE), "shape [H, W], got [1, 2, 2]"),
        (lambda: cc(SMALL.numpy(), GAZE), "tensor of shape [H, W], got ndarray"),
        (lambda: sim(SMALL, GAZE, definition="matlab"), "got 'matlab'"),
        (lambda: auc_judd(SMALL, torch.tensor([[2.0, 0.0]])), "index 0: x = 2, y = 0"),
        (lambda: nss(SMALL, torch.zeros(0, 2)), "at least one (x, y), got [0, 2]"),
        (lambda: shuffled_auc(SMALL, ONE, torch.tensor([[0.0, 9.0]])), "others must lie"),
        (
            lambda: auc_judd(SMALL, [[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]]),
            "leave some pixels out",
        ),
        (lambda: between_subjects([ONE], (4, 4), cc), "at least two subjects, got 1"),
        (lambda: between_subjects([ONE, ONE], (4, 4), cc, n_splits=0), "at least 1, got 0"),
        (lambda: density_map(torch.zeros(0, 2), (4, 4)), "at least one (x, y)"),
        (lambda: density_map(ONE, (4, 4), sigma=0), "sigma must be at least 0.1 pixel, got 0"),
        (lambda: density_map(ONE, (4, 4), durations=[1.0, 2.0]), "durations must have shape [1]"),
        (lambda: density_map(ONE, (4, 4), durations=[0.0]), "not all 0"),
        (lambda: density_map([[1, 1], [2, 2]], (4, 4), durations=[2.0, -1.0]), "got -1 to 2"),
        (lambda: wooding_sigma(0), "must be above 0"),
    ],
)
def test_bad_input_is_said(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)


# the upper bound, and sizes


def test_subjects_who_agree_predict_each_other():
    rng = np.random.default_rng(0)

    def subject(centre):
        return torch.from_numpy(np.column_stack([rng.normal(centre, 2, (8, 2)), np.ones(8)]))

    alike = [subject((20, 20)) for _ in range(6)]
    apart = [subject(rng.uniform(6, 34, 2)) for _ in range(6)]
    size = (40, 40)
    one, other = (between_subjects(paths, size, cc, sigma=3.0) for paths in (alike, apart))
    assert one > 0.9 > other
    assert one == between_subjects(alike, size, cc, sigma=3.0)
    assert one != between_subjects(alike, size, cc, sigma=3.0, seed=1)


def test_two_subjects_are_one_half_each():
    one = torch.tensor([[3.0, 4.0, 0.2], [9.0, 4.0, 0.3], [-5.0, 4.0, 0.3]])  # the last outside
    other = torch.tensor([[4.0, 8.0]])
    size = (10, 20)
    S, Q = density_map(one[:2, :2], size, sigma=3.0), density_map(other, size, sigma=3.0)
    assert between_subjects([one, other], size, cc, sigma=3.0) == pytest.approx(cc(S, Q), abs=1e-12)
    S, Q = density_map(one[:2, :2], size), density_map(other, size)
    assert between_subjects([one, other], size, cc) == pytest.approx(cc(S, Q), abs=1e-12)


def test_the_bound_is_the_mean_over_the_splits():
    scores = []

    def counted(S, Q):
        scores.append(cc(S, Q))
        return scores[-1]

    scanpaths = [torch.tensor([[x, x]]) for x in (1.0, 3.0, 6.0, 9.0)]
    bound = between_subjects(scanpaths, (10, 10), counted, n_splits=5)
    assert len(scores) == 5 and len(set(scores)) > 1
    assert bound == pytest.approx(sum(scores) / 5, abs=1e-12)


@pytest.mark.parametrize("size", [(5, 6), (30, 40)])
def test_resized_as_pillow_does_bicubic(size):
    S = torch.from_numpy(np.random.default_rng(0).random((12, 17), np.float32))
    pillow = Image.fromarray(S.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    expected = torch.from_numpy(np.array(pillow)).clamp(S.min(), S.max())
    assert_close(resized(S, size), expected, atol=1e-5, rtol=0)


def test_resized_keeps_the_range():
    S = torch.zeros(8, 8)
    S[4, 4] = 1.0
    larger = resized(S, (32, 24))
    assert larger.shape == (32, 24)
    assert (larger.min(), larger.max()) >= (0, 0)
    assert larger.max() <= 1
    assert divmod(int(larger.argmax()), 24)[0] // 4 == 4


def test_gaze_needs_neither_torchvision_nor_matplotlib():
    code = "import sys, labkit.metrics\n"
    code += "print([m for m in ('torchvision', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
