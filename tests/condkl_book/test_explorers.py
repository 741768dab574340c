"""The tables of the interactive figures: against other ways to compute them, and against what a page can hold."""

import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from filmed import filmed
from matplotlib import image
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence

from condkl.dynamics import flow as library_flow
from condkl.gradients import Field
from condkl.hierarchical import HierarchicalGaussian
from condkl_book.explorers import EXPLORERS
from condkl_book.explorers import dial as dialled
from condkl_book.explorers import film as filming
from condkl_book.explorers.density import BETA_VALUES, F_VALUES, MASSES, highest_density
from condkl_book.explorers.flow import LEVEL, R_VALUES, after_misfit_one, fisher_step, kl, times_to_level, trajectory
from condkl_book.explorers.playback import METHODS, boxes, canvases, digits, playback
from condkl_book.explorers.tables import (
    DOTS,
    GREYS,
    HEIGHT,
    WIDTH,
    Axis,
    Control,
    Explorer,
    Panel,
    Picture,
    Series,
    payload,
    png,
    sprite,
    svg_path,
)
from condkl_book.explorers.tempering import DATUM, SLOPE, VARIANCES
from condkl_book.style import COLOURS
from condkl_studies import results
from condkl_studies.data import two_digits
from condkl_studies.store import RecordError

UNIT = Axis("", 0.0, 1.0, {})


@pytest.fixture(scope="module", params=list(EXPLORERS))
def explorer(request):
    return playback(filmed()) if request.param == "playback" else EXPLORERS[request.param]()


@pytest.fixture(scope="module")
def density():
    return EXPLORERS["density"]()


@pytest.fixture(scope="module")
def tempering():
    return EXPLORERS["tempering"]()


def corners(path):
    """The points of an SVG path of whole numbers, on the grid of a panel."""
    at, points, relative = [0, 0], [], False
    for command, x, y in re.findall(r"([Ml]?)\s*(-?\d+)\s*(-?\d+)", path):
        relative = command == "l" or (relative and command != "M")
        at = [int(x) + relative * at[0], int(y) + relative * at[1]]
        points.append(at)
    return np.array(points)


# Every explorer.


def test_there_are_enough_positions_and_they_open_where_the_controls_say(explorer):
    for control in explorer.controls:
        assert control.choice or 7 <= len(control.values) <= 41
        assert 0 <= control.start < len(control.values)
        assert len(set(control.values)) == len(control.values)
    opening = explorer.sentences[explorer.start()]
    for control in explorer.controls:
        assert control.values[control.start].replace(",", "") in opening.replace(",", "")


def test_every_number_is_finite_and_every_colour_is_the_books(explorer):
    for series in (series for panel in explorer.panels for series in panel.series):
        assert series.colour in COLOURS
        for points in series.points:
            assert points.ndim == 2
            assert points.shape[1] == 2
            assert np.isfinite(points[~np.isnan(points).all(1)]).all()  # a row of NaN parts a line in two
    assert not [sentence for sentence in explorer.sentences if re.search("nan|inf", sentence)]
    assert len(set(explorer.sentences)) == len(explorer.sentences)


def test_the_tables_fit_in_a_page(explorer):
    tables = payload(explorer)
    assert len(json.dumps(tables, ensure_ascii=False, separators=(",", ":")).encode()) < 400_000
    for series in tables["series"]:
        assert len(series["d"]) == math.prod(len(tables["values"][i]) for i in series["on"])
        path = r"(M[-\d]+ [-\d]+h0)+|M[-\d]+ [-\d]+(l?[-\d ]+|M[-\d]+ [-\d]+)*z?"
        assert all(re.fullmatch(path, d) for d in series["d"])


def test_a_path_stays_within_two_pixels_of_its_curve(explorer):
    """Thinned and rounded, but the same: each point of a curve lies close to the drawn line."""
    for panel in explorer.panels:
        for series in panel.series:
            points = series.points[explorer.start(series.controls)]
            drawn = corners(svg_path(points, panel.x, panel.y, series.look))
            if series.look in DOTS or not len(points):
                continue
            grid = np.column_stack([panel.x.place(points[:, 0]) * WIDTH, (1 - panel.y.place(points[:, 1])) * HEIGHT])
            inside = grid[((grid >= 0) & (grid <= [WIDTH, HEIGHT])).all(1)]
            assert max(distance(point, drawn) for point in inside) < 8


