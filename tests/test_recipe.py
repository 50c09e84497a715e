"""Recipes: shipped ones are read, wrong ones are explained."""

from __future__ import annotations

import pytest

from exporters.packages.recipe import known_recipes, load_recipe
from nsd_bench.errors import RecipeError


@pytest.mark.parametrize("name", known_recipes())
def test_shipped_recipes_are_whole(name):
    recipe = load_recipe(name)
    assert recipe.title
    assert recipe.units.area in recipe.units.labels


def test_default_is_the_benchmark():
    recipe = load_recipe("default")
    assert recipe.subjects == (1, 2, 3, 4, 5, 6, 7, 8)
    assert (recipe.kind, recipe.sessions, recipe.tiers) == ("track1", "all", "sensorium")
    assert recipe.package_name(3) == "nsd-subj03"


def test_changes_replace_keys():
    assert load_recipe("demo", subjects=(2,), kind="open", sessions=None).subjects == (2,)


def message(tmp_path, text: str, **changes: object) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), **changes)
    return str(caught.value).replace(str(path), "recipe.toml")


WRONG = {
    'title = "t"\nkindd = "open"': (
        "recipe.toml: unknown key 'kindd'.\n"
        "  Expected: one of 'title', 'name', 'kind', 'subjects', 'sessions', 'tiers', 'seed', 'responses', "
        "'units', 'images', 'image_class', 'behavior' (did you mean 'kind'?).\n"
        "  What to do: correct the key or remove it."
    ),
    'title = "t"\n[units]\nroi = ["V1"]': (
        "recipe.toml: unknown key 'units.roi'.\n"
        "  Expected: one of 'atlas', 'rois', 'mask', 'hemispheres', 'ncsnr_min', 'labels', 'area' "
        "(did you mean 'rois'?).\n"
        "  What to do: correct the key or remove it."
    ),
    'kind = "open"': (
        "recipe.toml: key 'title' is missing.\n  Expected: a text.\n  What to do: add: title = ..."
    ),
    'title = "t"\nsessions = "al"': (
        "recipe.toml: sessions = 'al' is not possible.\n"
        "  Expected: 'all' or a valid tuple.\n"
        "  What to do: correct the value."
    ),
    'title = "t"\nsubjects = [3]\nsessions = [1, 33]': (
        "recipe.toml: subj03 has no session 33.\n"
        "  Expected: sessions 1 to 32, the 32 that subj03 has in NSD.\n"
        "  What to do: remove 33 from 'sessions', or subject 3 from 'subjects'."
    ),
    'title = "t"\nsubjects = [9]': (
        "recipe.toml: subjects holds 9.\n"
        "  Expected: some of NSD's subjects 1 to 8, each once.\n"
        "  What to do: correct 'subjects'."
    ),
    'title = "t"\nsessions = [2, 1]': (
        "recipe.toml: sessions = [2, 1] is not possible.\n"
        "  Expected: each session once, ascending, at least one.\n"
        "  What to do: correct 'sessions', or leave it out for all of them."
    ),
    'title = "t"\n[behavior]\ncolumns = ["rt"]': (
        "recipe.toml: behavior.columns holds 'rt'.\n"
        "  Expected: the nearest of 13 known names: 'RT'.\n"
        "  What to do: correct the name."
    ),
    'title = "t"\n[units]\narea = "streams"\nlabels = ["Kastner2015"]': (
        "recipe.toml: units.area is 'streams'.\n"
        "  Expected: one of 'Kastner2015'.\n"
        "  What to do: name one of 'labels', or add it to them."
    ),
    'title = "t"\n[responses]\nspace = "MNI"': (
        "recipe.toml: responses.version is 'betas_fithrf_GLMdenoise_RR'.\n"
        "  Expected: one of 'betas_fithrf' (did you mean 'betas_fithrf'?), which NSD has in space 'MNI'.\n"
        "  What to do: correct 'version' or 'space'."
    ),
    'title = "t"\n[responses]\nspace = "fsaverage"\nformat = "hdf5"': (
        "recipe.toml: responses.format is 'hdf5'.\n"
        "  Expected: one of 'mgh', which NSD has in space 'fsaverage'.\n"
        "  What to do: correct 'format' or 'space'."
    ),
    'title = "t"\n[images]\nheight = 2000': (
        "recipe.toml: images.height = 2000 is not possible.\n"
        "  Expected: less than or equal to 425.\n"
        "  What to do: correct the value."
    ),
    "title = ": (
        "recipe.toml: not TOML (Invalid value (at end of document)).\n"
        "  Expected: key = value lines under [sections].\n"
        "  What to do: compare with exporters/recipes/default.toml."
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_recipes_are_explained(tmp_path, text):
    assert message(tmp_path, text) == WRONG[text]


def test_unknown_recipe_names_the_shipped_ones():
    with pytest.raises(RecipeError) as caught:
        load_recipe("defualt")
    assert str(caught.value) == (
        "recipe: there is no recipe 'defualt'.\n"
        "  Expected: one of 'default', 'demo' (did you mean 'default'?).\n"
        "  What to do: correct the name, or give the path of a .toml file."
    )
