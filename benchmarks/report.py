"""What is written from the measurements: `results.md`, its two figures, a plan's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from benchmarks.evaluation import PASSES
from benchmarks.scaling import exponent, growth
from benchmarks.timing import Measurement, holds, written
from labkit.figures import CLASS_COLOURS, COLOURS, POINTS, Figure, in_house_style, new_canvas

OURS, OTHERS = CLASS_COLOURS
AXES = {
    "side": "side of the picture [pixels]",
    "masks": "masks",
    "number": "pictures, notebooks",
}
TEXT = 8.5  # points: read at 700 pixels
STUDENTS, PICTURES = 10_000, 1_000_000
CLUSTER = 100  # workers or machines, of the cluster that is planned with
HOUR = 3600

Done = Sequence[Measurement]


def is_growth(measured: Measurement) -> bool:
    """Whether it is one of `benchmarks.scaling`: more and more of one thing."""
    return " by " in measured.name and all(way.isdigit() for way in measured.seconds)


# Text


def results(done: Done, about: Mapping[str, str], minutes: float, quick: bool) -> str:
    """All of `results.md`."""
    grown = [one for one in done if is_growth(one)]
    parts = [
        "# What the methods cost\n",
        "**A quick run: one repeat on the smallest networks. It proves nothing.**\n" * quick,
        "Written by `make bench`. Each method beside the passes that it cannot do without, and "
        "beside other\nlibraries, in one process and in turn. What is promised are ratios: times "
        "depend on the machine.\n",
        *(f"- {name}: {value}" for name, value in about.items()),
        f"- this run took {minutes:.0f} minutes\n",
        "Ratios are medians over the repeats of what a way took by what the first one took in the "
        "same repeat, with\ntheir range. Memory is the high-water mark of the resident set of a "
        "fresh process in which that way alone\nran, less what was resident before it began (see "
        "`benchmarks/timing.py`; imports and grading: all of it).\nRISE's authors', TorchRay's and "
        "the curves' authors' ways are written afresh from their definitions.\n",
        "## Promises\n",
        *promise_table(done),
        "\n![Time of each way in units of the limit](results.png)\n",
        "## Measured\n",
        *measured_table([one for one in done if not is_growth(one)]),
        "\n## How cost grows\n",
        *growth_table(grown),
        "\n![Time and memory over size, masks and number](scaling.png)",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def promise_table(done: Done) -> Iterator[str]:
    """One row a promise: kept or missed."""
    yield "| workload | network | promise | measured | |"
    yield "|---|---|---|---|---|"
    for one in done:
        for promise in one.promises:
            measured = one.ratio(promise.way, promise.of)
            bound, limit = _bound(promise.at_most, promise.at_least)
            yield (
                f"| {one.name} | {one.network} | {promise.way} {bound} {limit} x {promise.of} "
                f"| {measured} | {'holds' if holds(promise, measured) else '**missed**'} |"
            )


def _bound(at_most: float | None, at_least: float | None) -> tuple[str, float | None]:
    return ("at most", at_most) if at_least is None else ("at least", at_least)


def measured_table(done: Done) -> Iterator[str]:
    """One row a way."""
    yield "| workload | network | way | median | in units of the first | peak memory |"
    yield "|---|---|---|---|---|---|"
    for one in done:
        for way in one.seconds:
            first = way == one.unit
            yield (
                f"| {one.name if first else ''} | {one.network if first else ''} "
                f"| {way}{' (labkit)' * (way in one.ours)} | {clock(one.median(way))} "
                f"| {'1' if first else one.ratio(way, one.unit)} | {written(one.peak[way])} MB |"
            )


def growth_table(grown: Done) -> Iterator[str]:
    """One row a curve, with its exponents."""
    yield "| what | over | from, to | time from, to | exponent | memory from, to | exponent |"
    yield "|---|---|---|---|---|---|---|"
    for one in grown:
        what, over = one.name.split(" by ")
        numbers, seconds, peaks = growth(one)
        yield (
            f"| {what} | {AXES[over]} | {numbers[0]}, {numbers[-1]} "
            f"| {clock(seconds[0])}, {clock(seconds[-1])} | {power(exponent(numbers, seconds))} "
            f"| {written(peaks[0])}, {written(peaks[-1])} MB | {power(exponent(numbers, peaks))} |"
        )


def clock(seconds: float) -> str:
    """A time with two or three digits."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def power(exponent: float | None) -> str:
    """An exponent, if there is one."""
    return "-" if exponent is None else f"{round(exponent, 2) + 0:.2f}"  # never -0.00


