import json
import os
import subprocess
import sys
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import product
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_untouched, needs_module, state_of
from PIL import Image
from torch import nn
from torch.testing import assert_close

from labkit import evaluate as module
from labkit.data import load_heritage
from labkit.evaluate import (
    METRICS,
    BrokenPictures,
    Case,
    Metric,
    Plan,
    as_written,
    cases_of,
    comparisons,
    evaluate,
    evaluate_one,
    load_maps,
    run,
    summary,
)
from labkit.explain import rise, sensitivity
from labkit.methods import REGISTRY, Setting, explainer
from labkit.metrics import cc, deletion, density_map
from labkit.models import Classifier, Preprocessing, load_model

TIMES = ["seconds"]  # what may differ from run to run


@pytest.fixture(scope="module")
def model():
    return load_model("minivgg")


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def case(seed, **truth):
    return Case(f"picture{seed}", picture(seed), **truth)


def uniform(model, image, target):
    return torch.ones(image.shape[1:])


def made_table(**columns):
    n = len(next(iter(columns.values())))
    rows = [
        {"picture": f"p{i}", "method": method, "cc": values[i]}
        for i in range(n)
        for method, values in columns.items()
    ]
    return pd.DataFrame(rows)


def test_each_cell_is_what_the_metric_says_of_the_map(model):
    fixations = torch.tensor([[50.0, 60.0], [120.0, 80.0]])
    gaze = density_map(fixations, (224, 224))
    table = evaluate(
        model,
        [case(0, density=gaze, fixations=fixations)],
        {"gradient": sensitivity},
        metrics=["cc", "deletion", "pointing_game"],
    )
    row = table.iloc[0]
    image = model.prepare(picture(0))
    target = int(model(image[None]).argmax())
    S = sensitivity(model, image, target)
    assert row["picture"] == "picture0"
    assert row["target"] == target
    assert row["class"] == model.classes[target]
    assert row["cc"] == pytest.approx(cc(S, gaze), abs=1e-9)
    assert row["deletion"] == pytest.approx(deletion(model, image, S, target).auc, abs=1e-6)
    assert np.isnan(row["pointing_game"])  # no mask is known
    assert row["probability"] == pytest.approx(
        model(image[None]).softmax(1)[0, target].item(), abs=1e-6
    )


def test_the_parts_of_a_generated_building_are_what_should_be_found(model):
    heritage = load_heritage()
    (chosen,) = cases_of(heritage.subset([20]))
    table = evaluate(model, [chosen], {"uniform": uniform}, metrics=["energy_inside"])
    parts = heritage.part_masks[20] > 0
    assert 0.02 < parts.mean() < 0.6
    assert table["energy_inside"].item() == pytest.approx(parts.mean(), abs=0.01)


def test_a_metric_can_have_settings_of_your_own(model):
    metrics = {
        "ends": Metric(lambda j: deletion(j.model, j.image, j.relevance, j.target, n_steps=1)),
        "pointing_game": METRICS["pointing_game"],
    }
    table = evaluate(model, [case(0, target=1)], {"uniform": uniform}, metrics=metrics)
    image = model.prepare(picture(0))
    ends = torch.stack([image, torch.zeros_like(image)])
    assert table["ends"].item() == pytest.approx(
        model(ends).softmax(1)[:, 1].mean().item(), abs=1e-6
    )
    assert np.isnan(table["pointing_game"].item())


def test_the_target_can_be_given(model):
    table = evaluate(model, [case(0, target=1)], {"gradient": sensitivity}, metrics=[])
    assert table["target"].item() == 1


def test_forward_passes_are_counted_in_images(model):
    biased = explainer("biased", model)
    methods = {"rise": partial(rise, n_masks=19), "none": uniform, "biased": biased}
    table = evaluate(model, [case(0)], methods, metrics=[]).set_index("method")
    assert table["forward_passes"].to_dict() == {"rise": 19, "none": 0, "biased": 1}


