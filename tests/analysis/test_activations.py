"""What is heard, silenced or kept in an FFN is what the model computes with."""

from typing import Any

import pytest
import torch

from brickctl.analysis.activations import By, keeping, listening, locating, masking
from brickctl.analysis.ffn import Ffn, find_ffns
from tests.support.ffn_models import MIXTURES, MODELS, tiny

ROWS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
TOKENS = 8


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ROWS, attention_mask=MASK).logits
    return logits


def _heard(model: Any, ffns: tuple[Ffn, ...]) -> dict[int, torch.Tensor]:
    heard: dict[int, torch.Tensor] = {}
    with listening(ffns, lambda index, activations: heard.__setitem__(index, activations.clone())):
        _logits(model)
    return heard


def _bias(down: Any) -> Any:
    return 0 if getattr(down, "bias", None) is None else down.bias


@pytest.mark.parametrize("architecture", [name for name in MODELS if name not in MIXTURES])
def test_activations_times_output_columns_are_what_the_ffn_gives(architecture: str) -> None:
    model = tiny(architecture)
    ffns = find_ffns(model)
    given: list[torch.Tensor] = []
    for ffn in ffns:
        ffn.parts.down.register_forward_hook(lambda _, __, out: given.append(out.reshape(-1, 16)))  # type: ignore[union-attr]
    heard = _heard(model, ffns)
    real = MASK.reshape(-1).bool()
    for index, ffn in enumerate(ffns):
        assert heard[index].shape == (TOKENS, 24)
        made = heard[index] @ ffn.parts.outward().T + _bias(ffn.parts.down)  # type: ignore[union-attr]
        torch.testing.assert_close(made, given[index][real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_activations_of_experts_weighted_by_the_router_are_what_the_mixture_gives(architecture: str) -> None:
    model = tiny(architecture)
    ffns = [ffn for ffn in find_ffns(model) if ffn.layer == 0 and ffn.expert is not None]
    experts = model.model.layers[0].mlp.experts
    calls: list[tuple[Any, ...]] = []
    experts.register_forward_hook(lambda _, inputs, out: calls.append((*inputs, out)))
    _logits(model)  # with transformers' own way to run experts
    _, chosen, weights, wanted = calls[0]
    made = torch.zeros_like(wanted)
    with locating(ffns, lambda index, a, places: _add(made, ffns[index], a, places, chosen, weights)):
        _logits(model)
    real = MASK.reshape(-1).bool()
    torch.testing.assert_close(made[real], wanted[real], rtol=1e-4, atol=1e-4)
    assert not made[~real].any()


def _add(
    made: torch.Tensor, ffn: Ffn, activations: torch.Tensor, places: torch.Tensor, chosen: Any, weights: Any
) -> None:
    out = activations @ ffn.parts.outward().T
    if ffn.parts.experts.has_bias:  # type: ignore[union-attr]
        out = out + ffn.parts.experts.down_proj_bias[ffn.expert]  # type: ignore[union-attr]
    weight = (weights * (chosen == ffn.expert)).sum(-1)
    made.index_add_(0, places, out * weight[places, None])


@pytest.mark.parametrize("architecture", MODELS)
def test_listening_changes_nothing_and_leaves_nothing_behind(architecture: str) -> None:
    model = tiny(architecture)
    before = _logits(model)
    with pytest.raises(RuntimeError, match="enough"), listening(find_ffns(model), _fail):
        _logits(model)
    heard: list[int] = []
    with listening(find_ffns(model), lambda index, _: heard.append(index)):
        torch.testing.assert_close(_logits(model), before, rtol=1e-4, atol=1e-4)
    count = len(heard)
    assert count
    assert torch.equal(_logits(model), before)
    assert len(heard) == count
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in model.modules())


def _fail(_: int, __: torch.Tensor) -> None:
    raise RuntimeError("enough")


@pytest.mark.parametrize("architecture", MODELS)
def test_masking_everything_leaves_what_a_model_without_output_columns_gives(architecture: str) -> None:
    model = tiny(architecture)
    ffns = find_ffns(model)
    with masking(ffns, [torch.ones(ffn.neurons, dtype=torch.bool) for ffn in ffns]):
        silenced = _logits(model)
    with torch.no_grad():
        for ffn in ffns:
            ffn.parts.outward().zero_()
    torch.testing.assert_close(silenced, _logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", MODELS)
def test_masking_some_is_zeroing_their_output_columns(architecture: str) -> None:
    model = tiny(architecture)
    ffns = find_ffns(model)
    masks = [torch.arange(ffn.neurons) % 3 == 0 for ffn in ffns]
    with masking(ffns, masks):
        silenced = _logits(model)
    assert not torch.allclose(silenced, _logits(model))
    with torch.no_grad():
        for ffn, mask in zip(ffns, masks, strict=True):
            ffn.parts.outward()[:, mask] = 0
    torch.testing.assert_close(silenced, _logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["Llama", "OPT", "Mixtral"])
@pytest.mark.parametrize("by", ["activation", "magnitude"])
def test_keeping_a_share_keeps_the_largest_of_each_token(architecture: str, by: By) -> None:
    model = tiny(architecture)
    ffns = find_ffns(model)[:1]  # what comes before the first FFN does not change
    with torch.no_grad():
        ffns[0].parts.outward()[:, :4] *= 100
    whole = _heard(model, ffns)[0]
    with keeping(ffns, 0.25, by):
        kept = _heard(model, ffns)[0]
    size = whole.abs() * (ffns[0].output_norms() if by == "magnitude" else 1)
    sixth = size.sort(dim=-1, descending=True).values[:, 5:6]
    assert torch.equal(kept, whole * (size >= sixth))
    assert ((kept != 0).sum(-1) == 6).all()  # a quarter of 24


def test_keeping_all_changes_nothing_and_of_equal_ones_only_so_many_stay() -> None:
    model = tiny("Llama")
    ffns = find_ffns(model)
    before = _logits(model)
    with keeping(ffns, 1.0, "activation"):
        assert torch.equal(_logits(model), before)
    with torch.no_grad():
        for part in ffns[0].parts.inward():
            part[:] = part[0]
    with keeping(ffns[:1], 0.5, "activation"):
        assert ((_heard(model, ffns[:1])[0] != 0).sum(-1) == 12).all()


def test_places_say_row_and_column_also_where_padding_comes_first() -> None:
    model = tiny("Llama")
    ffns = find_ffns(model)[:1]
    places: list[torch.Tensor] = []
    with locating(ffns, lambda _, __, at: places.append(at)), torch.inference_mode():
        model(ROWS, attention_mask=MASK)
        model(ROWS.flip(1), attention_mask=MASK.flip(1))
        model(ROWS)
        model.model(ROWS, MASK)
    left, right = [0, 1, 2, 3, 4, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7]
    assert [at.tolist() for at in places] == [right, left, list(range(10)), right]


def test_what_is_generated_is_heard_token_by_token() -> None:
    model = tiny("Llama")
    counts: list[int] = []
    with listening(find_ffns(model)[:1], lambda _, activations: counts.append(len(activations))):
        model.generate(
            input_ids=ROWS.flip(1), attention_mask=MASK.flip(1), max_new_tokens=3, do_sample=False, eos_token_id=None
        )
    assert counts == [TOKENS, 2, 2]


@pytest.mark.parametrize("architecture", ["Llama", "Mixtral"])
def test_who_listens_inside_hears_what_was_silenced_outside(architecture: str) -> None:
    model = tiny(architecture)
    ffns = find_ffns(model)
    masks = [torch.arange(ffn.neurons) < 3 for ffn in ffns]
    with masking(ffns, masks):
        heard = _heard(model, ffns)
        assert all(not activations[:, :3].any() and activations[:, 3:].any() for activations in heard.values())
        assert not torch.allclose(_heard(model, ffns)[0], torch.zeros(1))  # and leaving does not undo the outer one
    assert any(activations[:, :3].any() for activations in _heard(model, ffns).values())


def test_another_way_to_run_experts_that_somebody_has_set_is_there_again_afterwards() -> None:
    model = tiny("Mixtral")
    experts = model.model.layers[0].mlp.experts
    experts.forward = lambda hidden, *_: hidden
    own = experts.forward
    _heard(model, find_ffns(model))
    assert experts.forward is own
