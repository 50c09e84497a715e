"""The jackknife: against t tests where it is one, and against its definition in plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nsd_bench.errors import SubmissionError
from nsd_bench.scoring.jackknife import MIN_IMAGES, Jackknife, difference, fixed, population


def of_mean(values: np.ndarray, images: np.ndarray | None = None) -> Jackknife:
    """The score is the mean of the images' values: its jackknife is the t test."""
    n = len(values)
    return Jackknife(float(values.mean()), (values.sum() - values) / (n - 1), images)


def of_variance(values: np.ndarray, images: np.ndarray | None = None) -> Jackknife:
    """The score is the variance with ddof 0, which is too small by 1/n of itself."""
    without = np.array([np.delete(values, j).var() for j in range(len(values))])
    return Jackknife(float(values.var()), without, images)


def some_subjects(rng, n_subjects: int, common: float = 1.0) -> list[Jackknife]:
    """Subjects saw 30 to 44 of the same 50 images, numbered anyhow; part of an image's value is common."""
    names, shared = rng.permutation(5000)[:50], rng.normal(size=50)
    found = []
    for number in range(n_subjects):
        seen = rng.permutation(50)[: 30 + 2 * number]
        values = common * shared[seen] + rng.normal(size=len(seen)) + rng.normal()
        found.append(of_variance(values, names[seen]))
    return found


def test_the_jackknife_of_a_mean_is_the_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 25)
    found, expected = fixed([of_mean(values)], 0.9), stats.ttest_1samp(values, 0)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert (found.p, found.df, found.se) == pytest.approx((expected.pvalue, 24, stats.sem(values)))
    assert (found.value, found.corrected, found.reason) == (values.mean(), pytest.approx(values.mean()), None)


def test_images_that_all_subjects_saw_are_averaged_over_subjects_first():
    rng = np.random.default_rng(1)
    values = rng.normal(size=20) + rng.normal(size=(3, 20))
    images, orders = rng.permutation(100)[:20], [rng.permutation(20) for _ in range(3)]
    subjects = [of_mean(one[order], images[order]) for one, order in zip(values, orders, strict=True)]
    expected = stats.ttest_1samp(values.mean(axis=0), 0)
    assert fixed(subjects).interval == pytest.approx(tuple(expected.confidence_interval()))


def test_images_of_one_subject_each_are_welchs_test():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.2, 1, 15), rng.normal(0, 3, 40)
    images = np.arange(55)
    pair = [of_mean(first, images[:15]), of_mean(-second, images[15:])]  # half the difference of the means
    found, expected = fixed(pair), stats.ttest_ind(first, second, equal_var=False)
    assert 2 * np.array(found.interval) == pytest.approx(tuple(expected.confidence_interval()))
    assert (found.p, found.df) == pytest.approx((expected.pvalue, expected.df))


def test_new_subjects_without_common_images_are_the_t_test_over_subjects():
    rng = np.random.default_rng(3)
    values = rng.normal(0.5, 1, (6, 12))
    found = population([of_mean(one, 12 * s + np.arange(12)) for s, one in enumerate(values)])
    expected = stats.ttest_1samp(values.mean(axis=1), 0)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def restated(subjects: list[Jackknife]) -> tuple[float, float, float, float, float]:
    """Return corrected value, variance and df of these subjects, and variance and df of new ones."""
    S = len(subjects)
    corrected = [len(s.without) * s.value - (len(s.without) - 1) * np.mean(s.without) for s in subjects]
    added: dict[int, dict[int, float]] = {}
    for number, one in enumerate(subjects):
        n = len(one.without)
        for image, without in zip(one.images.tolist(), one.without.tolist(), strict=True):
            g = math.sqrt((n - 1) / n) * (sum(one.without) / n - without) / S
            added.setdefault(image, {})[number] = g
    groups: dict[frozenset[int], list[float]] = {}
    for parts in added.values():
        groups.setdefault(frozenset(parts), []).append(sum(parts.values()) ** 2)
    V = sum(map(sum, groups.values()))
    df = V**2 / sum(sum(one) ** 2 / max(len(one) - 1, 1) for one in groups.values())
    between = stats.tvar(corrected) / S
    c = max(0.0, (V - sum(g**2 for parts in added.values() for g in parts.values())) * S / (S - 1))
    wide = between + c
    return np.mean(corrected), V, df, wide, wide**2 / (between**2 / (S - 1) + c**2 / df)