def test_the_seed_goes_to_methods_that_take_one(model):
    methods = {"a": partial(rise, n_masks=8), "b": partial(rise, n_masks=8, seed=5), "c": uniform}
    table = evaluate(model, [case(0)], methods, metrics=[], seed=3).set_index("method")
    assert table.loc["a", "seed"] == 3
    assert table.loc["b", "seed"] == 5
    assert json.loads(table.loc["b", "settings"]) == {"n_masks": 8, "seed": 5}
    given, _, _ = evaluate_one(model, case(0), "a", methods["a"], metrics=[], seed=3)
    assert given["seed"] == 3


def test_two_runs_give_the_same_table(model):
    methods = {"rise": partial(rise, n_masks=16), "edges": explainer("edges", model)}
    tables = [evaluate(model, [case(0), case(1)], methods, metrics=[]) for _ in range(2)]
    pd.testing.assert_frame_equal(*(table.drop(columns=TIMES) for table in tables))


def test_a_constant_map_is_noted_and_all_ties(model):
    row = evaluate(model, [case(0)], {"none": uniform}, metrics=[]).iloc[0]
    assert row["ties"] == 1.0
    assert "constant" in row["note"]


def test_a_density_map_of_another_size_is_resized_and_noted(model):
    gaze = torch.rand(112, 112, generator=torch.Generator().manual_seed(0))
    row = evaluate(model, [case(0, density=gaze)], {"none": sensitivity}, metrics=["cc"]).iloc[0]
    assert "density map resized from 112 x 112 to 224 x 224" in row["note"]
    assert np.isfinite(row["cc"])


def test_a_density_map_on_its_side_is_refused(model, tmp_path):
    path = tmp_path / "gaze.png"
    Image.fromarray(picture(0)[:100, :, 0]).transpose(Image.Transpose.TRANSPOSE).save(path)
    with pytest.raises(ValueError, match="rows and columns are swapped"):
        evaluate(
            model, [Case("wide", picture(0)[:100], density=path)], {"u": uniform}, metrics=["cc"]
        )


def test_fixations_that_were_cropped_away_are_noted(model):
    wide = np.repeat(picture(0), 2, axis=1)  # 448 x 224: the middle 224 columns are kept
    fixations = torch.tensor([[10.0, 100.0], [224.0, 100.0]])
    row = evaluate(
        model, [Case("wide", wide, fixations=fixations)], {"s": sensitivity}, metrics=["nss"]
    ).iloc[0]
    assert "1 fixations outside of the image" in row["note"]
    assert np.isfinite(row["nss"])


def test_the_model_is_left_as_it_was(model):
    before = state_of(model)
    methods = {"gradient": sensitivity, "rise": partial(rise, n_masks=8)}
    evaluate(model, [case(0)], methods, metrics=["deletion"])
    assert_untouched(model, before)

    def broken(model, image, target):
        raise RuntimeError("method failed")

    with pytest.raises(RuntimeError, match="method failed"):
        evaluate(model, [case(0)], {"broken": broken}, metrics=[])
    assert_untouched(model, before)


def test_summary_by_hand():
    row = summary(made_table(a=[0.1, 0.2, 0.6], b=[0.5, 0.5, 0.5])).set_index("method").loc["a"]
    assert (row["n"], row["mean"]) == (3, pytest.approx(0.3))
    assert row["deviation"] == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert 0.1 <= row["low"] < 0.3 < row["high"] <= 0.6


def test_summary_leaves_out_what_is_not_known():
    table = made_table(a=[0.1, np.nan, 0.3], b=[np.nan, np.nan, 0.5])
    rows = summary(table).set_index("method")
    assert rows["n"].to_dict() == {"a": 2, "b": 1}
    assert rows.loc["b", "mean"] == 0.5
    assert np.isnan(rows.loc["b", "deviation"])


