"""Samples, their words and their labels."""

from __future__ import annotations

import numpy as np

from glint_train.grammar import Grammar, Part, Scene
from glint_train.layout import Labeller
from glint_train.mix import Mix, is_composition
from glint_train.render import Renderer
from glint_train.words import WordTokenizer, build_vocabulary


def test_samples_depend_on_seed_and_index_only() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)

    def sample(index: int) -> tuple[str, np.ndarray]:
        rng = np.random.default_rng([7, index])
        scene, prompt = grammar.draw(rng, composed=index % 2 == 0)
        return prompt, renderer.render(scene, rng)

    first = [sample(index) for index in range(20)]
    for index in reversed(range(20)):
        prompt, image = sample(index)
        assert prompt == first[index][0]
        assert np.array_equal(image, first[index][1])


def test_samples_hold_no_held_out_combination_and_only_known_words() -> None:
    grammar = Grammar()
    assert len(grammar.objects) >= 400
    tokenizer = WordTokenizer(build_vocabulary(grammar))
    pairs = 0
    for index in range(2000):
        scene, prompt = grammar.draw(np.random.default_rng([3, index]), composed=is_composition(index))
        assert not grammar.scene_held_out(scene)
        ids = tokenizer.encode(prompt)
        assert ids.shape == (16,) and 1 not in ids
        pairs += len(scene.parts) > 1
    assert 0.4 <= pairs / 1500 <= 0.7


def test_batches_hold_the_share_of_compositions_they_are_asked_for() -> None:
    mix = Mix(0.8, 0.4)
    for progress, share in ((0.0, 0.8), (0.5, 0.6), (1.0, 0.4)):
        drawn = np.concatenate([mix.batch(1000, 32, 5, step, progress) for step in range(200)])
        assert drawn.min() >= 0 and drawn.max() < 1000
        # 6,400 draws: three standard deviations are below 0.02
        assert abs(np.mean([is_composition(index) for index in drawn]) - share) < 0.02
    assert np.array_equal(mix.batch(1000, 32, 5, 7, 0.5), mix.batch(1000, 32, 5, 7, 0.5))


def test_objects_of_pairs_keep_to_their_half() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)
    for relation, half in (("left of", np.s_[:, 32:]), ("above", np.s_[32:, :])):
        pictures = [
            renderer.render(Scene((Part("square", "red"), Part(name)), relation)) for name in ("key", "star")
        ]
        changed = (pictures[0] != pictures[1]).any(-1)
        assert changed[half].sum() == changed.sum() > 0


def test_tokenizer() -> None:
    tokenizer = WordTokenizer({"red": 2, "apple": 3})
    assert tokenizer.encode("A RED, apple!").tolist() == [1, 2, 3] + [0] * 13
    assert tokenizer.encode("").tolist() == [0] * 16
    assert len(tokenizer.encode("red " * 40)) == 16


def test_labels_follow_the_place_in_the_picture() -> None:
    grammar = Grammar()
    label = Labeller(grammar)
    key, star = Part("key", size="small"), Part("star", "red")
    left, right = label(Scene((key, star), "left of")), label(Scene((key, star), "right of"))
    assert left.objects == (grammar.names.index("key"), grammar.names.index("star"))
    assert right.objects == left.objects[::-1] and right.asked_colours == (True, False)
    assert label(Scene((Part("apple"),))).colours == label(Scene((Part("apple", "red"),))).colours