def distance(point, line):
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((point - start) * step).sum(1) / np.maximum((step**2).sum(1), 1)
    nearest = start + np.clip(share, 0, 1)[:, None] * step
    return np.linalg.norm(point - nearest, axis=1).min()


# The parts.


def test_a_path_is_rounded_thinned_cut_and_closed():
    diagonal = np.linspace([0.0, 0.0], [1.0, 1.0], 50)
    assert svg_path(diagonal, UNIT, UNIT, "line") == f"M0 {HEIGHT}l{WIDTH}-{HEIGHT}"
    far = corners(svg_path(np.array([[0.5, 0.5], [0.5, 90.0]]), UNIT, UNIT, "line"))
    assert far[:, 1].min() >= -10
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert svg_path(square, UNIT, UNIT, "area") == f"M0 {HEIGHT}l0-{HEIGHT} {WIDTH} 0 0 {HEIGHT}z"
    assert svg_path(np.array([[0.5, 0.5]]), UNIT, UNIT, "dot") == f"M{WIDTH // 2} {HEIGHT // 2}h0"


def test_a_curve_that_leaves_the_panel_and_returns_has_two_pieces():
    arch = np.array([[0.0, 0.5], [0.4, 3.0], [0.6, 3.0], [1.0, 0.5]])
    assert svg_path(arch, UNIT, UNIT, "line").count("M") == 2


def test_a_row_of_nan_lifts_the_pen():
    points = np.array([[0.0, 0.0], [0.0, 1.0], [np.nan, np.nan], [1.0, 0.0], [1.0, 1.0], [np.nan, np.nan]])
    assert svg_path(points, UNIT, UNIT, "line") == f"M0 {HEIGHT}l0-{HEIGHT}M{WIDTH} {HEIGHT}l0-{HEIGHT}"


@pytest.mark.parametrize("look", DOTS)
def test_each_point_is_marked_for_itself(look):
    assert svg_path(np.array([[0.0, 0.0], [1.0, 1.0]]), UNIT, UNIT, look) == f"M0 {HEIGHT}h0M{WIDTH} 0h0"


@pytest.mark.parametrize("look", ["line", "area", "dot"])
def test_a_path_of_no_points_draws_nothing(look):
    assert svg_path(np.empty((0, 2)), UNIT, UNIT, look).removesuffix("z") == "M0 0"


def test_a_png_is_read_by_others_as_it_was():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    assert (np.rint(255 * image.imread(io.BytesIO(png(grey)), "png")) == grey).all()


def test_equal_frames_are_in_a_file_once_and_greys_are_few():
    dark, light = np.zeros((2, 3), np.uint8), np.full((2, 3), 200, np.uint8)
    made = sprite(Picture(("k",), (dark, light, dark)))
    assert (made.tops, made.height) == ([0, -HEIGHT, 0], 2 * HEIGHT)
    read = 255 * image.imread(io.BytesIO(made.png), "png")
    assert read.shape == (4, 3)
    assert abs(read[2:] - 200).max() <= 255 / (GREYS - 1) / 2 + 0.5


def test_frames_of_different_shapes_are_refused():
    frames = np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)
    with pytest.raises(ValueError, match=r"frames: expected one shape \(rows, columns\) for all, got \[\(2, 3\)"):
        sprite(Picture(("k",), frames))


def test_places_on_an_axis():
    assert Axis("", -2, 2, {}).place(np.array([-2.0, 1.0])).tolist() == [0.0, 0.75]
    assert Axis("", 1e-4, 1.0, {}, log=True).place(1e-3) == pytest.approx(0.25)