def test_a_written_table_has_a_row_a_method():
    written = as_written(summary(made_table(b=[0.1, 0.3], a=[0.5, 0.5])))
    assert written.index.tolist() == ["b", "a"]  # in the order of the table
    assert written.loc["b", "cc"] == "0.200 ± 0.141"


def test_a_steady_difference_is_real_and_a_wavering_one_is_not():
    rng = np.random.default_rng(0)
    base = rng.normal(0.0, 1.0, 12)
    table = made_table(
        a=base, better=base + 0.2 + rng.normal(0, 0.02, 12), other=base + rng.normal(0, 0.2, 12)
    )
    found = comparisons(table, "cc").set_index(["a", "b"])
    assert found.loc[("a", "better"), "difference"] == pytest.approx(-0.2, abs=0.02)
    assert found.loc[("a", "better"), "real"]
    assert not found.loc[("a", "other"), "real"]


def test_p_values_are_exact_and_corrected_for_the_number_of_pairs():
    # All six differences of a pair have one sign: p = 2 / 2^6, times 3 pairs by Holm.
    table = made_table(a=[1.0] * 6, b=[2.0, 3, 4, 5, 6, 7], c=[-1.0, -2, -3, -4, -5, -6])
    found = comparisons(table, "cc")
    assert found["p"].tolist() == pytest.approx([3 * 2 / 64] * 3)
    assert not found["real"].any()


def test_equal_methods_do_not_differ():
    found = comparisons(made_table(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0]), "cc")
    assert found[["difference", "p"]].to_numpy().tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: evaluate(m, [], {"s": sensitivity}), "cases must hold at least one picture"),
        (lambda m: evaluate(m, [case(0)], {}), "methods must hold at least one explainer"),
        (lambda m: evaluate(m, [case(0), case(0)], {"s": sensitivity}), "names that differ"),
        (
            lambda m: evaluate(m, [Case("a/b", picture(0))], {"s": sensitivity}),
            "usable as a file name, got 'a/b'",
        ),
        (
            lambda m: evaluate(m, [case(0)], {"s": sensitivity}, metrics=["delettion"]),
            "got 'delettion'; did you mean 'deletion'?",
        ),
        (lambda m: Plan("minivgg", {}).check(), "with their settings, at least one, got {}"),
        (lambda m: Plan("minivgg", ["rise"]).check(), "at least one, got ['rise']"),
        (
            lambda m: Plan("minivgg", {"fem": {"k": "x"}}).check(),
            "fem does not take k='x': expected values like the defaults, k=2.0",
        ),
        (lambda m: Plan("minivgg", {"grad-cam": {}}).check(), "did you mean 'gradcam'"),
        (lambda m: Plan("minivgg", {"rise": {"masks": 1}}).check(), "did you mean 'n_masks'"),
        (lambda m: Plan("minivg", {"rise": {}}).check(), "did you mean 'minivgg'"),
        (lambda m: Plan("minivgg", {"lime": {}}, seed=-1).check(), "lime does not take seed=-1: "),
        (lambda m: comparisons(made_table(a=[1.0]), "ccc"), "did you mean 'cc'"),
    ],
)
def test_bad_input_is_said(model, call, said):
    with pytest.raises(ValueError) as error:
        call(model)
    assert said in str(error.value)


# run

METHODS_OF_PLAN = {"sensitivity": {}, "rise": {"n_masks": 8}, "uniform": {}}
PLAN = Plan("minivgg", METHODS_OF_PLAN, metrics=("energy_inside",))


@pytest.fixture
def files(tmp_path):

    cases = []
    for seed in range(4):
        path = tmp_path / f"picture{seed}.png"
        Image.fromarray(picture(seed)).save(path)
        mask = np.zeros((224, 224), bool)
        mask[:100] = True
        cases.append(Case(path.stem, path, mask=mask))
    return cases


