"""The checks for students: right answers pass, every recorded mistake is named, nothing is told."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from cases import faults, in_every
from torch import nn

from labkit.explain import fem as fem_of_labkit
from labkit.explain import gradcam, lime_samples, occlusion, smoothgrad
from labkit.explain.biased import BiasedLayer
from labkit.explain.gradients import input_gradient, integrated_gradients
from labkit.explain.perturbation import (
    Perturbation,
    PerturbationGenerator,
    centers,
    perturbation_map,
)
from labkit.metrics import cc, deletion, insertion
from labkit.selfcheck import (
    check,
    exercise,
    exercises,
    judge,
    lab1,
    lab2,
    lab3,
    lab4,
    lab5,
    lab6,
    lab7,
    score,
)
from labkit.selfcheck.exercise import (
    CallFailed,
    Exercise,
    Mistake,
    Question,
    agree,
    answer,
    as_data,
    asked_here,
    normal,
    numbers,
)
from labkit.selfcheck.networks import KINDS, Network, drawn
from labkit.selfcheck.report import LABS

ALL = [one for lab in LABS for one in exercises(lab)]
CODED = [one for one in ALL if one.function is not None]
SEEDS = (0, 1, 2)
by_name = partial(pytest.mark.parametrize, ids=lambda one: one.name)


def verdict_of(asked, function, seed=0, **settings):
    return judge(asked, asked_here(function), np.random.default_rng(seed), **settings)


# Every exercise


def of_logits(changed):
    """The gradient of another score, as a wrong `input_gradient`."""

    def wrong(model, image, target):
        return lab2.input_gradient(lambda x: changed(model(x)), image, target)

    return wrong


def entering(solve, name, change):
    """A wrong answer: the right one for another value of an argument."""
    return lambda **inputs: solve(**inputs | {name: change(inputs[name])})


# Wrong answers that slips.py knows without being told, by the slip's name.
FOUND = {
    "lab1.class_means": {
        "results swapped": lambda features, labels: lab1.class_means(features, 1 - labels)
    },
    "lab1.mean_difference": {"opposite sign": lambda **i: -lab1.mean_difference(**i)},
    "lab1.discriminant": {
        "mean instead of sum": lambda features, w: (features * w).mean(dim=1),
        "too many dimensions": lambda features, w: features @ w[:, None],
        "opposite sign": lambda features, w: -(features @ w),
    },
    "lab1.rates": {"results swapped": lambda **i: lab1.rates(**i)[::-1]},
    "lab1.probe_logits": {
        "columns in reverse order": lambda **i: lab1.probe_logits(**i).flip(1),
        "probabilities instead of logits": lambda **i: lab1.probe_logits(**i).softmax(dim=1),
        "transposed": lambda **i: lab1.probe_logits(**i).T,
        "opposite sign of threshold": lambda g, threshold: lab1.probe_logits(g, -threshold),
    },
    "lab2.input_gradient": {
        "softmax for logit": of_logits(lambda logits: logits.softmax(1)),
        "logarithm of the probability for logit": of_logits(lambda logits: logits.log_softmax(1)),
        "loss for logit": of_logits(lambda logits: -logits.log_softmax(1)),
        "the winning class instead of the target": lambda model, image, target: lab2.input_gradient(
            model, image, model(image[None]).argmax()
        ),
        "all classes at once": of_logits(lambda logits: logits.sum(1, keepdim=True).expand(-1, 3)),
        "sign lost": lambda **i: lab2.input_gradient(**i).abs(),
        "too many dimensions": lambda **i: lab2.input_gradient(**i)[None],
        "multiplied by image": lambda **i: lab2.input_gradient(**i) * i["image"],
    },
    "lab2.sensitivity": {
        "root": lambda gradient: gradient.norm(dim=0),
        "mean instead of sum": lambda gradient: gradient.square().mean(dim=0),
    },
    "lab2.saliency": {"squared": lambda gradient: gradient.square().amax(dim=0)},
    "lab2.smoothgrad": {
        "sum instead of mean": lambda **i: lab2.smoothgrad(**i) * len(i["noise"]),
        "noise left out": lambda model, image, target, **i: lab2.input_gradient(
            model, image, target
        ),
    },
    "lab2.integrated_gradients": {
        "opposite sign": lambda **i: -lab2.integrated_gradients(**i),
        "sum instead of mean": lambda **i: lab2.integrated_gradients(**i) * i["n_steps"],
        "softmax for logit": lambda model, **i: lab2.integrated_gradients(
            lambda x: model(x).softmax(1), **i
        ),
    },
    "lab2.occlusion": {
        "opposite sign": lambda **i: -lab2.occlusion(**i),
        "stride left out": lambda **i: lab2.occlusion(**i | {"stride": 1}),
    },
    "lab3.biased_weight": {"gamma left out": lambda W, gamma: W + W.clamp(min=0)},
    "lab3.stable_ratio": {"sign of q lost": lambda z, q, epsilon: z / (q.abs() + epsilon)},
    "lab3.biased_gradient": {
        "gamma left out": lambda **i: lab3.biased_gradient(**i | {"gamma": 0}),
        "multiplied by x": lambda **i: i["x"] * lab3.biased_gradient(**i),
    },
    "lab3.layer_relevance": {
        "b left out": lambda **i: lab3.layer_relevance(**i | {"b": 0 * i["b"]})
    },
    "lab4.class_activation": {
        "mean instead of sum": lambda **i: lab4.class_activation(**i) / len(i["A"]),
        "negative values cut off": lambda **i: lab4.class_activation(**i).relu(),
        "W left out": lambda A, W, target: A.sum(dim=0),
    },
    "lab4.channel_weights": {"sum instead of mean": lambda dY_dA: dY_dA.sum(dim=(1, 2))},
    "lab4.weighted_sum": {
        "mean instead of sum": lambda **i: lab4.weighted_sum(**i) / len(i["A"]),
        "divided by the maximum": lambda **i: lab4.weighted_sum(**i) / lab4.weighted_sum(**i).max(),
        "sign of alpha lost": entering(lab4.weighted_sum, "alpha", torch.abs),
    },
    "lab4.upsample": {
        "height and width swapped": lambda L, height, width: lab4.upsample(L, width, height),
        "too many dimensions": lambda **i: lab4.upsample(**i)[None, None],
    },
    "lab4.fem": {"k left out": lambda A, k: lab4.fem(A, 2.0)},
    "lab4.gradcam": {
        "softmax for logit": lambda head, **i: lab4.gradcam(head=lambda A: head(A).softmax(1), **i),
        "the winning class instead of the target": lambda features, head, image, target: (
            lab4.gradcam(features, head, image, head(features(image[None])).argmax())
        ),
        "all classes at once": lambda head, **i: lab4.gradcam(
            head=lambda A: head(A).sum(1, keepdim=True).expand(-1, 3), **i
        ),
    },
    "lab5.masked_scores": {
        "the winning class instead of the target": lambda model, image, target, masks: (
            model(image * masks[:, None]).softmax(1).amax(1)
        ),
        "one minus masks": entering(lab5.masked_scores, "masks", lambda masks: 1 - masks),
    },
    "lab5.rise_official": {
        "p left out": entering(lab5.rise_official, "p", lambda p: 1),
        "sum instead of mean": lambda **i: lab5.rise_official(**i) * len(i["f"]),
        "one over p": lambda **i: lab5.rise_official(**i) * i["p"] ** 2,
        "masks left out": lambda f, masks, p: f.mean() * torch.ones_like(masks[0]) / p,
        "f left out": lambda f, masks, p: masks.mean(dim=0) / p,
        "one minus masks": entering(lab5.rise_official, "masks", lambda masks: 1 - masks),
    },
    "lab5.rise_coverage": {
        "masks left out": lambda f, masks: f.mean() * torch.ones_like(masks[0]),
    },
    "lab5.smooth_mask": {
        "down and right swapped": lambda grid, down, right, height, width: lab5.smooth_mask(
            grid, right, down, height, width
        ),
        "one minus the value": lambda **i: 1 - lab5.smooth_mask(**i),
    },
    "lab5.hide_superpixels": {
        "one minus z": entering(lab5.hide_superpixels, "z", lambda z: 1 - z),
    },
    "lab5.kernel_weights": {
        "squared": lambda **i: lab5.kernel_weights(**i) ** 2,
        "divided by the sum": lambda **i: lab5.kernel_weights(**i) / lab5.kernel_weights(**i).sum(),
        "root of width": entering(lab5.kernel_weights, "width", lambda width: width**0.5),
    },
    "lab5.weighted_ridge": {
        "pi left out": entering(lab5.weighted_ridge, "pi", torch.ones_like),
        "pi squared": entering(lab5.weighted_ridge, "pi", torch.square),
        "root of pi": entering(lab5.weighted_ridge, "pi", torch.sqrt),
        "alpha left out": entering(lab5.weighted_ridge, "alpha", lambda alpha: 0),
        "alpha squared": entering(lab5.weighted_ridge, "alpha", lambda alpha: alpha**2),
    },
    "lab6.pcc": {
        "squared": lambda **i: lab6.pcc(**i) ** 2,
        "sign lost": lambda **i: abs(lab6.pcc(**i)),
    },
    "lab6.sim": {"mean instead of sum": lambda S, Q: lab6.sim(S, Q) / S.numel()},
    "lab6.nss": {
        "sum instead of mean": lambda S, fixations: lab6.nss(S, fixations) * len(fixations)
    },
    "lab6.deletion_curve": {
        "the winning class instead of the target": lambda model, target, **i: lab6.deletion_curve(
            lambda x: model(x).sort(dim=1, descending=True).values, target=0, **i
        ),
        "opposite sign of S": entering(lab6.deletion_curve, "S", torch.neg),
    },
    "lab6.insertion_curve": {
        "the winning class instead of the target": lambda model, target, **i: lab6.insertion_curve(
            lambda x: model(x).sort(dim=1, descending=True).values, target=0, **i
        ),
        "opposite sign of S": entering(lab6.insertion_curve, "S", torch.neg),
        "start left out": entering(lab6.insertion_curve, "start", torch.zeros_like),
        "image and start swapped": lambda image, start, **i: lab6.insertion_curve(
            image=start, start=image, **i
        ),
    },
    "lab7.loss": {
        "l1 left out": entering(lab7.loss, "l1", lambda l1: 1.0),
        "opposite sign of l1": entering(lab7.loss, "l1", lambda l1: -l1),
    },
    "lab7.total_variation": {
        "sum instead of mean": lambda change: lab7.total_variation(change) * change.numel()
    },
    "lab7.perturbation_map": {
        "border left out": entering(lab7.perturbation_map, "border", lambda border: 0),
        "power left out": entering(lab7.perturbation_map, "power", lambda power: 1.0),
    },
    "lab7.centre_of_mass": {
        "results swapped": lambda relevance: lab7.centre_of_mass(relevance)[::-1]
    },
    "lab7.generator": {
        "n_blocks and n_layers swapped": lambda image, weight, bias, n_blocks, n_layers: (
            lab7.generator(image, weight, bias, n_layers, n_blocks)
        ),
        "n_blocks left out": entering(lab7.generator, "n_blocks", lambda n_blocks: 1),
        "bias left out": entering(lab7.generator, "bias", torch.zeros_like),
    },
}


@by_name("asked", CODED)
def test_a_mistake_is_named_with_its_hint(asked):
    found, wrongly = FOUND.get(asked.name, {}), []
    assert set(asked.slips) <= set(found)
    cases = [
        *((one.name, one.hint, one.wrong, one.points) for one in asked.mistakes),
        *((name, None, wrong, asked.slips.get(name, 0)) for name, wrong in found.items()),
    ]
    assert len({name for name, *_ in cases}) == len(cases) >= 5
    for name, hint, wrong, points in cases:
        for seed in SEEDS[:2]:
            verdict = verdict_of(asked, wrong, seed)
            named = verdict.messages == (hint,) if hint else verdict.causes == (name,)
            if verdict.passed or not named or not points <= verdict.points < asked.points:
                wrongly.append((name, verdict))
        report = check(asked.name, wrong)
        if report.passed or verdict.messages[0] not in report.lines:
            wrongly.append((name, report))
    assert not wrongly


@in_every(CODED)
def test_a_stub_earns_nothing(asked):
    def stub(**inputs):
        raise NotImplementedError("write this function")

    verdict = verdict_of(asked, stub)
    assert (verdict.passed, verdict.points, verdict.causes) == (False, 0, ("missing",))
    assert verdict.messages == ("The function is not written yet.",)


@in_every(CODED)
def test_what_is_always_the_same_earns_nothing(asked):
    expected = as_data(answer_to(asked, asked.questions(np.random.default_rng(9))[0]))
    for constant in (None, 0, 1.0, torch.zeros(2, 2), expected):
        assert verdict_of(asked, lambda constant=constant, **inputs: constant).points == 0


def answer_to(asked, question):
    return answer(asked.solve, question.inputs, tensors=asked.tensors, gradient=question.gradient)


@in_every(CODED)
def test_questions_begin_by_hand_and_are_drawn_anew(asked):
    one, same, other = (asked.questions(np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one[0].name.startswith("by hand")
    assert len({question.name for question in one}) == len(one)
    assert {question.part for question in one} == set(asked.parts)
    assert list(asked.parts)[0] == "main"
    for question, again in zip(one, same, strict=True):
        assert all(equal(question.inputs[name], again.inputs[name]) for name in question.inputs)
    changed = {
        question.part
        for question, question_2 in zip(one, other, strict=True)
        if not all(
            equal(question.inputs[name], question_2.inputs[name]) for name in question.inputs
        )
    }
    assert changed == set(asked.parts), "each part needs a question that cannot be learned by heart"


def equal(one, other):
    if isinstance(one, Network):
        return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    return np.array_equal(one, other)


@in_every(CODED)
def test_inputs_are_given_as_data(asked):
    for question in asked.questions(np.random.default_rng(0)):
        for value in question.inputs.values():
            assert isinstance(value, np.ndarray | Network | int | float)
            if isinstance(value, np.ndarray):
                assert value.dtype in (np.float32, np.int64)


def test_every_lab_has_questions_that_only_the_grader_asks():
    for lab in LABS:
        coded = [one for one in exercises(lab) if one.function is not None]
        questions = [
            question for one in coded for question in one.questions(np.random.default_rng(0))
        ]
        assert any(question.hidden for question in questions)


def test_names_are_unique_and_say_the_lab():
    names = [one.name for one in ALL]
    assert len(set(names)) == len(names)
    for lab in LABS:
        assert all(one.lab == lab for one in exercises(lab))
        assert 4 <= len(exercises(lab)) <= 8
        assert any(one.function is None for one in exercises(lab))
    assert exercise("lab4.channel_weights").grade_id == "lab4-channel-weights"


def test_an_exercise_is_named_like_its_function():
    assert all(one.name.split(".")[1] == one.function for one in CODED)


def test_hints_tell_no_code():
    for one in CODED:
        for mistake in one.mistakes:
            assert not re.search(r"dim=|\)\.|torch\.\w+\(|lambda|\[:", mistake.hint), mistake.hint


# Other ways to write the same


def mean_difference_in_numpy(features, labels):
    features, labels = features.numpy().astype(float), labels.numpy()
    difference = features[labels == 1].mean(axis=0) - features[labels == 0].mean(axis=0)
    return difference / np.sqrt((difference**2).sum())


def auc_by_trapezoids(scores, labels):
    thresholds = [float("inf"), *scores.unique().flip(0).tolist()]
    rows = [lab1.rates(scores, labels, threshold) for threshold in thresholds]
    found, mistaken = torch.tensor(rows, dtype=torch.float64).T
    return torch.trapezoid(found, mistaken)


def gradient_by_backward(model, image, target):
    image.requires_grad_()
    model(image.unsqueeze(0)).squeeze(0)[target].backward()
    return image.grad


def integrated_gradients_in_a_batch(model, image, target, baseline, n_steps):
    alphas = np.linspace(1 / (2 * n_steps), 1 - 1 / (2 * n_steps), n_steps)
    alphas = torch.tensor(alphas, dtype=torch.float32).view(-1, 1, 1, 1)
    x = (alphas * image + (1 - alphas) * baseline).requires_grad_()
    model(x)[:, target].sum().backward()
    return ((image - baseline) * x.grad.mean(0)).sum(0)


def occlusion_in_a_batch(model, image, target, patch, stride):
    height, width = image.shape[-2:]
    masks = []
    for y in range(0, height - patch + 1, stride):
        for x in range(0, width - patch + 1, stride):
            mask = torch.zeros(height, width)
            mask[y : y + patch, x : x + patch] = 1
            masks.append(mask)
    masks = torch.stack(masks)
    with torch.no_grad():
        p = torch.nn.functional.softmax(model(image * (1 - masks)[:, None]), dim=-1)[:, target]
        whole = torch.nn.functional.softmax(model(image[None]), dim=-1)[0, target]
    return torch.einsum("n,nhw->hw", whole - p, masks) / masks.sum(0)


def ratio_without_dividing_q_by_itself(a, W, b, gamma):
    z, q = W @ a + b, (W + gamma * W.relu()) @ a + b + gamma * b.relu()
    ratio = (z / (q + 1e-9)).detach()
    return z.detach() + ratio * (q - q.detach())


def relevance_in_loops(a, W, b, R, gamma):
    raised = torch.where(W > 0, W * (1 + gamma), W)
    relevance = torch.zeros(len(a))
    for k in range(len(R)):
        q = sum(raised[k, j] * a[j] for j in range(len(a))) + b[k] + gamma * max(0, b[k])
        for j in range(len(a)):
            relevance[j] += a[j] * raised[k, j] / q * R[k]
    return relevance


def gradcam_with_hooks(features, head, image, target):
    kept = []
    handle = features.register_forward_hook(lambda module, given, output: kept.append(output))
    score = head(features(image[None]))[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    small = torch.nn.functional.relu((weights * kept[0]).sum(dim=1, keepdim=True))
    resize = torch.nn.Upsample(size=image.shape[1:], mode="bilinear")
    return resize(small).squeeze()


def fem_in_loops(A, k):
    total = np.zeros(A.shape[1:])
    for one in A.numpy().astype(np.float64):
        total += one.mean() * np.where(one - one.mean() > k * np.std(one), 1, 0)
    return total


def ridge_with_a_column_of_ones(Z, f, pi, alpha):
    roots = pi.double().sqrt()[:, None]
    X = torch.cat([torch.ones(len(Z), 1), Z], dim=1).double()
    penalty = alpha * torch.diag(torch.tensor([0.0] + [1.0] * Z.shape[1], dtype=torch.float64))
    both = (roots * X).T @ (roots * X) + penalty
    return torch.linalg.lstsq(both, (roots * X).T @ (roots[:, 0] * f)).solution[1:]


def ridge_of_scikit_learn(Z, f, pi, alpha):
    from sklearn.linear_model import Ridge

    return Ridge(alpha).fit(Z.numpy(), f.numpy(), sample_weight=pi.numpy()).coef_


def pcc_in_numpy(S, Q):
    with np.errstate(invalid="ignore"):
        r = np.corrcoef(S.flatten(), Q.flatten())[0, 1]
    return 0.0 if np.isnan(r) else r


def nss_in_loops(S, fixations):
    values = (S.numpy() - S.numpy().mean()) / S.numpy().std()
    return np.mean([values[int(y), int(x)] for x, y in fixations.tolist()])


def deletion_with_ranks(model, image, target, S, step):
    rank = (-S).flatten().argsort().argsort().view(S.shape)
    n = S.numel()
    counts = [min(done, n) for done in range(0, n + step, step)]
    scores = [
        model((image * (rank >= count))[None]).softmax(1)[0, target].item() for count in counts
    ]
    return scores


def centre_in_loops(relevance):
    x = y = total = 0.0
    for row, line in enumerate(relevance.tolist()):
        for column, value in enumerate(line):
            if value > 0:
                x, y, total = x + column * value, y + row * value, total + value
    return np.array([x / total, y / total])


OTHER_WAYS = {
    "lab1.mean_difference": [mean_difference_in_numpy],
    "lab1.roc_auc": [auc_by_trapezoids],
    "lab2.input_gradient": [gradient_by_backward],
    "lab2.integrated_gradients": [integrated_gradients_in_a_batch],
    "lab2.occlusion": [occlusion_in_a_batch],
    "lab3.ratio_layer": [ratio_without_dividing_q_by_itself],
    "lab3.layer_relevance": [relevance_in_loops],
    "lab4.gradcam": [gradcam_with_hooks],
    "lab4.fem": [fem_in_loops],
    "lab5.weighted_ridge": [ridge_with_a_column_of_ones, ridge_of_scikit_learn],
    "lab6.pcc": [pcc_in_numpy],
    "lab6.nss": [nss_in_loops],
    "lab6.deletion_curve": [deletion_with_ranks],
    "lab7.centre_of_mass": [centre_in_loops],
}


@by_name("asked", CODED)
def test_any_right_answer_earns_all_points(asked):
    def earns_all_points(function):
        for seed in SEEDS:
            verdict = verdict_of(asked, function, seed)
            assert verdict.passed, verdict.messages
            assert verdict.points == verdict.possible == asked.points
            assert verdict.causes == verdict.messages == ()

    assert not faults(earns_all_points, [asked.solve, *OTHER_WAYS.get(asked.name, [])])


# The exercises' own answers against labkit's


def test_gradcam_of_two_halves_is_labkits_gradcam(rng):
    features = drawn(rng, "features", conv1=(4, 3, 3, 3), conv2=(6, 4, 3, 3)).build()
    head = drawn(rng, "flat_head", out=(3, 6 * 4 * 5)).build()
    image = torch.from_numpy(normal(rng, 3, 8, 10))
    whole = nn.Sequential(features, head)
    for target in range(3):
        torch.testing.assert_close(
            lab4.gradcam(features, head, image, target),
            gradcam(whole, image, target, layer=features),
        )


def test_fem_is_labkits(rng):
    model = drawn(rng, "features", conv1=(4, 3, 3, 3), conv2=(6, 4, 3, 3)).build()
    image = torch.from_numpy(normal(rng, 3, 12, 16))
    A = model(image[None])[0].detach()
    ours = lab4.upsample(lab4.fem(A, 1.5), 12, 16)
    pooled = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(ours, fem_of_labkit(pooled, image, layer=model, k=1.5))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def network(rng):
    return drawn(rng, "mlp", hidden=(16, 3 * 4 * 6), out=(3, 16)).build()


@pytest.fixture
def image(rng):
    return torch.from_numpy(normal(rng, 3, 4, 6))


def test_gradients_are_labkits(network, image, rng):
    torch.testing.assert_close(
        lab2.input_gradient(network, image, 1), input_gradient(network, image, 1)
    )
    baseline = torch.from_numpy(normal(rng, 3, 4, 6))
    torch.testing.assert_close(
        lab2.integrated_gradients(network, image, 1, baseline, 7),
        integrated_gradients(network, image, 1, baseline=baseline, n_steps=7),
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(5)])
    torch.testing.assert_close(
        lab2.smoothgrad(network, image, 1, noise, 0.15),
        smoothgrad(network, image, 1, explain=input_gradient, n_samples=5, noise=0.15, seed=0),
    )


@pytest.mark.parametrize(("patch", "stride"), [(2, 2), (2, 1), (4, 1)])
def test_occlusion_is_labkits(network, image, patch, stride):
    torch.testing.assert_close(
        lab2.occlusion(network, image, 2, patch, stride),
        occlusion(network, image, 2, patch=patch, stride=stride),
    )


@pytest.mark.parametrize("rule", ["ratio", "straight-through"])
def test_biased_layers_are_labkits(rng, rule):
    question = next(c for c in lab3.RATIO_LAYER.questions(rng) if c.name == "random weights")
    a, W, b = (torch.from_numpy(question.inputs[name]) for name in ("a", "W", "b"))
    linear = nn.Linear(5, 4)
    linear.weight.data, linear.bias.data = W, b
    own = {"ratio": lab3.ratio_layer, "straight-through": lab3.straight_through_layer}[rule]
    results = []
    for layer in (lambda a: own(a, W, b, 0.25), BiasedLayer(linear, 0.25, rule)):
        a = a.detach().requires_grad_()
        output = layer(a)
        results.append((output, torch.autograd.grad(output.sum(), a)[0]))
    torch.testing.assert_close(*results)


def test_relevance_is_input_times_gradient(rng):
    question = next(c for c in lab3.RATIO_LAYER.questions(rng) if c.name == "random weights")
    a, W, b = (torch.from_numpy(question.inputs[name]) for name in ("a", "W", "b"))
    _, gradient = answer(lab3.ratio_layer, question.inputs, gradient="a")
    R = lab3.layer_relevance(a, W, b, W @ a + b, 0.25)
    torch.testing.assert_close(R, a * torch.from_numpy(gradient))


def test_the_ridge_is_limes(network, rng):
    from lime.lime_image import LimeImageExplainer

    image = torch.from_numpy(normal(rng, 3, 4, 6))
    segments = torch.arange(6).expand(4, 6) // 2
    Z, f, distances = lime_samples(network, image, 1, n_samples=40, segments=segments)
    keep = Z.any(axis=1)
    Z, f, distances = Z[keep], f[keep], distances[keep]
    base = LimeImageExplainer(kernel_width=0.25, feature_selection="none").base
    _, pairs, _, _ = base.explain_instance_with_data(Z, f[:, None], distances, 0, 3)
    pi = lab5.kernel_weights(torch.from_numpy(Z), 0.25)
    w = lab5.weighted_ridge(torch.from_numpy(Z), torch.from_numpy(f), pi, 1.0)
    for superpixel, coefficient in pairs:
        assert w[superpixel].item() == pytest.approx(coefficient, rel=1e-5)


def test_curves_are_labkits(network, image, rng):
    S = torch.from_numpy(normal(rng, 4, 6))
    start = torch.from_numpy(normal(rng, 3, 4, 6))
    ours = lab6.deletion_curve(network, image, 1, S, 5)
    theirs = deletion(network, image, S, 1, step=5)
    torch.testing.assert_close(ours, theirs.score)
    assert lab6.area(ours) == pytest.approx(theirs.auc)
    torch.testing.assert_close(
        lab6.insertion_curve(network, image, 1, S, 5, start),
        insertion(network, image, S, 1, step=5, baseline=start).score,
    )


def test_pcc_is_labkits(rng):
    S, Q = torch.from_numpy(normal(rng, 4, 6)), torch.from_numpy(normal(rng, 4, 6))
    assert lab6.pcc(S, Q) == pytest.approx(cc(S, Q))
    assert lab6.pcc(torch.ones(4, 6), Q) == cc(torch.ones(4, 6), Q) == 0


def test_the_generator_and_its_map_are_labkits(rng):
    image = torch.from_numpy(normal(rng, 3, 10, 20))
    G = PerturbationGenerator(3, 2, 3, start="random", seed=5)
    ours = lab7.generator(image, G.conv.weight, G.conv.bias, 2, 3)
    torch.testing.assert_close(ours, G(image[None])[0])
    learned = Perturbation(image, ours.detach(), 0, *[torch.zeros(1)] * 5)
    theirs = perturbation_map(learned, power=2.0, crop=0.1, dilation=1)
    ours = lab7.perturbation_map(image, learned.perturbed, 2.0, 1)
    torch.testing.assert_close(ours[:, 2:-2], theirs[:, 2:-2])  # a tenth of 20 is 2
    x, y = lab7.centre_of_mass(ours)
    torch.testing.assert_close(centers(ours)[0], torch.tensor([x, y]))


# Comparing


DIFFERENCES = [
    (None, [1, 2], "got None"),
    ("two", [1, 2], "expected numbers, got a str"),
    ("1.5", 1.5, "expected numbers, got a str"),
    (1.5 + 0j, 1.5, "expected numbers, got a complex"),
    (((1, 2), (3,)), [1, 2], "expected numbers, got a tuple with parts of different lengths"),
    ({"a": 1}, 1, "expected numbers, got a dict"),
    ([[1, 2]], [1, 2], r"expected the shape \[2\], got \[1, 2\]"),
    ([1, np.nan], [1, 2], "1 of 2 values are NaN or infinite"),
    ([-1, -2], [1, 2], "opposite sign"),
    ([3, 6], [1, 2], "right except for a constant factor"),
    ([2, 3], [1, 2], "right except for a constant offset"),
    ([1, 5, 3], [1, 2, 3], "1 of 3 values are wrong"),
    (0.25, 0.5, "the value is wrong"),
    ((1, 2, 3), (1, 2), "expected 2 values, got 3 values"),
    (np.zeros(3), (1, 2), "expected 2 values, got 3 values"),
    (0.5, (1, 2), "expected 2 values, got one float"),
    ((1, 5), (1, 2), "value 2 of 2: the value is wrong"),
]


@in_every(DIFFERENCES)
def test_differences_are_described(row):
    got, expected, text = row
    assert re.search(text, agree(got, expected))


def test_rounding_is_no_difference():
    expected = numbers([1000, 1e-3])
    assert agree(expected * (1 + 5e-5), expected) is None
    assert agree(expected + 0.05, expected) is None  # as far as float32 sums may be off
    assert agree(expected + numbers([0, 1]), expected)
    assert agree(1e-6, 0.0) is not None  # but nothing may hide in a map of zeros
    assert agree([np.nan, 1], [np.nan, 1]) is None


def test_several_values_may_come_as_one_array():
    assert agree(numbers([1, 2]), (1.0, 2.0)) is None
    assert agree(numbers([[1, 2], [3, 4]]), (numbers([1, 2]), numbers([3, 4]))) is None
    assert agree(True, 1) is None


def test_small_values_are_compared_with_their_own_size():
    assert agree(numbers([1e-6, 2e-6]), numbers([1e-6, 3e-6]))


# Asking


def double(x):
    return 2 * x


def a_question(**settings):
    return Question("by hand", {"x": numbers([1, 2])}, **settings)


def doubling(**settings):
    given = {
        "name": "lab4.double",
        "title": "Double",
        "points": 2,
        "solve": double,
        "questions": lambda rng: [a_question()],
    }
    return Exercise(**given | settings)


def test_inputs_arrive_as_tensors_or_as_arrays():
    seen = []
    for tensors in (True, False):
        answer(lambda x: seen.append(type(x)), {"x": numbers([1])}, tensors=tensors)
    assert seen == [torch.Tensor, np.ndarray]


def test_a_gradient_is_brought_back():
    value, gradient = answer(lambda x: x**2, {"x": numbers([1, 3])}, gradient="x")
    assert value.tolist() == [1, 9] and gradient.tolist() == [2, 6]
    assert answer(lambda x: x.detach(), {"x": numbers([1])}, gradient="x")[1] is None
    assert answer(lambda x: torch.ones(1), {"x": numbers([1])}, gradient="x")[1] is None
    weight = torch.ones(1, requires_grad=True)
    assert answer(lambda x: 2 * weight, {"x": numbers([1])}, gradient="x")[1] is None


def test_an_input_changed_in_place_is_named():
    def in_place(x):
        return x.mul_(2)

    verdict = verdict_of(doubling(), in_place)
    assert verdict.points == 0
    assert "the argument `x` was changed in place; work on a copy" in verdict.messages[0]


def test_nan_in_an_input_is_no_change():
    assert np.isnan(answer(double, {"x": numbers([np.nan])})[0])


def test_outputs_come_back_as_data():
    given = [torch.ones(2, requires_grad=True), np.float64(2), [torch.tensor(1)], "word", None]
    one, two, three, four, five = as_data(given)
    assert isinstance(one, np.ndarray) and one.tolist() == [1, 1]
    assert type(two) is float and isinstance(three, tuple)
    assert (four, five) == ("word", None)


def test_an_error_is_told_with_its_line():
    def broken(x):
        y = x
        return y[5]

    verdict = verdict_of(doubling(), broken)
    assert verdict.causes == ("error",)
    (message,) = verdict.messages
    assert "IndexError" in message and message.endswith("(line 3 of the function)")
    assert "In the case “by hand”" in message


def test_an_error_without_a_line_in_the_function():
    message = verdict_of(doubling(), partial(double, y=1)).messages[0]
    assert "TypeError" in message and "line" not in message


@in_every(["missing", "time", "memory"])
def test_what_does_not_answer_is_not_asked_again(cause):
    asked_questions = []

    def call(question):
        asked_questions.append(question)
        raise CallFailed(cause, "no answer")

    several = doubling(questions=lambda rng: [a_question(), a_question(), a_question()])
    verdict = judge(several, call, np.random.default_rng(0))
    assert len(asked_questions) == 1 and len(verdict.replies) == 3
    assert verdict.causes == (cause,) and verdict.points == 0


def test_an_error_in_one_case_does_not_end_the_asking():
    def fails_at_zero(x):
        if x[0] == 0:
            raise ZeroDivisionError
        return 2 * x

    questions = [Question("zero", {"x": numbers([0])}, part="zero"), a_question()]
    verdict = verdict_of(
        doubling(points=3, separate={"zero": 1}, questions=lambda rng: questions), fails_at_zero
    )
    assert verdict.parts == {"main": True, "zero": False}
    assert (verdict.points, verdict.possible) == (2, 3)


def test_no_part_counts_without_the_main_one():
    questions = [a_question(), Question("zero", {"x": numbers([0])}, part="zero")]
    asked = doubling(points=3, separate={"zero": 1}, questions=lambda rng: questions)
    verdict = verdict_of(asked, lambda x: 0 * x)
    assert verdict.parts == {"main": False, "zero": True}
    assert verdict.points == 0


def test_hidden_questions_are_left_out_of_the_public_check():
    asked = doubling(
        questions=lambda rng: [a_question(), Question("secret", {"x": numbers([-1])}, hidden=True)]
    )
    assert verdict_of(asked, lambda x: 2 * x.abs(), public=True).passed
    assert not verdict_of(asked, lambda x: 2 * x.abs()).passed


# Naming the mistake

TRIPLED = Mistake("three times", "You triple.", lambda x: 3 * x, points=1)
SIGNLESS = Mistake("without sign", "The sign is lost.", lambda x: 2 * x.abs())


def two_questions(rng):
    return [a_question(), Question("negative", {"x": numbers([-1])})]


def test_a_mistake_that_explains_everything_is_named_and_earns_its_points():
    verdict = verdict_of(
        doubling(questions=two_questions, mistakes=(SIGNLESS, TRIPLED)), TRIPLED.wrong
    )
    assert verdict.causes == ("three times",) and verdict.messages == ("You triple.",)
    assert verdict.points == 1


def test_a_mistake_that_explains_the_wrong_part_is_named_but_earns_nothing():
    def tripled_when_negative(x):
        return torch.where(x < 0, 3 * x, 2 * x)

    verdict = verdict_of(
        doubling(questions=two_questions, mistakes=(TRIPLED,)), tripled_when_negative
    )
    assert verdict.causes == ("three times",)
    assert verdict.points == 0


def test_two_mistakes_at_once_are_not_guessed():
    verdict = verdict_of(
        doubling(questions=two_questions, mistakes=(TRIPLED, SIGNLESS)), lambda x: 3 * x.abs() + 1
    )
    assert verdict.causes == ("wrong",)
    assert verdict.messages[0].startswith("In the case “by hand”: ")


def test_a_mistake_that_fails_in_a_case_is_still_known():
    picks = Mistake("another index", "Counting begins at 0.", lambda x: 2 * x[[1, 0]])
    questions = [a_question(), Question("one number", {"x": numbers([4])})]
    verdict = verdict_of(doubling(questions=lambda rng: questions, mistakes=(picks,)), picks.wrong)
    assert [reply.cause for reply in verdict.replies] == ["wrong", "error"]
    assert verdict.causes == ("another index",)


def test_what_takes_too_long_is_no_known_mistake():
    def call(question):
        if question.name == "negative":
            raise CallFailed("time", "It took too long.")
        return TRIPLED.wrong(question.inputs["x"])

    asked = doubling(questions=two_questions, mistakes=(TRIPLED,))
    assert judge(asked, call, np.random.default_rng(0)).causes == ("wrong", "time")


def test_an_error_alone_is_no_known_mistake():
    raises = Mistake("an error", "A hint.", lambda x: x[[7]])
    verdict = verdict_of(doubling(mistakes=(raises,)), raises.wrong)
    assert verdict.causes == ("error",)


# Slips of any exercise


def tilted(x, factor, shift):
    return factor * x + shift


def tilting(**settings):
    def questions(rng):
        some = {"x": normal(rng, 3, 2), "factor": 1.5, "shift": 0.4}
        return [
            Question("random", some),
            Question("another factor", some | {"factor": -0.7}),
            Question("another matrix", some | {"x": normal(rng, 2, 4)}),
        ]

    return doubling(solve=tilted, questions=questions, **settings)


TILTED = {
    "opposite sign": lambda **i: -tilted(**i),
    "sign lost": lambda **i: tilted(**i).abs(),
    "negative values cut off": lambda **i: tilted(**i).clamp(min=0),
    "squared": lambda **i: tilted(**i) ** 2,
    "root": lambda **i: tilted(**i).clamp(min=0).sqrt(),
    "one minus the value": lambda **i: 1 - tilted(**i),
    "divided by the sum": lambda **i: tilted(**i) / tilted(**i).sum(),
    "divided by the maximum": lambda **i: tilted(**i) / tilted(**i).max(),
    "probabilities instead of logits": lambda **i: tilted(**i).softmax(dim=1),
    "transposed": lambda **i: tilted(**i).T,
    "columns in reverse order": lambda **i: tilted(**i).flip(1),
    "too many dimensions": lambda **i: tilted(**i)[None],
    "factor and shift swapped": lambda x, factor, shift: shift * x + factor,
    "factor squared": entering(tilted, "factor", lambda factor: factor**2),
    "root of shift": entering(tilted, "shift", lambda shift: shift**0.5),
    "opposite sign of x": entering(tilted, "x", torch.neg),
    "sign of x lost": entering(tilted, "x", torch.abs),
    "one over factor": entering(tilted, "factor", lambda factor: 1 / factor),
    "one minus x": entering(tilted, "x", lambda x: 1 - x),
    "shift left out": lambda x, factor, shift: factor * x,
    "factor left out": lambda x, factor, shift: x.square() - 1,  # wrong beyond that as well
    "multiplied by x": lambda x, factor, shift: x * tilted(x, factor, shift),
    "sum instead of mean": lambda **i: tilted(**i) * len(i["x"]),
    "mean instead of sum": lambda **i: tilted(**i) / i["x"].numel(),
}


def test_a_slip_is_named_in_any_exercise_and_earns_what_the_exercise_says():
    wrongly = []
    for name, wrong in TILTED.items():
        found = [verdict_of(tilting(**more), wrong) for more in ({}, {"slips": {name: 1}})]
        earned = [0, 0 if name == "factor left out" else 1]
        if [one.causes for one in found] != 2 * [(name,)] or [
            one.points for one in found
        ] != earned:
            wrongly.append((name, found[0].causes, found[1].points))
    assert not wrongly


def test_the_hint_of_a_slip_names_the_argument():
    said = {name: verdict_of(tilting(), wrong).messages[0] for name, wrong in TILTED.items()}
    assert "does not depend on `shift`. It is right only if `shift` is 0" in said["shift left out"]
    assert "stays the same when only `factor` changes" in said["factor left out"]
    assert "grows with the size of dimension 0 of `x`" in said["sum instead of mean"]
    assert "divide by the number of values in `x`" in said["mean instead of sum"]


def test_a_slip_must_explain_every_reply():
    def negative_once(x, factor, shift):
        return tilted(x, factor, shift) * (-1 if factor > 0 else 1)

    assert verdict_of(tilting(), negative_once).causes == ("wrong",)
    verdict = verdict_of(tilting(slips={"squared": 1}), lambda **i: tilted(**i) ** 2 + 1)
    assert (verdict.causes, verdict.points) == (("wrong",), 0)


def test_a_recorded_mistake_comes_before_a_slip():
    negative = Mistake("upside down", "Turn it.", lambda **i: -tilted(**i))
    assert verdict_of(tilting(mistakes=(negative,)), negative.wrong).causes == ("upside down",)


def test_two_results_in_the_wrong_order_are_named():
    def both(x):
        return x.sum().item(), x.max().item()

    assert verdict_of(doubling(solve=both), lambda x: both(x)[::-1]).causes == ("results swapped",)


def test_another_score_of_the_network_is_named(rng):
    def summed(model, x, target):
        return model(x)[:, target].sum()

    some = {"model": drawn(rng, "linear", out=(3, 4)), "x": normal(rng, 5, 4)}
    asked = doubling(
        solve=summed,
        questions=lambda rng: [Question(f"class {k}", some | {"target": k}) for k in range(3)],
    )
    wrong = {
        "softmax for logit": lambda logits, target: logits.softmax(1)[:, target],
        "logarithm of the probability for logit": lambda logits, target: logits.log_softmax(1)[
            :, target
        ],
        "loss for logit": lambda logits, target: -logits.log_softmax(1)[:, target],
        "all classes at once": lambda logits, target: logits,
        "the winning class instead of the target": lambda logits, target: logits.amax(1),
    }
    for name, seen in wrong.items():
        verdict = verdict_of(
            asked, lambda model, x, target, seen=seen: seen(model(x), target).sum()
        )
        assert verdict.causes == (name,)


# What the student sees


@in_every(CODED)
def test_a_report_promises_nothing_and_tells_no_value(asked):
    right, wrong = check(asked.name, asked.solve), check(asked.name, lambda **inputs: 12345.0)
    assert right.headline == f"{asked.name}: All public checks passed."
    assert "Still open: the grader's own checks" in right.lines[0]
    for one in exercises(asked.lab):
        assert (f"“{one.title}”" in right.lines[0]) == (one.function is None)
    for report in (right, wrong):
        assert "full marks" not in repr(report) + report._repr_html_()
    told = " ".join(wrong.lines)
    for reply in verdict_of(asked, asked.solve).replies:
        values = np.concatenate([np.ravel(part) for part in flat(reply.expected)])
        for value in values:
            if value != int(value):
                assert f"{value:.3f}" not in told


def flat(value):
    return [part for one in value for part in flat(one)] if isinstance(value, tuple) else [value]


def test_a_report_names_the_mistake():
    report = check("lab4.channel_weights", lambda dY_dA: dY_dA.sum(dim=(1, 2)))
    assert report.headline == "lab4.channel_weights: not yet."
    assert report.lines[0] == "Likely mistake: sum instead of mean."
    assert repr(report).splitlines()[1] == "- Likely mistake: sum instead of mean."


def test_a_report_is_escaped_and_shows_code():
    def broken(dY_dA):
        raise ValueError("<b>no</b> `tensor`")

    html = check("lab4.channel_weights", broken)._repr_html_()
    assert "&lt;b&gt;no&lt;/b&gt; <code>tensor</code>" in html
    assert 'role="status"' in html


def test_only_the_score_asks_hidden_questions():
    def fails_for_two(scores):
        return lab6.area(scores) + (len(scores) == 2)

    assert score("lab6.area", lab6.area) == exercise("lab6.area").points
    assert check("lab6.area", fails_for_two).passed
    assert score("lab6.area", fails_for_two) == 0


def test_errors_of_the_caller():
    with pytest.raises(ValueError, match="lab must be one of lab1, .* got 'lab9'"):
        check("lab9.fem", lab4.fem)
    with pytest.raises(ValueError, match="name must be one of lab4.class_activation, .* 'lab4.f'"):
        check("lab4.f", lab4.fem)
    with pytest.raises(ValueError, match="lab4.q1 is a question in words"):
        check("lab4.q1", lab4.fem)
    with pytest.raises(TypeError, match=r"without brackets: check\('lab4.fem', fem\)"):
        check("lab4.fem", 3.0)


# Networks as data


def test_a_network_is_built_from_its_weights():
    network = Network(
        "cnn",
        {
            "conv.weight": numbers([1, -1]).reshape(2, 1, 1, 1),
            "conv.bias": numbers([0, 1]),
            "out.weight": numbers([[1, 2]]),
            "out.bias": numbers([0.5]),
        },
    )
    model = network.build()
    # maps (x)+ and (1 - x)+ of (2, -2): means 1 and 3/2; 1 + 2 * 3/2 + 1/2
    assert model(torch.tensor([[[[2.0, -2.0]]]])).item() == 4.5
    assert not model.training


def test_a_network_does_not_share_its_arrays():
    network = Network("linear", {"out.weight": numbers([[1]]), "out.bias": numbers([0])})
    with torch.no_grad():
        network.build().out.weight.fill_(7)
    assert network.weights["out.weight"] == 1


@in_every([1, 3, 5])
def test_convolutions_keep_the_size(height):
    model = drawn(np.random.default_rng(0), "maps", conv=(2, 1, height, 3)).build()
    assert model(torch.zeros(1, 1, 7, 9)).shape == (1, 2, 7, 9)


def test_drawn_networks_follow_their_generator():
    one, same, other = (
        drawn(np.random.default_rng(seed), "linear", out=(2, 50)) for seed in (0, 0, 1)
    )
    assert equal(one, same) and not equal(one, other)
    assert one.weights["out.weight"].dtype == np.float32
    assert one.weights["out.weight"].std() == pytest.approx(50**-0.5, rel=0.3)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="kind must be one of linear, .* got 'resnet'"):
        Network("resnet", {}).build()
    assert "cnn" in KINDS
