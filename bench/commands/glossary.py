"""What `bench describe` answers about flags, verdicts, states, and metrics by their bare names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from bench.attacks import diagnostics, verdict
from bench.data.cifar_c import CORRUPTIONS

__all__ = ["FLAGS", "IMPLIED", "METRICS", "WORDS", "flag", "metric", "word"]

FLAGS: Mapping[str, tuple[Callable[..., object], ...]] = {
    "GRAD0": (diagnostics.gradient_flag,),
    "LOSSGAP": (diagnostics.loss_gap_flag,),
    "FLAT": (diagnostics.flat_flag,),
    "NOISE": (diagnostics.noise_flag,),
    "BLACKBOX": (diagnostics.blackbox_flag,),
    "UNBOUNDED": (diagnostics.unbounded_flag,),
    "ITER": (diagnostics.iter_flag,),
    "MINNORM": (diagnostics.minimal_norm_flag, diagnostics.contradiction_flag),
    "LOGITS": (verdict.logits_flag,),
    "RANDOM": (verdict.random_flag,),
    "DYNAMIC": (verdict.dynamic_flag,),
    "TRANSFER": (verdict.transfer_flag,),
    "COVERAGE": (verdict.coverage_flag,),
}
"""The flags, each with the functions that raise it; their docstrings define it."""

IMPLIED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("GRAD0", "LOSSGAP", "FLAT", "NOISE", "BLACKBOX"), ("masked", "inconclusive")),
    "MINNORM": ("inconclusive", "masked"),
}
"""Verdicts that a raised flag implies; those that are not listed imply ``inconclusive`` alone."""

WORDS: Mapping[str, tuple[str, str]] = {
    "masked": (
        (
            "The verdict (†) on a robust accuracy that is known to be too high: the gradients of the attack "
            "vanish and no loss with gradients confirms the number, or another attack breaks significantly "
            "more. It is never bold."
        ),
        "robustness.md#the-words-beside-a-number",
    ),
    "inconclusive": (
        (
            "The verdict (‡) on a robust accuracy or norm about which a question is open: the attack has not "
            "converged, a required check could not be made, or there are too few items to tell."
        ),
        "robustness.md#the-words-beside-a-number",
    ),
    "confirmed": (
        (
            "The verdict on a robust accuracy whose attack has vanishing gradients, while a loss whose "
            "gradients do not vanish leaves the same items robust."
        ),
        "robustness.md#the-words-beside-a-number",
    ),
    "no warning": (
        (
            "The verdict on a robust accuracy for which no check raised a flag. It is an upper bound like every"
            " other, and does not say that the model is robust."
        ),
        "robustness.md#the-words-beside-a-number",
    ),
    "n/a": (
        (
            "In place of a number: it does not exist, for the reason that the note below the table gives, such "
            "as missing files or a family that does not generate."
        ),
        "architecture.md#data-flow",
    ),
    "diverged": (
        "In place of a number: training was given up in the named epoch, after the restarts of its guard.",
        "faq.md#training",
    ),
    "damaged": (
        (
            "The state of a result whose record or one of whose files is missing or not as it was written; "
            "`bench run` makes it again."
        ),
        "architecture.md#store",
    ),
    "stale": (
        (
            "The state of a result that was made with other weights than those that the store has now; `bench "
            "run` makes it again."
        ),
        "architecture.md#store",
    ),
}
"""Words beside or in place of numbers: a definition, and the page of docs/ that says more."""

_ACCURACY, _CALIBRATION, _OOD = (
    "metrics.md#accuracy",
    "metrics.md#calibration",
    "metrics.md#out-of-distribution-detection",
)
_IMAGES, _NORMS, _LOSSES = (
    "metrics.md#generated-images",
    "robustness.md#norms",
    "robustness.md#the-evaluations-and-their-purposes",
)
_ROBUST = "robustness.md#the-threat-model"
_CORRUPTIONS = "robustness.md#corruptions"

METRICS: Mapping[str, tuple[str, str]] = {
    "accuracy": ("Share of test items whose largest logit is that of their class.", _ACCURACY),
    "apgd-ce": ("Accuracy after APGD on the cross-entropy, the first member of AutoAttack.", _ROBUST),
    "apgd-t": ("Accuracy after APGD-CE and APGD-T of AutoAttack.", _ROBUST),
    "fab-t": ("Accuracy after the members of AutoAttack that use gradients, before Square.", _ROBUST),
    "ece": ("Expected calibration error: mean gap between accuracy and confidence over 20 bins.", _CALIBRATION),
    "ece-15": ("Expected calibration error with 15 bins.", _CALIBRATION),
    "ece-20": ("Expected calibration error with 20 bins.", _CALIBRATION),
    "ece-left": ("Expected calibration error with bins [lo, hi).", _CALIBRATION),
    "ece-15-left": ("Expected calibration error with 15 bins [lo, hi).", _CALIBRATION),
    "ece-mass": ("Expected calibration error with bins of equal mass.", _CALIBRATION),
    "classwise-ece": ("Mean over classes of the calibration error of the probability of that class.", _CALIBRATION),
    "debiased-ece": ("Calibration error less its bias by noise within the bins, in part.", _CALIBRATION),
    "mce": ("Largest gap between accuracy and confidence of a bin with items.", _CALIBRATION),
    "ks": ("Largest cumulated gap between confidence and correctness, without bins.", _CALIBRATION),
    "nll": ("Mean of -log p of the true class, in nats.", _CALIBRATION),
    "brier": ("Mean squared distance between probabilities and the one-hot label, summed over classes.", _CALIBRATION),
    "aurc": ("Area under the risk-coverage curve: mean share of errors among the most confident items.", _CALIBRATION),
    "temperature": ("The temperature of the logits that minimises the NLL of validation items.", _CALIBRATION),
    "auroc": ("Probability that a test item has a higher score than an item of the other set; ties half.", _OOD),
    "fcd": (
        (
            "Fréchet distance between generated and training images in the features of a judge, a small "
            "classifier of this harness. It is not FID, and comparable within one table only."
        ),
        _IMAGES,
    ),
    "cs": ("Classifier score: the Inception score with the judge in the place of Inception.", _IMAGES),
    "kcd": ("Kernel distance between generated and training images in the features of the judge.", _IMAGES),
    "fid": ("Fréchet distance between generated and training images in the features of Inception.", _IMAGES),
    "is": ("Inception score: exp of the mutual information of image and predicted class.", _IMAGES),
    "kid": ("Kernel distance between generated and training images in the features of Inception.", _IMAGES),
    "precision": ("Share of generated images in a ball of a real one, in the features of a network.", _IMAGES),
    "recall": ("Share of real images in a ball of a generated one, in the features of a network.", _IMAGES),
    "density": ("Mean number of balls of real images that hold a generated one, divided by k.", _IMAGES),
    "coverage": ("Share of real images whose ball holds a generated one.", _IMAGES),
    "nearest": ("Median L2 distance of a generated image to the nearest training image; copies have 0.", _IMAGES),
    "agreement": ("Share of generated images that the judge assigns to the class they were made for.", _IMAGES),
    "ce": ("Accuracy under an attack on cross-entropy.", _LOSSES),
    "margin": ("Accuracy under an attack on the margin, the largest wrong logit less the true one.", _LOSSES),
    "worst-case": ("Accuracy under all losses of the attack: an item is robust if none of them broke it.", _LOSSES),
    "zero-gradient": (
        (
            "Share of the attack's starts at which the input gradient of its loss is exactly zero in float32, "
            "so that the attack cannot move. Above 1 % the flag GRAD0 is raised."
        ),
        "robustness.md#the-flags",
    ),
    "robust": ("Share of all attacked items on which the model is right and the attack found no success.", _ROBUST),
    "white-box": ("Accuracy under the attacks with the model's own gradients alone.", _LOSSES),
    "l2": ("Mean L2 norm of the perturbations that succeeded, over the model's own successes.", _NORMS),
    "median": ("Median L2 norm of the perturbations; failures count as infinite.", _NORMS),
    "error": ("Mean corruption error, unnormalised: mean share of errors under corruptions.", _CORRUPTIONS),
    "clean": ("Accuracy of the same items without corruption.", _CORRUPTIONS),
    "drop": ("Accuracy on clean images less the mean accuracy under corruptions.", _CORRUPTIONS),
    "severity": ("Mean accuracy under all corruptions at one severity, 1 to 5.", _CORRUPTIONS),
    **{
        name: (f"Accuracy under the corruption {name.replace('_', ' ')}, mean over severities or at one.", _CORRUPTIONS)
        for name in CORRUPTIONS
    },
    "success": ("Share of correctly classified items for which the attack found a perturbation.", _NORMS),
    "common": ("Mean L2 norm over the items on which every model of the table is right and was broken.", _NORMS),
    "bits": ("Bits per dimension of dequantised test images under an exact density.", "metrics.md#likelihood"),
    "real": ("Mean energy of a batch of real images before an update.", "metrics.md#other-numbers"),
    "sampled": ("Mean energy of a batch of sampled images before an update.", "metrics.md#other-numbers"),
}  # fmt: skip
"""Metrics by the last part of their names: a sentence, and the page of docs/ with the definition."""


def flag(name: str) -> list[str]:
    """A flag by its name in any case: what raises it, and what it implies; empty if there is none."""
    upper = name.upper()
    if upper not in FLAGS:
        return []
    texts = [" ".join(inspect.getdoc(raised).partition("\n\n")[0].split()) for raised in FLAGS[upper] if raised.__doc__]  # type: ignore[union-attr]
    implied = " or ".join(IMPLIED.get(upper, ("inconclusive",)))
    return [
        f"{upper}: a flag of robust accuracies and norms",
        *(text.partition(": ")[2][:1].upper() + text.partition(": ")[2][1:] for text in texts),
        f"raised, it implies: {implied}",
        "more: docs/robustness.md#the-flags",
    ]


def word(name: str) -> list[str]:
    """A word beside or in place of a number; empty if there is none."""
    if name.lower() not in WORDS:
        return []
    text, page = WORDS[name.lower()]
    return [f"{name.lower()}: a word beside or in place of a number", text, f"more: docs/{page}"]


def metric(name: str) -> list[str]:
    """A metric by the last part of its name; empty if it is not known."""
    found = METRICS.get(name) or METRICS.get(name.removeprefix("judge-"))
    if found is None:
        return []
    text, page = found
    return [f"{name}: a metric", text, f"more: docs/{page}"]