# Figures


def shown(done: Done) -> list[Measurement]:
    """What the figure shows of each workload: the last network of those with most ways."""
    best: dict[str, Measurement] = {}
    for one in done:
        before = best.get(one.name)
        if one.network and (before is None or len(one.seconds) >= len(before.seconds)):
            best[one.name] = one
    return list(best.values())


@in_house_style
def overview(done: Done) -> Figure:
    """Each way in units of its limit, one row each."""
    some = shown([one for one in done if not is_growth(one) and one.name != "One forward pass"])
    rows = sum(len(one.seconds) for one in some)
    canvas, axes = new_canvas(7.0, 0.8 + 0.2 * rows)
    axis, row, labels = axes[0, 0], 0, {}
    for one in some:
        labels[row] = f"{one.name} ({one.network})"
        for way in list(one.seconds)[1:]:
            row += 1
            labels[row] = way
            _draw_way(axis, row, one, way)
        row += 1
    axis.axvline(1, color=COLOURS[0], linewidth=1, zorder=0)
    axis.set_xscale("log")
    axis.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    axis.minorticks_off()
    axis.grid(axis="x", alpha=0.3)
    axis.set_yticks(list(labels), list(labels.values()), fontsize=TEXT)
    for number, tick in enumerate(axis.get_yticklabels()):
        heading = list(labels.values())[number].endswith(")")
        tick.set_fontweight("bold" if heading else "normal")
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(row - 0.4, -0.6)
    axis.set_xlabel("time in units of the passes that are needed anyway")
    for colour, marker, name in ((OURS, "o", "labkit"), (OTHERS, "D", "others")):
        axis.plot([], [], marker, color=colour, label=name)
    axis.plot([], [], "|", color=COLOURS[0], markersize=9, label="promised at most")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=TEXT)
    return Figure(canvas, _alt(some))


def _draw_way(axis: Axes, row: int, measured: Measurement, way: str) -> None:
    ours = way in measured.ours
    times = measured.ratio(way, measured.unit)
    colour = OURS if ours else OTHERS
    axis.plot([times.low, times.high], [row, row], "-", color=colour, linewidth=2)
    axis.plot(times.median, row, "o" if ours else "D", color=colour, markersize=5)
    for promise in measured.promises:
        if promise.way == way and promise.of == measured.unit and promise.at_most is not None:
            axis.plot(promise.at_most, row, "|", color=COLOURS[0], markersize=9)


def _alt(some: Done) -> str:
    """What is to be seen: for each workload, all ways with their ratios."""
    said = []
    for one in some:
        ways = list(one.seconds)[1:]
        ratios = ", ".join(f"{way} {one.ratio(way, one.unit).median:.2f}" for way in ways)
        said.append(f"{one.name} on {one.network}: {ratios}")
    return "Time of each way in units of its limit. " + "; ".join(said) + "."


@in_house_style
def growths(done: Done) -> Figure:
    """Time above and memory below, over size, masks and number."""
    grown = [one for one in done if is_growth(one)]
    canvas, axes = new_canvas(7.0, 6.0, 2, len(AXES))
    for column, (over, label) in enumerate(AXES.items()):
        some = [one for one in grown if one.name.endswith(f" by {over}")]
        for axis, which in zip(axes[:, column], (1, 2), strict=True):
            _draw_growth(axis, some, which)
            axis.set_xlabel(label)
    axes[0, 0].set_ylabel("time [s]")
    axes[1, 0].set_ylabel("memory above the start [MB]")
    return Figure(canvas, _growth_alt(grown))