def test_a_table_with_a_missing_entry_is_refused():
    control = Control("a", "a", ("0", "1"), 0)
    line = np.zeros((2, 2))

    def figure(points, sentences):
        series = Series("curve", "full", "line", ("a",), (line,) * points)
        return Explorer((control,), (Panel("", UNIT, UNIT, (series,)),), ("",) * sentences)

    assert payload(figure(2, 2))["values"] == [["0", "1"]]
    with pytest.raises(ValueError, match="points of curve: expected 2 entries, one for each position of a, got 1"):
        payload(figure(1, 2))
    with pytest.raises(ValueError, match="sentences: expected 2 entries"):
        payload(figure(2, 3))
    panel = Panel("", UNIT, UNIT, (), title="digits", picture=Picture(("a",), (np.zeros((2, 2), np.uint8),)))
    with pytest.raises(ValueError, match="frames of digits: expected 2 entries, one for each position of a, got 1"):
        payload(Explorer((control,), (panel,), ("", "")))


def test_rows_run_with_the_last_control_fastest():
    controls = tuple(
        Control(name, name, tuple("01234"[:n]), start)
        for name, n, start in zip("abc", (2, 3, 4), (1, 2, 3), strict=True)
    )
    figure = Explorer(controls, (), ())
    assert figure.start() == 23
    assert figure.start({"a", "c"}) == 7
    assert figure.start({}) == 0
    assert (figure.count("abc"), figure.count({"b"}), figure.count(())) == (24, 3, 1)


# The joint density.


@pytest.mark.parametrize(("F", "beta"), [(0.0, 2.0), (1.0, 0.1), (2.0, 0.01), (0.25, 10.0)])
@pytest.mark.parametrize("mass", MASSES)
def test_the_density_is_constant_on_the_boundary_and_the_region_holds_its_share(F, beta, mass):
    line = highest_density(F, beta, mass)
    log_q = HierarchicalGaussian(F, beta).log_prob(torch.as_tensor(line))
    assert log_q.max() - log_q.min() < 1e-3
    half = len(line) // 2
    v, upper, lower = line[:half, 0], line[:half, 1], line[half:, 1][::-1]
    spread = np.sqrt(F**2 * v**2 + beta)
    held = stats.norm.cdf((upper - F * v) / spread) - stats.norm.cdf((lower - F * v) / spread)
    assert integrate.trapezoid(stats.norm.pdf(v) * held, v) == pytest.approx(mass, abs=2e-3)


def test_samples_fall_into_the_region_as_often_as_it_says():
    torch.manual_seed(0)
    q = HierarchicalGaussian(1.5, 0.05)
    threshold = q.log_prob(torch.as_tensor(highest_density(1.5, 0.05, 0.75)[0]))
    inside = q.log_prob(q.sample((100_000,))) >= threshold
    assert float(inside.double().mean()) == pytest.approx(0.75, abs=4.5 * math.sqrt(0.75 * 0.25 / 1e5))


@pytest.mark.parametrize(
    ("F", "beta", "mass", "message"),
    [
        (1.0, 0.0, 0.5, "beta: expected"),
        (math.nan, 1.0, 0.5, "F: expected"),
        (1.0, 1.0, 1.0, "mass: expected a share above 0 and below 1, got 1.0"),
        (1.0, 1.0, 0.0, "mass: expected"),
    ],
)
def test_a_region_has_valid_arguments(F, beta, mass, message):
    with pytest.raises(ValueError, match=message):
        highest_density(F, beta, mass)


@pytest.mark.parametrize(("F", "beta"), [(0.0, 0.5), (1.0, 0.1), (2.0, 5.0)])
def test_the_log_density_of_u_is_that_of_quadrature(density, F, beta):
    gaussian, ours = density.panels[1].series
    row = F_VALUES.index(F) * len(BETA_VALUES) + BETA_VALUES.index(beta)
    for u, log_q in ours.points[row][::13]:
        value, _ = integrate.quad(
            lambda v, u=u: stats.norm.pdf(v) * stats.norm.pdf(u, F * v, math.sqrt(F**2 * v**2 + beta)),
            -12, 12, points=[0.0, *(np.sign(F * u) * math.sqrt(abs(u) / F) for _ in range(F > 0))], limit=500,
            epsabs=0, epsrel=1e-10,
        )  # fmt: skip
        assert log_q == pytest.approx(math.log(value), abs=1e-7)
    u, log_r = gaussian.points[row].T
    assert log_r == pytest.approx(stats.norm(0, math.sqrt(2 * F**2 + beta)).logpdf(u))
    assert f"F = {F:g}, β = {beta:g}: " in density.sentences[row]
    fourth = 30 * F**4 + 12 * beta * F**2 + 3 * beta**2
    assert f"kurtosis {fourth / (2 * F**2 + beta) ** 2:.2f}." in density.sentences[row]


