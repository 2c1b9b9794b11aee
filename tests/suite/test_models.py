"""The models of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.suite.conftest import BASE, load, messages

if TYPE_CHECKING:
    from tests.conftest import Project


def test_names_labels_seeds_and_hyper_parameters(project: Project) -> None:
    text = BASE.replace(
        'backbone = "wrn-10-1"\n',
        'backbone = "wrn-16-2"\nname = "base"\nlabel = "Baseline"\nseeds = [3, 1]\nlr = 1\ndecay_epochs = [2]\n',
    )
    (model,) = load(project, text).models
    assert (model.name, model.label, model.seeds, model.backbone_name) == ("base", "Baseline", (3, 1), "wrn-16-2")
    assert (model.config.lr, model.config.decay_epochs) == (1.0, (2,))


def test_a_preset_lies_between_defaults_and_the_suite(project: Project) -> None:
    text = BASE.replace('"softmax"', '"jem"').replace(
        'backbone = "wrn-10-1"\n', 'backbone = "wrn-10-1"\npreset = "jem-code"\n[model.sampler]\nsteps = 7\n'
    )
    (model,) = load(project, text).models
    values = model.config.model_dump()
    assert values["epochs"] == 200  # the preset
    assert values["sampler"]["steps"] == 7  # the suite
    assert values["sampler"]["reinit"] == 0.05  # the preset, beside a value that the suite sets
    assert values["batch_size"] == model.family.config().batch_size  # the default


def test_rows_are_unambiguous(project: Project) -> None:
    """A label that is another model's name would make ``models = [...]`` pick either."""
    text = BASE.replace(
        "[[evaluation]]",
        '[[model]]\nfamily = "gmmc-gen"\nbackbone = "wrn-10-1"\nlabel = "softmax"\nname = "other"\n[[evaluation]]',
    )
    found = messages(project, text)
    assert [(line, key) for line, key, _, _ in found] == [(11, "model[1].label")]
    named = text.replace('label = "softmax"', 'label = "base"').replace(
        'backbone = "wrn-10-1"', 'backbone = "wrn-10-1"\nname = "base"', 1
    )
    ((line, key, message, _),) = messages(project, named)
    assert (line, key, message) == (12, "model[1].label", "the label 'base' is the name of another model")


def test_where_models_start_is_checked_beside_other_mistakes(project: Project) -> None:
    text = BASE.replace(
        "[[evaluation]]",
        '[[model]]\nfamily = "gmmc-gen"\nbackbone = "wrn-10-1"\ninit_from = "softmaxx"\n'
        '[[model]]\nfamily = "jemm"\nbackbone = "wrn-10-1"\ninit_from = "jem"\n[[evaluation]]',
    )
    assert [(line, key) for line, key, _, _ in messages(project, text)] == [
        (11, "model[1].init_from"),
        (13, "model[2].family"),
    ]


IMPORTED = BASE.replace('family = "softmax"\n', 'family = "gmmc-joint"\nweights = "theirs"\n')


def test_settings_of_training_have_no_place_beside_imported_weights(project: Project) -> None:
    settings = (
        "epochs = 3\nlr = 0.1\nbeta = 0.5\nstart_generative = 1\nscale = 5\nseeds = [1, 2]\n"
        '[model.sampler]\nsteps = 9\nbuffer = 5\nlabels = "batch"\n[model.guard]\nrestarts = 1\n'
    )
    found = messages(project, IMPORTED.replace('backbone = "wrn-10-1"\n', f'backbone = "wrn-10-1"\n{settings}'))
    assert [(line, key) for line, key, _, _ in found] == [
        (9, "model[0].epochs"),
        (10, "model[0].lr"),
        (11, "model[0].beta"),
        (12, "model[0].start_generative"),
        (14, "model[0].seeds"),
        (17, "model[0].sampler.buffer"),
        (18, "model[0].sampler.labels"),
        (19, "model[0].guard"),
    ]
    assert {message for _, _, message, _ in found} == {
        "has no effect beside weights: they are not trained here",
        "imported weights are one run, other seeds would only repeat it",
    }


def test_what_sampling_and_read_outs_need_stays(project: Project) -> None:
    settings = 'scale = 5\nseeds = [3]\n[model.sampler]\nsteps = 9\nstep_size = 0.1\nmode = "inject"\nclamp = false\n'
    text = IMPORTED.replace('backbone = "wrn-10-1"\n', f'backbone = "wrn-10-1"\n{settings}')
    (model,) = load(project, text).models
    assert (model.weights, model.config.model_dump()["sampler"]["steps"]) == ("theirs", 9)
    assert not any("settings" in warning for warning in model.warnings)


def test_a_profile_may_say_how_others_are_trained(project: Project) -> None:
    """It is for all models of all suites: beside imported weights its settings of training concern nobody."""
    profile = (
        '[profile]\nname = "p"\n[model]\nepochs = 2\nlr = 0.1\nseeds = [1, 2]\n'
        "[model.gmmc-joint]\nstart_generative = 1\n[model.gmmc-joint.sampler]\nbuffer = 7\n[caps]\nepochs = 2\n"
    )
    (model,) = load(project, IMPORTED, profile).models
    assert model.config.epochs == 2


def test_a_module_is_not_trained_either(project: Project) -> None:
    text = BASE.replace('"softmax"\nbackbone = "wrn-10-1"', '"module"\ncallable = "json:loads"\nlr = 0.1')
    ((line, key, message, _),) = messages(project, text)
    assert (line, key) == (8, "model[0].lr")
    assert message == "has no effect: a module is not trained here"


def test_an_optimizer_is_a_name_or_a_table(project: Project) -> None:
    short = load(project, BASE.replace("[[evaluation]]", 'optimizer = "adam"\n\n[[evaluation]]'))
    assert short.models[0].config == load(project, BASE).models[0].config
    table = '[model.optimizer]\nkind = "sgd"\nmomentum = 0.9\n\n[[evaluation]]'
    (model,) = load(project, BASE.replace("[[evaluation]]", table)).models
    assert str(model.config.optimizer) == "sgd, momentum 0.9"
    wrong = '[model.optimizer]\nkind = "sdg"\nmomentun = 0.9\n\n[[evaluation]]'
    found = messages(project, BASE.replace("[[evaluation]]", wrong))
    assert [(key, hint) for _, key, _, hint in found] == [
        ("model[0].optimizer.kind", "did you mean 'sgd'?"),
        ("model[0].optimizer.momentun", "did you mean 'momentum'?"),
    ]
    beside = IMPORTED.replace('weights = "theirs"\n', 'weights = "theirs"\nschedule = "constant"\nclip = 1.0\n')
    assert {"model[0].schedule", "model[0].clip"} <= {key for _, key, _, _ in messages(project, beside)}