def test_run_gives_the_table_of_evaluate(model, files, tmp_path):
    table = run(PLAN, files, tmp_path / "out")
    methods = {name: partial(explainer(name, model), **PLAN.methods[name]) for name in PLAN.methods}
    expected = evaluate(model, files, methods, metrics=PLAN.metrics)
    pd.testing.assert_frame_equal(table.drop(columns=TIMES), expected.drop(columns=TIMES))
    saved = pd.read_csv(tmp_path / "out" / "table.csv", keep_default_na=True)
    assert saved["energy_inside"].to_numpy() == pytest.approx(table["energy_inside"].to_numpy())


def test_the_maps_are_kept(model, files, tmp_path):
    run(PLAN, files[:1], tmp_path / "out")
    image = model.prepare(files[0].picture)
    kept = load_maps(tmp_path / "out", "picture0", "sensitivity")["relevance"]
    assert_close(kept, sensitivity(model, image, int(model(image[None]).argmax())))


def test_each_layer_is_looked_for_once(files, tmp_path, monkeypatch):
    asked = []
    module._bound.cache_clear()
    monkeypatch.setattr(
        "labkit.methods.last_maps", lambda model: asked.append(model) or "features.29"
    )
    run(Plan("minivgg", {"gradcam": {}}, metrics=()), files, tmp_path / "out")
    assert len(asked) == 1


def test_nothing_is_done_twice(files, tmp_path, monkeypatch):
    first = run(PLAN, files, tmp_path / "out")
    monkeypatch.setattr(module, "_work", None)  # would be called for anything not yet done
    pd.testing.assert_frame_equal(run(PLAN, files, tmp_path / "out"), first)


def changed_density(case, out):
    return {"cases": [replace(case, density=torch.rand(224, 224))]}


def changed_fixations(case, out):
    return {"cases": [replace(case, fixations=torch.ones(3, 2))]}


def changed_mask(case, out):
    return {"cases": [replace(case, mask=~case.mask)]}


def changed_picture(case, out):
    Image.fromarray(picture(9)).save(case.picture)


def changed_version(case, out):
    return {"version": "9"}


def changed_map(case, out):
    path = out / "maps" / case.name / "sensitivity.npz"
    path.write_bytes(path.read_bytes()[:-30])


def missing_map(case, out):
    (out / "maps" / case.name / "sensitivity.npz").unlink()


def empty_result(case, out):
    (out / "results" / case.name / "sensitivity.json").write_bytes(b"")


def result_of_an_older_version(case, out):
    path = out / "results" / case.name / "sensitivity.json"
    row = json.loads(path.read_text())
    del row["inputs"]
    path.write_text(json.dumps(row))


def result_without_its_metric(case, out):
    path = out / "results" / case.name / "sensitivity.json"
    path.write_text(path.read_text().replace("energy_inside", "energy"))


def plan_cut_off(case, out):
    (out / "plan.json").write_text('{"model": "min')
    return {"plan": replace(ONE, seed=3)}


ONE = Plan("minivgg", {"sensitivity": {}}, metrics=("energy_inside",))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed_density, "density map changed"),
        (changed_fixations, "fixations changed"),
        (changed_mask, "part mask changed"),
        (changed_picture, "picture changed"),
        (changed_version, "labkit changed"),
        (changed_map, "map changed"),
        (missing_map, "map changed"),
        (empty_result, "unreadable"),
        (result_without_its_metric, "unreadable"),
        (result_of_an_older_version, "made by an older version"),
        (plan_cut_off, "settings changed"),
    ],
)
def test_what_changed_is_computed_anew(files, tmp_path, monkeypatch, change, why):
    out, said = tmp_path / "out", []
    run(ONE, files[:2], out, say=said.append)
    other = out / "results" / "picture1" / "sensitivity.json"
    kept = other.stat().st_mtime_ns
    changed = change(files[0], out) or {}
    monkeypatch.setattr(module, "__version__", changed.get("version", module.__version__))
    cases, plan = [*changed.get("cases", files[:1]), files[1]], changed.get("plan", ONE)
    table = run(plan, cases, out, say=said.append)
    n = 2 if why in ("labkit changed", "settings changed") else 1
    assert said == [f"{n} of 2 results are computed anew: {why}"]
    assert (kept == other.stat().st_mtime_ns) == (n == 1)
    fresh = run(plan, cases, tmp_path / "fresh")
    pd.testing.assert_frame_equal(table.drop(columns=TIMES), fresh.drop(columns=TIMES))


