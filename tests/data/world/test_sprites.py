import numpy as np
import pytest

from conceptseg.data.world.sprites import all_sprites, check_split, load_sprite, sprites_of
from conceptseg.errors import InputError


def test_names_are_unique_short_and_lower_case():
    names = [sprite.name for sprite in all_sprites()]
    assert len(names) == len(set(names)) >= 140
    assert all(1 <= len(name.split()) <= 2 and name == name.lower() for name in names)


def test_every_file_is_a_cropped_picture_with_alpha():
    for sprite in all_sprites():
        alpha = np.asarray(load_sprite(sprite))[..., 3]
        assert max(alpha.shape) == 128
        assert all(edge.max() >= 16 for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        assert (alpha > 127).sum() / 128**2 == pytest.approx(sprite.coverage, abs=0.02)


def test_each_split_has_every_kind_role_and_family_of_two():
    for split in ("train", "unseen_test"):
        sprites = sprites_of(split)
        assert {sprite.kind for sprite in sprites} == {"living", "artifact"}
        assert {sprite.role for sprite in sprites} == {"common", "fine", "rare"}
        families = [sprite.family for sprite in sprites if sprite.family]
        assert all(families.count(family) >= 2 for family in families)


def test_about_thirty_percent_are_kept_for_the_unseen_split():
    assert 0.25 <= len(sprites_of("unseen_test")) / len(all_sprites()) <= 0.4


def test_an_unknown_split_is_named():
    with pytest.raises(InputError, match="Unknown ConceptWorld split 'val'"):
        check_split("val")