@pytest.mark.parametrize("common", [0.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_partly_shared_images_are_as_defined(seed, common):
    subjects = some_subjects(np.random.default_rng(seed), 5, common)
    centre, V, df, wide, wide_df = restated(subjects)
    for found, variance, freedom in (
        (fixed(subjects, 0.8), V, df),
        (population(subjects, 0.8), wide, wide_df),
    ):
        half = stats.t.ppf(0.9, freedom) * math.sqrt(variance)
        assert (found.se, found.df) == pytest.approx((math.sqrt(variance), freedom))
        assert found.interval == pytest.approx((centre - half, centre + half))
        assert found.p == pytest.approx(2 * stats.t.sf(abs(centre) / math.sqrt(variance), freedom))


def test_corrected_takes_off_the_bias():
    values = np.random.default_rng(4).normal(size=17)
    one = of_variance(values)
    assert one.corrected == pytest.approx(values.var(ddof=1))  # exact for the variance
    raw = Jackknife(one.value, one.without, corrects=False)
    assert raw.corrected == one.value
    found = fixed([raw])
    assert found.corrected is None
    assert np.mean(found.interval) == pytest.approx(one.value)
    assert fixed([one]).se == pytest.approx(found.se)


def test_a_difference_is_paired():
    rng = np.random.default_rng(5)
    first = rng.normal(size=30)
    second = first + 0.1 * rng.normal(size=30)
    images = rng.permutation(30)
    found = fixed([difference(of_mean(first, images), of_mean(second, images))])
    expected = stats.ttest_rel(first, second)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("images", [np.arange(1, 31), np.arange(29)])
def test_scores_over_other_images_are_not_subtracted(images):
    rng = np.random.default_rng(6)
    one, other = of_mean(rng.normal(size=30), np.arange(30)), of_mean(rng.normal(size=len(images)), images)
    with pytest.raises(SubmissionError) as caught:
        difference(one, other)
    assert str(caught.value) == (
        f"comparison: the two scores are over 30 and {len(images)} images, which are not the same.\n"
        "  Expected: two submissions that were scored against the same truth.\n"
        "  What to do: score both against one truth."
    )


def test_the_same_predictions_have_no_interval_and_no_p():
    subjects = some_subjects(np.random.default_rng(7), 4)
    same = [difference(one, one) for one in subjects]
    for found in (fixed(same), population(same)):
        assert (found.value, found.interval, found.p, found.se) == (0, None, None, None)
        assert found.reason == "leaving out any one image changes nothing"


def test_too_few_images_have_no_interval():
    rng = np.random.default_rng(8)
    enough, few = of_mean(rng.normal(size=MIN_IMAGES)), of_mean(rng.normal(size=MIN_IMAGES - 1))
    assert fixed([enough]).interval is not None
    found = fixed([few])
    assert (found.value, found.corrected, found.interval, found.p) == (few.value, None, None, None)
    assert found.reason == "too few images: 9, and 10 are needed"


def test_fewer_than_four_subjects_say_nothing_of_new_ones():
    subjects = some_subjects(np.random.default_rng(9), 3)
    assert fixed(subjects).interval is not None
    found = population(subjects)
    assert (found.interval, found.p) == (None, None)
    assert found.corrected == fixed(subjects).corrected
    assert found.reason == "too few subjects: 3, and 4 are needed"


def test_no_interval_where_one_image_decides_whether_there_is_a_value():
    one = of_mean(np.random.default_rng(10).normal(size=20))
    one.without[3] = np.nan
    assert fixed([one]).reason == "there is no value without one of the images"
    assert (fixed([one]).corrected, fixed([one]).interval) == (None, None)


def test_subjects_whose_images_are_not_known_are_not_pooled():
    rng = np.random.default_rng(11)
    known, unknown = of_mean(rng.normal(size=20), np.arange(20)), of_mean(rng.normal(size=20))
    assert fixed([unknown]).interval is not None
    found = fixed([known, unknown])
    assert (found.interval, found.p) == (None, None)
    assert found.corrected == pytest.approx((known.value + unknown.value) / 2)
    assert found.reason == ("the truth does not say which images subjects share (format 1): export it again")
    assert population([known, unknown, known, known]).reason == found.reason


def test_r_of_few_images_is_corrected_and_covered():
    """Pearson's r of 20 images is .009 too small on average; corrected, it is covered as often as claimed."""
    covered, raw, corrected = 0, [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(20, 40))
        y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=x.shape)

        def mean_r(kept, x=x, y=y):
            zx, zy = ((v[kept] - v[kept].mean(axis=0)) / v[kept].std(axis=0) for v in (x, y))
            return (zx * zy).mean()

        everything = np.arange(20)
        one = Jackknife(mean_r(everything), np.array([mean_r(np.delete(everything, j)) for j in everything]))
        found = fixed([one])
        covered += found.interval[0] <= 0.5 <= found.interval[1]
        raw.append(found.value)
        corrected.append(found.corrected)
    assert np.mean(raw) == pytest.approx(0.5 - 0.5 * 0.75 / 40, abs=0.004)
    assert np.mean(corrected) == pytest.approx(0.5, abs=0.004)
    assert 275 <= covered <= 296  # 285 expected


def test_the_interval_of_a_share_is_on_the_scale_of_the_logit_and_that_of_a_difference_is_not():
    right = np.repeat([1.0, 0.0], [36, 4])
    share, other = (replace(of_mean(values), is_share=True) for values in (right, right[::-1]))
    found = fixed([share])
    half = stats.t.ppf(0.975, 39) * stats.sem(right) / (0.9 * 0.1)
    assert found.interval == pytest.approx([1 / (1 + np.exp(sign * half) / 9) for sign in (1, -1)])
    paired = stats.ttest_rel(right, right[::-1]).confidence_interval()
    assert fixed([difference(share, other)]).interval == pytest.approx((paired.low, paired.high))


@pytest.mark.parametrize(
    ("n_right", "few"),
    [(40, "0.0 images' worth"), (38, "2.0 images' worth"), (37, None), (3, None), (1, "1.0")],
)
def test_a_share_of_nearly_all_or_none_has_no_interval(n_right, few):
    found = fixed([replace(of_mean(np.repeat([1.0, 0.0], [n_right, 40 - n_right])), is_share=True)])
    assert found.value == n_right / 40
    if few is None:
        assert found.interval is not None
    else:
        what = "right" if n_right < 20 else "wrong"
        assert found.interval is None
        assert found.reason.startswith(f"too little is {what} for an interval: {few}")