def test_where_u_does_not_depend_on_v_it_is_the_gaussian(density):
    gaussian, ours = density.panels[1].series
    for row in range(len(BETA_VALUES)):
        assert ours.points[row] == pytest.approx(gaussian.points[row], abs=1e-9)
        assert "it is 1.00 times as dense" in density.sentences[row]


# The flow.


def radau(rates, start, time):
    found = integrate.solve_ivp(rates, (0, time[-1]), start, "Radau", t_eval=time, rtol=1e-10, atol=1e-10)
    return found.y.T


@pytest.mark.parametrize("lam", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("r", [1.0, 100.0, 1e4])
def test_a_trajectory_is_that_of_another_solver_in_other_coordinates(r, lam):
    def descent(_, z):  # in t and b, with F² = r
        t, miss = z[0], z[1] - math.sqrt(r)
        return [t * (1 - t**2 - lam * t**2 * miss**2), -(t**2) * miss]

    time = np.array([1e-4, 1e-2, 0.3, 2.0, 5.0])
    t, b = radau(descent, [1.0, 0.0], time).T
    log_y, log_E = trajectory(r, lam, time).T
    assert log_y == pytest.approx(2 * np.log(t), abs=1e-5)
    assert np.exp(log_E) == pytest.approx((b - math.sqrt(r)) ** 2, rel=1e-5)


def test_a_trajectory_is_the_librarys_flow():
    def field(theta, phi):
        y, E = theta.exp(), phi.exp()
        return Field(theta=2 * y - 2 + 0.6 * y * E, phi=2 * y)

    time = torch.tensor([0.0, 0.1, 1.0, 4.0], dtype=torch.float64)
    path = library_flow(field, torch.zeros(1).double(), torch.tensor([math.log(9.0)]).double(), time)
    want = torch.cat([path.theta, path.phi], dim=1)[1:].numpy()
    assert trajectory(9.0, 0.3, time[1:].numpy()) == pytest.approx(want, abs=1e-5)


def test_a_fisher_step_is_its_differential_equation():
    time = np.array([0.01, 0.5, 3.0, 8.0])
    want = radau(lambda _, z: [2 - 2 * np.exp(z[0]) * (1 + np.exp(z[1])), -2.0], [0.0, math.log(100)], time)
    assert fisher_step(100.0, time) == pytest.approx(want, abs=1e-6)


def test_a_switch_follows_eq_9_until_the_misfit_is_one():
    time = np.array([0.5, 2.0, 2.5, 4.0])
    before, after = after_misfit_one(100.0, 1.0, time), trajectory(1.0, 1.0, time[2:] - 0.5 * math.log(100))
    assert before[:2] == pytest.approx(trajectory(100.0, 0.0, time[:2]), abs=1e-7)
    assert before[2:] == pytest.approx(after)
    assert after_misfit_one(100.0, 0.0, time) == pytest.approx(trajectory(100.0, 0.0, time), abs=1e-6)
    early = np.array([0.1])
    assert after_misfit_one(100.0, 1.0, early) == pytest.approx(trajectory(100.0, 0.0, early), abs=1e-7)


def test_the_kl_is_that_of_two_gaussian_layers():
    t, miss = 0.3, 2.0  # q(v) = N(0, t²), and q(u|v) is off by miss·v at variance 1
    first = torch.distributions.kl_divergence(torch.distributions.Normal(0.0, t), torch.distributions.Normal(0.0, 1.0))
    want = float(first) + 0.5 * miss**2 * t**2
    assert kl(np.array([[2 * math.log(t), 2 * math.log(miss)]])) == pytest.approx(want)


@pytest.mark.parametrize("r", [3.0, 1e3])
@pytest.mark.parametrize("switched", [False, True])
def test_the_kl_is_at_the_level_at_the_times_that_the_sentence_gives(r, switched):
    times = times_to_level(r, 0.1, switched)
    own = after_misfit_one if switched else trajectory
    paths = {
        "full gradient": trajectory(r, 1.0, np.array([times["full gradient"]])),
        "eq. (9)": trajectory(r, 0.0, np.array([times["eq. (9)"]])),
        "Fisher step for φ": fisher_step(r, np.array([times["Fisher step for φ"]])),
        "your λ": own(r, 0.1, np.array([times["your λ"]])),
    }
    assert set(paths) == set(times)
    for path in paths.values():
        assert kl(path) == pytest.approx(LEVEL, rel=1e-3)


def test_the_sentences_of_the_flow_have_the_starvation_of_the_chapter():
    sentences = EXPLORERS["flow"]().sentences
    assert len(sentences) == len(R_VALUES) * 8 * 2
    assert "r = 10,000, λ = 1 from the start." in sentences[-2]
    assert "full gradient 5,007.7, eq. (9) 7.71, Fisher step for φ 7.79, your λ 5,007.7." in sentences[-2]
    assert "your λ 8.22." in sentences[-1]


@pytest.mark.parametrize(("r", "lam", "message"), [(0.0, 1.0, "r: expected"), (1.0, 1.5, "lam: expected")])
def test_a_trajectory_has_valid_arguments(r, lam, message):
    with pytest.raises(ValueError, match=message):
        trajectory(r, lam, np.array([1.0]))


# The tempered posterior.


@pytest.mark.parametrize(("sigma2", "beta", "tenths"), [(0.05, 5.0, 0), (0.2, 0.5, 3), (5.0, 0.05, 10)])
def test_the_tempered_posterior_and_its_gap_are_those_of_bayes_rule_on_a_grid(tempering, sigma2, beta, tenths):
    v, lam, D = np.linspace(-12, 12, 20_001), tenths / 10, sigma2 + beta
    exact = normalised(v, -0.5 * v**2 - 0.5 * (DATUM - SLOPE * v) ** 2 / D)
    c = beta / (2 * D**2) * (DATUM - SLOPE * v) ** 2
    tilted = normalised(v, np.log(exact) + (1 - lam) * c)
    pair = VARIANCES.index(sigma2) * len(VARIANCES) + VARIANCES.index(beta)
    row = pair * 11 + tenths
    _, nine, true, own = tempering.panels[0].series
    for points, want in (
        (own.points[row], tilted),
        (true.points[pair], exact),
        (nine.points[pair], normalised(v, np.log(exact) + c)),
    ):
        assert points[:, 1] == pytest.approx(np.interp(points[:, 0], v, want), abs=1e-5)
    lost = integrate.trapezoid(tilted * np.log(tilted / exact), v)
    curve, dot = tempering.panels[1].series
    assert dot.points[row][0] == pytest.approx([lam, lost], abs=1e-6)
    assert np.interp(lam, *curve.points[pair].T) == pytest.approx(lost, abs=1e-6)
    assert f"σ² = {sigma2:g}, β = {beta:g}, λ = {lam:g}: " in tempering.sentences[row]
    assert f"loses {lost:z.3f} nats" in tempering.sentences[row]


def normalised(v, log_density):
    density = np.exp(log_density - log_density.max())
    return density / integrate.trapezoid(density, v) + 1e-300


def test_at_both_ends_your_posterior_is_the_one_of_that_name(tempering):
    _, nine, exact, own = tempering.panels[0].series
    for pair in range(len(VARIANCES) ** 2):
        assert own.points[11 * pair] == pytest.approx(nine.points[pair])
        assert own.points[11 * pair + 10] == pytest.approx(exact.points[pair])


def test_no_curve_leaves_its_panel(tempering):
    for panel in tempering.panels:
        for points in (points for series in panel.series for points in series.points):
            assert panel.y.low <= points[:, 1].min()
            assert points[:, 1].max() <= panel.y.high


# The film.


def test_the_film_shows_the_density_and_the_misfit_of_two_gaussian_layers():
    y, E, r = 0.3, 4.0, 10.0
    v, height = filming.density(y).T
    assert height == pytest.approx(stats.norm.pdf(v, scale=math.sqrt(y)) / stats.norm.pdf(0, scale=math.sqrt(y)))
    v, share = filming.misfit(E / r).T
    v = torch.tensor(v)

    def c(misfit, at):  # q(u|v) has slope 0 and p(u|v) the slope whose square is the misfit, both with variance 1
        return kl_divergence(Normal(0.0 * at, 1.0), Normal(math.sqrt(misfit) * at, 1.0))

    assert share == pytest.approx((c(E, v) / c(r, torch.tensor(3.0))).numpy())


def test_the_film_tells_and_marks_what_its_curves_show():
    film = EXPLORERS["film"]()
    position = film.start()
    assert film.sentences[position] == (
        "r = 1,000, time 4. Variance, misfit and KL (nats). Full gradient: 0.001, 985, 3.4. Eq. (9): 1, 0.35, 0.17. "
        "Fisher step for φ: 0.26, 0.35, 0.34."
    )
    full, nine, fisher, *dots = film.panels[-1].series
    for curve, dot in zip((full, nine, fisher), dots, strict=True):
        ((tau, nats),) = dot.points[position]
        assert tau == pytest.approx(10**0.6)
        assert np.interp(math.log(tau), np.log(curve.points[2][:, 0]), curve.points[2][:, 1]) == pytest.approx(nats)
    for panel, variance in zip(film.panels, (0.001, 1.0, 0.26), strict=False):
        v, height = panel.series[1].points[position].T
        inside = height > 0.5  # |v| < 1.18 standard deviations
        assert np.ptp(v[inside]) == pytest.approx(2 * math.sqrt(2 * math.log(2) * variance), rel=0.15)


# The dial.


@pytest.mark.parametrize("lam", [0.0, 0.4, 0.9])
def test_the_theory_of_the_dial_is_that_of_quadrature_over_the_data(lam):
    S, beta, sigma2 = dialled.S, dialled.BETA, dialled.SIGMA2

    def unit(weight):
        """A and the ELBO of a unit whose F is where its own field is zero, means over x on a grid."""
        power = (sigma2 + weight * beta) / (sigma2 + beta)
        F2, D = max(0.0, S - (sigma2 + beta) / power), sigma2 + beta
        x, step = np.linspace(-12, 12, 4001, retstep=True)
        variance = 1 / (1 + power * F2 / D)
        mean = variance * power * math.sqrt(F2) * x / D
        A = 0.5 * (variance + mean**2 - 1 - math.log(variance))
        # E_q log p(x|v) - A, with u integrated out
        missed = (x - math.sqrt(F2) * mean) ** 2 + F2 * variance
        elbo = -0.5 * (math.log(2 * math.pi * D) + missed / D) - A
        weights = stats.norm.pdf(x, scale=math.sqrt(S)) * step
        return weights @ A, weights @ elbo

    (A, elbo), (A_full, elbo_full) = unit(lam), unit(1.0)
    share, cost = dialled.fixed_decoder(torch.tensor([lam], dtype=torch.float64))
    assert share == pytest.approx([A / A_full], abs=1e-6)
    assert cost == pytest.approx([dialled.UNITS * (elbo - elbo_full)], abs=1e-6)


def test_the_points_of_the_dial_are_the_recorded_runs():
    dial = EXPLORERS["dial"]()
    table = results.frame("main", "weights")
    table = table[(table.data == "mnist") & (table.decoder == "p(x|u,v)")].set_index(["method", "seed"])
    ratio = table.A["lambda=0.5"] / table.A["full"]
    change = table.elbo["lambda=0.5"] - table.elbo["full"]
    for panel, values in zip(dial.panels, (ratio, change), strict=True):
        bars, means = panel.series[4:6]
        assert means.points[0][1] == pytest.approx([0.508, values.mean()])
        half = stats.t.ppf(0.975, 4) * stats.sem(values)
        assert bars.points[0][3:5, 1] == pytest.approx([values.mean() - half, values.mean() + half])
    at_half = dial.sentences[dial.start()]
    assert re.search(rf"p\(x\|u,v\) {100 * ratio.mean():.0f} ± \d+%, −{-change.mean():.2f} ± ", at_half)


def test_the_points_of_the_dial_lie_in_their_panels():
    for panel in EXPLORERS["dial"]().panels:
        for points in (points for series in panel.series for points in series.points):
            ends = points[~np.isnan(points[:, 1]), 1]
            assert panel.y.low < ends.min()
            assert ends.max() < panel.y.high


# The playback.


def test_a_row_of_digits_has_one_u_and_a_column_one_v():
    shown = digits(filmed()[0], 0)
    assert shown.shape == (128, 256)
    for row, column in ((0, 0), (3, 0), (0, 7), (2, 5)):  # made_up says v in tens and u in ones
        cell = shown[32 * row : 32 * (row + 1), 32 * column : 32 * (column + 1)]
        assert (cell[2:-2, 2:-2] == 10 * column + row).all()
        assert not cell[:2].any()


def test_canvases_are_the_bits_in_their_order_and_boxes_lie_on_their_objects():
    run = filmed()[-1]
    shown = canvases(run, 0)
    assert shown.shape == (128, 256)
    line = boxes(run, 0).reshape(-1, 6, 2)
    assert len(line) == sum(run.samples["film_q"][0].argmax(-1)) == 7
    for corners in line[:, :5]:
        across, down = corners[:, 0] * 256, (1 - corners[:, 1]) * 128
        left, right, top, bottom = (round(f()) for f in (across.min, across.max, down.min, down.max))
        inside = shown[top:bottom, left:right]
        assert inside.shape == (28, 28)  # 14 pixels, twice their size
        assert (inside == 255).all()
        assert shown[top - 2, left] != 255


def test_a_moment_tells_the_mean_of_the_rows_before_it():
    runs = filmed()
    shown = playback(runs)
    metrics = next(r for r in runs if (r.config.decoder, r.config.method) == ("p(x|u,v)", "modified")).metrics
    end = metrics[(metrics.step > 0.475 * 400) & (metrics.step <= 0.5 * 400)]
    sentence = shown.sentences[8 + 3].replace("\N{NO-BREAK SPACE}", " ")
    assert sentence.startswith("digits, p(x|u,v), 50% trained. Full gradient: R ")
    assert f"Eq. (9): R −{-end.R.mean():.1f}, A {end.A.mean():.2f}, C {end.C.mean():.1f} nats." in sentence
    dot = next(s for s in shown.panels[2].series if s.look == "dot" and s.colour == "modified")
    assert dot.points[8 + 3][0] == pytest.approx([0.5, end.A.mean()])


def test_the_counted_objects_are_told_beside_those_that_are_there():
    sentence = playback(filmed()).sentences[-1]
    assert sentence.count(" nats, objects 7.") == 2
    assert sentence.endswith(f" The eight canvases hold {two_digits.canvases.counts('test')[:8].sum()} objects.")


def test_a_panel_shows_its_own_method():
    runs = filmed()
    darker = [
        replace(r, samples=r.samples | {"film_prior_v": r.samples["film_prior_v"] // 2})
        if r.config.method == "modified" and r.config.hierarchical
        else r
        for r in runs
    ]
    shown = playback(darker)
    assert [panel.title for panel in shown.panels[:2]] == ["full gradient", "eq. (9)"]
    full, nine = (panel.picture.frames[0].astype(int) for panel in shown.panels[:2])
    assert (nine == full // 2).all()
    assert METHODS == ("full", "modified")


def test_runs_that_are_missing_are_named_with_the_command_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    with pytest.raises(RecordError, match="make study NAME=showcase"):
        EXPLORERS["playback"]()
