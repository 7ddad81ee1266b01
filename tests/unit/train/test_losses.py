"""Each loss against its formula, written out in numpy in double precision."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.errors import RecipeError, TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.loss import Loss, Seen, Side  # noqa: E402
from gossamer.train.losses.attention_maps import AttentionMaps  # noqa: E402
from gossamer.train.losses.dkd import Dkd  # noqa: E402
from gossamer.train.losses.features import Features  # noqa: E402
from gossamer.train.losses.layer_pairs import LayerPairs  # noqa: E402
from gossamer.train.losses.logits import Logits  # noqa: E402
from gossamer.train.losses.mse import Mse  # noqa: E402
from gossamer.train.losses.relations import Relations  # noqa: E402
from gossamer.train.losses.self_distillation import SelfDistillation  # noqa: E402
from gossamer.train.losses.soft_cross_entropy import SoftCrossEntropy  # noqa: E402

pytestmark = pytest.mark.torch
Floats = NDArray[np.float64]
TIGHT = {"rtol": 1e-9, "atol": 1e-11}  # both sides in double precision
PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=7).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.float64, shape, elements=st.floats(-9, 9))] * 2)
)
TEMPERATURES = st.floats(0.5, 8)


def softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(-1, keepdims=True))
    found: Floats = powers / powers.sum(-1, keepdims=True)
    return found


def drawn(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


def side(
    logits: Any = None,
    outputs: dict[str, Any] | None = None,
    layers: dict[str, Any] | None = None,
    heads: int | None = None,
) -> Side:
    whole = np.zeros((2, 2)) if logits is None else logits
    return Side(
        logits=torch.as_tensor(whole), outputs=outputs or {}, layers=layers or {}, heads=heads
    )


def of_logits(loss: Loss, student: Floats, teacher: Floats, **more: Any) -> float:
    tensors = {k: torch.as_tensor(v) for k, v in more.items()}
    return loss.term(Seen(student=side(student), teacher=side(teacher), **tensors)).item()


@given(pair=PAIRS, temperature=TEMPERATURES)
def test_logits_is_the_divergence_of_a_sample_times_t_squared(
    pair: tuple[Floats, Floats], temperature: float
) -> None:
    s, t = (softmax(x / temperature) for x in pair)
    wanted = temperature**2 * (t * (np.log(t) - np.log(s))).sum(-1).mean()

    found = of_logits(Logits(temperature=temperature), *pair)

    assert np.isclose(found, wanted, **TIGHT)


@given(pair=PAIRS, temperature=TEMPERATURES)
def test_soft_cross_entropy_is_the_teachers_probabilities_as_labels(
    pair: tuple[Floats, Floats], temperature: float
) -> None:
    s, t = (softmax(x / temperature) for x in pair)
    wanted = -(temperature**2) * (t * np.log(s)).sum(-1).mean()

    found = of_logits(SoftCrossEntropy(temperature=temperature), *pair)

    assert np.isclose(found, wanted, **TIGHT)


@given(pair=PAIRS)
def test_mse_is_the_mean_of_squares_without_a_temperature(pair: tuple[Floats, Floats]) -> None:
    assert np.isclose(of_logits(Mse(), *pair), ((pair[0] - pair[1]) ** 2).mean(), **TIGHT)


@given(pair=PAIRS, temperature=TEMPERATURES, seed=st.integers(0, 99))
def test_dkd_weighs_the_label_and_the_other_classes_apart(
    pair: tuple[Floats, Floats], temperature: float, seed: int
) -> None:
    count, classes = pair[0].shape
    labels = np.random.default_rng(seed).integers(0, classes, count)
    wanted = []
    for s_row, t_row, y in zip(*pair, labels, strict=True):
        s, t = softmax(s_row / temperature), softmax(t_row / temperature)
        s_rest, t_rest = 1 - s[y], 1 - t[y]
        if min(s_rest, t_rest) < 1e-6:  # 1 − p in this reference has lost its digits
            return
        tckd = t[y] * np.log(t[y] / s[y]) + t_rest * np.log(t_rest / s_rest)
        s_hat, t_hat = np.delete(s, y) / s_rest, np.delete(t, y) / t_rest
        wanted.append(0.7 * tckd + 3 * (t_hat * np.log(t_hat / s_hat)).sum())

    loss = Dkd(temperature=temperature, target=0.7, others=3.0)
    found = of_logits(loss, *pair, labels=labels)

    assert np.isclose(found, temperature**2 * np.mean(wanted), rtol=1e-6, atol=1e-8)


def test_dkd_of_the_right_weights_is_the_whole_divergence() -> None:
    """KL = TCKD + (1 − p_t of the label) · NCKD, the equation that the method is named after."""
    s, t = drawn(1, 5, seed=1), drawn(1, 5, seed=2)
    rest = 1 - softmax(t)[0, 3]

    whole = of_logits(Logits(temperature=1.0), s, t)
    parts = of_logits(Dkd(temperature=1.0, others=rest), s, t, labels=[3])

    assert np.isclose(whole, parts, **TIGHT)


def test_dkd_passes_over_rows_without_a_label() -> None:
    s, t = drawn(3, 4, seed=1), drawn(3, 4, seed=2)

    some = of_logits(Dkd(), s, t, labels=[1, -100, 2])
    only = of_logits(Dkd(), s[[0, 2]], t[[0, 2]], labels=[1, 2])

    assert np.isclose(some, only, **TIGHT)


def test_the_divergence_does_not_shrink_with_the_number_of_classes() -> None:
    """Classes that both find impossible change nothing: the mean is over the batch alone."""
    s, t = drawn(4, 3, seed=1), drawn(4, 3, seed=2)
    impossible = np.full((4, 997), -1e4)

    few = of_logits(Logits(), s, t)
    many = of_logits(Logits(), np.hstack([s, impossible]), np.hstack([t, impossible]))

    assert np.isclose(few, many, **TIGHT)


@pytest.mark.parametrize("loss", [Logits(), SoftCrossEntropy(), Mse()])
def test_logits_of_tokens_are_averaged_over_real_ones(loss: Loss) -> None:
    s, t = drawn(2, 3, 5, seed=1), drawn(2, 3, 5, seed=2)
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    real = mask.astype(bool)

    found = of_logits(loss, s, t, mask=mask)

    assert np.isclose(found, of_logits(loss, s[real], t[real]), **TIGHT)


def test_a_batch_of_padding_alone_is_no_loss() -> None:
    assert of_logits(Logits(), drawn(1, 2, 3), drawn(1, 2, 3), mask=np.zeros((1, 2))) == 0


def hidden(
    student: Floats, teacher: Floats, loss: Loss | None = None, mask: Floats | None = None
) -> float:
    pairs = ((torch.as_tensor(student), torch.as_tensor(teacher)),)
    given_mask = None if mask is None else torch.as_tensor(mask)
    seen = Seen(student=side(), teacher=side(), pairs=pairs, mask=given_mask)
    return (loss or Features()).term(seen).item()


def test_features_are_compared_over_real_tokens() -> None:
    s, t = drawn(2, 3, 4, seed=1), drawn(2, 3, 4, seed=2)
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    real = mask.astype(bool)
    mine, theirs = s[real], t[real]
    norms = np.linalg.norm(mine, axis=-1) * np.linalg.norm(theirs, axis=-1)

    squares = hidden(s, t, mask=mask)
    angles = hidden(s, t, Features(distance="cosine"), mask=mask)

    assert np.isclose(squares, ((mine - theirs) ** 2).mean(), **TIGHT)
    assert np.isclose(angles, 1 - ((mine * theirs).sum(-1) / norms).mean(), **TIGHT)


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_attention_maps_are_compared_at_real_queries_and_keys(kind: Any) -> None:
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    scores = [np.where(mask[:, None, None], drawn(2, 3, 4, 4, seed=i), -np.inf) for i in (1, 2)]
    s, t = (softmax(x) for x in scores)
    each = []
    for i, length in enumerate(mask.sum(1)):
        mine, theirs = s[i, :, :length, :length], t[i, :, :length, :length]
        far = theirs * np.log(theirs / mine) if kind == "kl" else (mine - theirs) ** 2
        each.append(far.sum(-1).reshape(-1) if kind == "kl" else far.reshape(-1))
    layers = {"maps": ("a",)}
    sides = [side(outputs={"a": (None, torch.as_tensor(x))}, layers=layers) for x in (s, t)]

    found = AttentionMaps(distance=kind).term(
        Seen(student=sides[0], teacher=sides[1], mask=torch.as_tensor(mask))
    )

    assert np.isclose(found.item(), np.concatenate(each).mean(), **TIGHT)


def relation(left: Floats, right: Floats, heads: int) -> Floats:
    """softmax(ABᵀ/√d) of one sample, `[heads, tokens, tokens]`."""
    parts = [np.split(x, heads, axis=-1) for x in (left, right)]
    return np.stack([softmax(a @ b.T / np.sqrt(a.shape[-1])) for a, b in zip(*parts, strict=True)])


@pytest.mark.parametrize("heads", [0, 2, 4])
def test_relations_are_compared_head_by_head_whatever_the_width(heads: int) -> None:
    lengths, layers = (5, 3), {n: (n,) for n in ("queries", "keys", "values")}
    mask = np.arange(5) < np.array(lengths)[:, None]
    qkv = [
        {n: drawn(2, 5, width, seed=10 * width + i) for i, n in enumerate(layers)}
        for width in (8, 12)
    ]
    wanted = []
    for left, right in (("queries", "keys"), ("values", "values")):
        rows = []
        for i, n in enumerate(lengths):
            s, t = (relation(x[left][i, :n], x[right][i, :n], heads or 4) for x in qkv)
            rows.append((t * np.log(t / s)).sum(-1).mean(0))
        wanted.append(np.concatenate(rows).mean())
    outputs = [{n: torch.as_tensor(x) for n, x in each.items()} for each in qkv]

    found = Relations(heads=heads).term(
        Seen(
            student=side(outputs=outputs[0], layers=layers, heads=2),
            teacher=side(outputs=outputs[1], layers=layers, heads=4),
            mask=torch.as_tensor(mask),
        )
    )

    assert np.isclose(found.item(), np.mean(wanted), **TIGHT)


def test_layer_pairs_add_up_hidden_states_and_maps() -> None:
    h = [(drawn(2, 3, 4, seed=i), drawn(2, 3, 4, seed=9 + i)) for i in range(3)]
    maps = [softmax(drawn(2, 2, 3, 3, seed=i)) for i in (20, 21)]
    wanted = sum(((s - t) ** 2).mean() for s, t in h) + ((maps[0] - maps[1]) ** 2).mean()
    sides = [side(outputs={"a": (None, torch.as_tensor(m))}, layers={"maps": ("a",)}) for m in maps]
    pairs = tuple((torch.as_tensor(s), torch.as_tensor(t)) for s, t in h)

    found = LayerPairs().term(Seen(student=sides[0], teacher=sides[1], pairs=pairs))

    assert np.isclose(found.item(), wanted, **TIGHT)


def test_self_distillation_sums_labels_imitation_and_closeness_over_exits() -> None:
    temperature, a, b = 3.0, 0.4, 0.05
    deepest, exits = drawn(4, 3), [drawn(4, 3, seed=i) for i in (1, 2)]
    features = [drawn(4, 6, seed=i) for i in (3, 4)]
    labels = np.array([0, 2, 1, 1])
    t = softmax(deepest / temperature)
    wanted = b * ((features[0] - features[1]) ** 2).sum(1).mean()
    for x in exits:
        s = softmax(x / temperature)
        wanted += (1 - a) * -np.log(softmax(x)[range(4), labels]).mean()
        wanted += a * temperature**2 * (t * np.log(t / s)).sum(1).mean()
    outputs = {str(i): torch.as_tensor(x) for i, x in enumerate(exits)}
    pairs = ((torch.as_tensor(features[0]), torch.as_tensor(features[1])),)

    found = SelfDistillation(temperature=temperature, imitation=a, closeness=b).term(
        Seen(
            student=side(deepest, outputs=outputs, layers={"exits": ("0", "1")}),
            pairs=pairs,
            labels=torch.as_tensor(labels),
        )
    )

    assert np.isclose(found.item(), wanted, **TIGHT)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("kind", [Logits, SoftCrossEntropy, Dkd, SelfDistillation])
def test_a_temperature_that_nothing_can_be_divided_by_is_refused(
    kind: Any, temperature: float
) -> None:
    with pytest.raises(RecipeError, match="a temperature above 0"):
        kind(temperature=temperature)


@pytest.mark.parametrize(
    ("loss", "shapes", "labels", "message"),
    [
        (Logits(), ((2, 3), (2, 4)), None, r"\[2, 3\] from the student and \[2, 4\] from the t"),
        (Logits(), ((2, 1), (2, 1)), None, "For regression take mse"),
        (Dkd(), ((2, 3), (2, 3)), None, "received none. Give labels="),
        (Dkd(), ((2, 3), (2, 3)), [0, 1, 2], r"received torch.int64 \[3\]"),
        (Dkd(), ((2, 3), (2, 3)), [0, 5], "labels of 3 classes; received the label 5"),
    ],
)
def test_what_does_not_fit_is_named(
    loss: Loss, shapes: tuple[Any, Any], labels: Any, message: str
) -> None:
    more = {} if labels is None else {"labels": labels}

    with pytest.raises(TrainingError, match=message):
        of_logits(loss, drawn(*shapes[0]), drawn(*shapes[1]), **more)


def test_heads_that_do_not_divide_a_width_are_named() -> None:
    layers = dict.fromkeys(("queries", "keys", "values"), ("x",))
    of = side(outputs={"x": torch.zeros(1, 2, 8)}, layers=layers)

    with pytest.raises(TrainingError, match=r"that 3 heads divide; received \[1, 2, 8\]"):
        Relations(heads=3).term(Seen(student=of, teacher=of))
    with pytest.raises(TrainingError, match="does not say how many"):
        Relations().term(Seen(student=of, teacher=of))
    with pytest.raises(RecipeError, match="a number of heads"):
        Relations(heads=-1)