def _draw_growth(axis: Axes, some: Done, which: int) -> None:
    """The curves of one panel; their exponents are in its legend."""
    axis.set_prop_cycle(POINTS)
    for one in some:
        numbers, values = growth(one)[0], growth(one)[which]
        label = f"{one.name.split(' by ')[0]}: {power(exponent(numbers, values))}"
        values = [float("nan") if value is None else value for value in values]
        axis.plot(numbers, values, markersize=4, label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    numbers = sorted({number for one in some for number in growth(one)[0]})
    ticks = numbers if len(numbers) <= 4 else [1, 10, 100, 1000]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.yaxis.set_major_formatter("{x:g}")
    if which == 2:  # a flat line is to look flat
        axis.set_ylim(1, 10 ** np.ceil(np.log10(max([10, *axis.get_ylim()]))))
    if some:
        axis.legend(
            title="exponent", fontsize=7.5, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0
        )
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _growth_alt(grown: Done) -> str:
    exponents = [f"{one.name} {power(exponent(*growth(one)[:2]))}" for one in grown]
    return "Time and memory grow as straight lines in logarithmic scales. Exponents of time: " + (
        ", ".join(exponents) + "."
    )


# The plan


def plan(done: Done) -> Iterator[str]:
    """The table of docs/scale.md: one row a quantity, empty where it was not measured."""
    by_name = {(one.name, one.network): one for one in done}
    yield "| quantity | measured | and so |"
    yield "|---|---|---|"
    graded = next((one for name, one in by_name.items() if name[0].startswith("Grade ")), None)
    yield row("g, worker-seconds a submission", graded, _grading)
    similar = by_name.get(("Similar notebooks by number", ""))
    yield row(f"similar notebooks of {STUDENTS:,} students", similar, _extrapolated(STUDENTS))
    for network in ("resnet18", "resnet50", "vgg16"):
        forward = by_name.get(("One forward pass", network))
        yield row(f"f, a forward pass of {network}", forward, _evaluation)
    compared = by_name.get(("Comparisons by number", ""))
    yield row(f"comparisons of {PICTURES:,} pictures", compared, _extrapolated(PICTURES))


def row(what: str, measured: Measurement | None, tell: Callable) -> str:
    """A row of the plan."""
    seen, so = ("not measured yet", "") if measured is None else tell(measured)
    return f"| {what} | {seen} | {so} |"


def _grading(measured: Measurement) -> tuple[str, str]:
    n, workers = (int(text.split()[1]) for text in (measured.name, measured.unit))
    g = workers * measured.median(measured.unit) / n
    hours = rounded(STUDENTS * g / CLUSTER / HOUR)
    return f"{g:.1f} s", f"{STUDENTS:,} submissions: {hours} hours on {CLUSTER} workers"


def _evaluation(measured: Measurement) -> tuple[str, str]:
    f = measured.median(measured.unit)
    days = PICTURES * PASSES * f / HOUR / 24
    shared = f"{rounded(days / CLUSTER)} on {CLUSTER} machines"
    return clock(f), f"{PICTURES:,} pictures: {rounded(days)} machine-days, {shared}"


def _extrapolated(number: int) -> Callable[[Measurement], tuple[str, str]]:
    """Onwards from the two largest numbers that were measured."""

    def tell(measured: Measurement) -> tuple[str, str]:
        numbers, seconds, peaks = (values[-2:] for values in growth(measured))
        seen = f"{numbers[-1]:,}: {clock(seconds[-1])}, {written(peaks[-1])} MB"
        so = f"extrapolated: {rounded(onwards(numbers, seconds, number) / 60)} minutes"
        if exponent(numbers, peaks) is not None:
            so += f", {rounded(onwards(numbers, peaks, number) / 1024)} GB"
        return seen, so

    return tell


def rounded(value: float) -> str:
    """Two digits, as nobody knows more."""
    return f"{float(f'{value:.2g}'):,g}"


def onwards(x: Sequence[float], y: Sequence[float], to: float) -> float:
    """What y will be where x is so large, if it goes on along the line through its logarithms."""
    return y[-1] * (to / x[-1]) ** exponent(x, y)