def test_a_network_trained_further_is_seen_in_the_same_process(files, tmp_path):
    path, said, tables = tmp_path / "net.pt", [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = load_model("minivgg", weights="random")
        torch.save(network.network.state_dict(), path)
        plan = Plan("minivgg", {"sensitivity": {}}, weights=str(path), metrics=())
        tables.append(run(plan, files[:1], tmp_path / "out", say=said.append))
    assert said == ["1 of 1 results are computed anew: network changed"]
    assert tables[0]["probability"].item() != tables[1]["probability"].item()


def test_a_worker_with_another_network_is_refused(files):
    with pytest.raises(ValueError, match="must be the same for all workers"):
        module._work((ONE, "another"), files[0], "sensitivity")


def test_a_broken_density_map_is_said_before_anything_is_computed(files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_work", None)
    (tmp_path / "gaze.png").write_bytes(b"nothing")
    cases = [*files[:3], replace(files[3], density=tmp_path / "gaze.png")]
    with pytest.raises(BrokenPictures, match="picture3: "):
        run(ONE, cases, tmp_path / "out")


MALFORMED = [
    ({"density": np.ones((4, 4, 3))}, r"density must have the shape \[H, W\], got \[4, 4, 3\]"),
    ({"density": np.ones((0, 4))}, r"density must have the shape \[H, W\], got \[0, 4\]"),
    ({"density": torch.tensor([[1.0, torch.nan]])}, "density must hold finite numbers"),
    ({"density": np.zeros((4, 4))}, "density map of finite numbers from 0 upwards, not all equal"),
    ({"density": np.array([["a"]])}, r"density must be an array \[H, W\] of numbers, got ndarray"),
    ({"mask": np.ones(4, bool)}, r"mask must have the shape \[H, W\], got \[4\]"),
    ({"mask": np.zeros((4, 4), bool)}, "mask must have a pixel that is not 0"),
    ({"mask": "no such.png"}, "no such.png"),
    ({"fixations": torch.ones(3)}, r"fixations must have the shape \[N, 2\], got \[3\]"),
    ({"fixations": torch.ones(2, 3)}, r"fixations must have the shape \[N, 2\], got \[2, 3\]"),
    ({"fixations": torch.tensor([[1.0, torch.inf]])}, "fixations must hold finite numbers"),
]


@pytest.mark.parametrize(("truth", "said"), MALFORMED)
def test_a_malformed_truth_is_named_before_the_first_picture(
    model, files, tmp_path, monkeypatch, truth, said
):
    monkeypatch.setattr(module, "_work", None)
    monkeypatch.setattr(module, "evaluate_one", None)
    cases = [*files[:3], replace(files[3], **truth)]
    with pytest.raises(BrokenPictures, match=rf"picture3: \w+: .*{said}"):
        run(ONE, cases, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"the case 'picture3' cannot be judged: .*{said}"):
        evaluate(model, cases, {"u": uniform})


def test_a_picture_without_fixations_is_judged_by_what_else_is_known(model):
    none = case(0, fixations=torch.ones(0, 2), mask=np.ones((224, 224), bool))
    metrics = ["nss", "energy_inside"]
    row = evaluate(model, [none], {"u": uniform}, metrics=metrics).iloc[0]
    assert np.isnan(row["nss"]) and row["energy_inside"] == 1


def test_a_mask_of_another_shape_is_refused_and_a_larger_one_not(model):
    wide = np.repeat(picture(0), 2, axis=1)
    for shape, refused in {(224, 224): True, (448, 224): True, (112, 224): False}.items():
        cases = [Case("wide", wide, mask=np.ones(shape, bool))]
        judge = partial(evaluate, model, cases, {"u": uniform}, metrics=["energy_inside"])
        if refused:
            with pytest.raises(ValueError, match=r"its picture, 448 x 224 pixels, got 224 x "):
                judge()
        else:
            assert judge()["energy_inside"].item() == 1


NO_SETTING = ["text", -1, 0, 2, 1.5, -0.5, float("nan"), float("inf"), None, [1, 2], (1, 2, 3), {}]


@pytest.mark.parametrize("name", REGISTRY)
def test_every_wrong_setting_is_refused_by_name_or_carried_out(name):
    """What the check before the first picture lets through, the method can do on a picture."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network.extend([nn.Flatten(), nn.Linear(4, 3)])
    small = Classifier(network.eval(), name="small", classes="abc", description="-",
                       preprocessing=Preprocessing(32, 32))  # fmt: skip
    image = torch.zeros(3, 32, 32)
    image[:, 10:, 15:] = 1  # two regions
    method = explainer(name, small)
    parameters = signature(method).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    quick = {
        key: int(control.minimum)
        for key, control in REGISTRY[name].settings.items()
        if isinstance(control, Setting) and isinstance(control.value, int)
    }
    for key, value in product(known, NO_SETTING):
        if key == "progress" or (key == "stride" and value in (2, 1.5)):
            continue  # anything is true or false; a small stride takes long
        try:
            module._check_settings(name, method, {key: value}, small)
        except ValueError as error:
            assert str(error).startswith(f"{name} does not take {key}={value!r}: "), error
            assert key in str(error).partition(": ")[2] and "instances of" not in str(error), error
        else:
            assert method(small, image, 1, **quick | {key: value}).shape == (32, 32)


def test_a_setting_that_fails_late_is_not_the_pictures_fault(files, tmp_path):
    plan = Plan("minivgg", {"perturbation": {"lr": 1e30, "steps": 5}}, metrics=())
    with pytest.raises(ValueError, match=r"^perturbation does not take lr=1e\+30.*finite") as error:
        run(plan, files, tmp_path / "out")
    assert not isinstance(error.value, BrokenPictures)


@pytest.mark.parametrize("died", ["BrokenProcessPool", "CancelledError", "KilledWorker"])
def test_a_worker_that_died_ends_in_one_line(files, tmp_path, died):
    kinds = {"BrokenProcessPool": BrokenProcessPool, "CancelledError": CancelledError}
    kind = kinds.get(died) or type(died, (Exception,), {})  # dask's need not be installed

    class Dying(ProcessPoolExecutor):
        def submit(self, *arguments):
            future = Future()
            future.set_exception(kind())
            return future

    with (
        Dying(1) as executor,
        pytest.raises(ChildProcessError, match="again; 0 of 2 results are there$"),
    ):
        run(ONE, files[:2], tmp_path / "out", executor=executor)


def test_another_plan_does_not_mix_with_the_results(files, tmp_path):
    run(PLAN, files[:1], tmp_path / "out")
    other = Plan("minivgg", PLAN.methods, metrics=PLAN.metrics, seed=1)
    with pytest.raises(ValueError, match="results of another evaluation.*different: seed"):
        run(other, files[:1], tmp_path / "out")


def test_processes_give_the_same_table(files, tmp_path):
    expected = run(PLAN, files, tmp_path / "one")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        table = run(PLAN, files, tmp_path / "two", executor=executor, workers=2)
    pd.testing.assert_frame_equal(
        table.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=False, atol=1e-5
    )


def test_every_process_draws_the_same_random_weights():
    drawn = []
    for seed in (1, 2):
        module.loaded.cache_clear()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        drawn.append(module.loaded("minivgg", "random").state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert any(weights.std() > 0 for weights in drawn[0].values())


def test_a_dask_cluster_gives_the_same_table(files, tmp_path):
    distributed = needs_module("distributed", "cluster")
    expected = run(PLAN, files, tmp_path / "one")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster.scheduler_address) as client,
    ):
        table = run(
            PLAN, files, tmp_path / "two", executor=client.get_executor(pure=False), workers=2
        )
    pd.testing.assert_frame_equal(
        table.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=False, atol=1e-5
    )


def test_broken_pictures_are_listed_and_the_others_kept(files, tmp_path):
    files[1].picture.write_bytes(b"no picture")
    files[3].picture.write_bytes(files[3].picture.read_bytes()[:300])
    with pytest.raises(BrokenPictures) as error:
        run(PLAN, files, tmp_path / "out")
    for said in ("2 picture(s)", "picture1: ", "picture3: ", "--keep-going"):
        assert said in str(error.value)
    table = run(PLAN, files, tmp_path / "out", keep_going=True)
    assert table["picture"].unique().tolist() == ["picture0", "picture2"]
    with pytest.raises(BrokenPictures, match=r"none of the 1 picture\(s\).*picture1: "):
        run(PLAN, files[1:2], tmp_path / "none", keep_going=True)


def test_few_tasks_are_under_way_at_a_time(files, tmp_path):
    class Watched(ProcessPoolExecutor):
        under_way = most = 0

        def submit(self, *arguments):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            future = super().submit(*arguments)
            future.add_done_callback(lambda _: setattr(self, "under_way", self.under_way - 1))
            return future

    with Watched(1, mp_context=get_context("spawn")) as executor:
        run(PLAN, files, tmp_path / "out", executor=executor, workers=1)
        assert executor.most <= 4 < len(files) * len(PLAN.methods)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from labkit.evaluate import Case, Plan, run
from labkit.models import Classifier, Preprocessing, load_model
import torch

torch.set_num_threads(1)
folder, n_kills = Path(sys.argv[1]), int(sys.argv[2])
cases = [Case(p.stem, p) for p in sorted(folder.glob("*.png"))]
plan = Plan("minivgg", {"sensitivity": {}, "uniform": {}, "centre": {}, "edges": {}}, metrics=())
plan.check()  # loads the network, once for all children
rng = random.Random(0)
out = folder / "out"


def results():
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.rglob("*.json")}


for kill in range(n_kills):
    before = results()
    child = os.fork()
    if not child:
        run(plan, cases, out)
        os._exit(0)
    wanted = len(before) + rng.randrange(6)
    while len(results()) < wanted:
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.03))  # anywhere in the next task
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    after = results()
    assert before.items() <= after.items(), "a result was lost or made again"
    print(len(after))
table = run(plan, cases, out)
assert results().items() >= after.items()
assert len(table) == len(cases) * 4 and not table.duplicated(["picture", "method"]).any()
"""


@pytest.mark.needs("a system that forks", there=hasattr(os, "fork"))
def test_killed_twenty_times_nothing_is_lost_or_repeated(tmp_path):
    for seed in range(30):
        Image.fromarray(picture(seed)).save(tmp_path / f"picture{seed}.png")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "20"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 20
    assert counts[0] < counts[-1]  # it was killed on the way, not after the end


def test_the_table_of_one_seed_does_not_depend_on_the_order_of_pictures(files, tmp_path):
    tables = [
        run(PLAN, cases, tmp_path / str(i)).sort_values(["picture", "method"], ignore_index=True)
        for i, cases in enumerate((files, files[::-1]))
    ]
    pd.testing.assert_frame_equal(*(table.drop(columns=TIMES) for table in tables))
