"""Writes docs/protocol.md from the schemas that the harness itself reads: ``python docs/make_protocol.py``.

``tests/test_docs.py`` fails if the file is out of date.
"""

from __future__ import annotations

from pathlib import Path

from bench.commands.describe import inline
from bench.evaluate.base import EVALUATIONS
from bench.spec import FAMILIES, PRESETS_OF_ALL, Setting, settings

HEAD = """\
# Protocol

Made by `python docs/make_protocol.py` from the schemas that the harness reads; do not edit by hand.

Every setting with its default, what the paper states (that of the family where it is another one than GMMC's), what
released code does, and why the default is what it is.
`bench describe <name>` prints the same. A preset bundles settings: `preset = "paper"` gives the paper's literal values.

## What paper and code disagree on, beyond single settings

- **Logits of GMMC** are -0.5 ||phi(x) - mu_y||^2, that is gamma^2 = 1, as in the code. The paper's Eq. 11 divides by
  the estimated gamma^2; that is the read-out `paper`. A temperature fitted on validation data and the linear simplex
  read-out stand beside both.
- **The energy of samples** is measured to mu_{y'}, not to the drawn z (code; the paper's Algorithm 1 leaves it open).
- **log p(x)** is a stable log-sum-exp; the code's loses everything beyond a squared distance of about 207.
- **Labels of the buffer** start aligned with their class partitions; the code draws them at random before seeding.
- **Divergence**: the codes compare |L| > 1e8, which NaN passes, and go on or exit silently. Here it is a result.
- **Validation**: 5,000 training images (200 of the digits), chosen by the data seed; never the test set. Accuracies are
  therefore those of 45,000 training images.
- **Softmax baseline**: JEM's script with the p(x) term off, on JEM's schedule, not its `clf_only` switch, which trains
  the head alone.
- **Evaluation noise** is 0 for all (JEM's evaluation adds 0.03).
- **Class centers**: ours are Algorithm 2 in closed form. The authors run its recursion in float32, where the last
  diagonal entry, the root of a radicand that is zero but for rounding, comes out as 0.006 for 10 classes and 0.010 for
  100 (S = 10, d = 640); here it is exactly 0. Every other entry agrees to 1e-5. It is the only difference beyond
  rounding that a comparison of their training with ours has found.
- **Dis**: the authors' current script is another training than the paper's: SGD with Nesterov momentum 0.9 at a rate of
  0.03, decays by 0.2 at 50, 80, 100, 120, weight decay 4e-4, batch normalisation, no input noise; it calls a file that
  was deleted in January 2022. Here it is Adam at 1e-4 without normalisation, as in the paper and in the first release.
- **PGD** in [0, 1], uniform start, step eps/30, one restart, final iterate, cross-entropy on raw logits: defaults of
  the library that JEM used, because the paper states only "40 steps"; the margin loss stands beside it. JEM's own
  attack did more: it took the mean logits of 5 copies of the image with noise of 0.03, made 20 tries, of which the last
  one counted and not the best, and searched for the smallest eps of each image, on 300 images of which those classified
  correctly were attacked. It ends in curves over distances and in no accuracy at a fixed eps.
- **C&W** is untargeted, L2 over pixels in [0, 1]; constants are not stated in the paper.

## What the preset `paper` cannot take literally

- **Step and gamma of the sampler.** The paper steps by alpha = 1 along the gradient of ||phi(x) - z||^2 / (2 gamma^2)
  and estimates gamma^2 after training, when the sampler no longer needs it. With the 0.001 of the code, 1 / gamma^2
  would make that step a million times as long. The preset steps by 1 on 0.5 ||phi(x) - z||^2 of each image, with gamma
  = 0.001 in the target alone; `gamma_source = "running"` estimates it during training. The code's step is 1 on the mean
  of a batch of 64, that is 1/64 on each image: the default.
- **The schedule of CIFAR100.** A preset does not know the data: set `decay_epochs = [120, 140]` there. Tables hold each
  model against the schedule of its data set.
- **What is not stated**: warm-up, batch size, input noise, augmentation, the validation split, and which epoch counts.
  They are those of the code. Clamping is not mentioned: the preset leaves it off, the code clamps after every step.
- **Joint training** scales beta up from 0; the shape is not stated. It is a hard switch, as in the code, or a ramp
  (`ramp_epochs`). There is no preset for it: epochs and switch of Fig. 6 are the defaults.
- **Probabilities** by Eq. 11 with the estimated gamma^2 are the read-out `paper`. Accuracy, attacks, log p(x) and OOD
  scores use gamma^2 = 1, as the code does everywhere. Another gamma^2 changes no decision, but log p(x), confidences
  and the gradients of cross-entropy.
- **IS and FID**: the paper names neither the number of images nor how they were chosen.

## JEM++ and SADA-JEM

Of both papers the abstract could be read, and of SADA-JEM's the introduction; what follows is the released code. Its
READMEs say that the scripts train "as in the paper", so values of the scripts stand in the column `paper`. The preset
`paper` of JEM++ has M = 20, for which its highest accuracy is quoted; script and released weights have M = 10. The
preset `code` of SADA-JEM has the default of `train_sadajem.py`, 10 steps; its script, here `paper`, has 5.

- **Proximal SGLD** clamps each component of the gradient to [-1, 1] before the step, so that a step stays in an L_inf
  ball, and then the image to [-1, 1]. There is no noise. Nothing is projected onto a ball around the start of the
  chain.
- **PYLD.** JEM++ applies each gradient 5 times with a step of 0.2 and differentiates the first layer anew before each.
  The first layer is a convolution, whose derivative does not depend on the image, so that the five moves are one of
  length 1 (a test compares them). The sampler of JEM++ with M = 10 is therefore that of SADA-JEM with 10 steps. The
  code also accumulates a gradient of the first layer at the end of the sampler, which it clears before the update.
- **Starts.** Mean and covariance (divided by n, plus 1e-4 on the diagonal) of the pixels of each class, from training
  images. New chains are clamped draws of a class that is chosen uniformly. JEM++ provides the matrices as files, and
  the function that would make them loads where it should save; it would use augmented, noisy images. SADA-JEM's
  function uses clean ones, but needs a missing module. Here they are estimated from clean images of the training
  split, before training or, beside imported weights, when a suite first uses the model. They are part of the weights:
  378 MB for CIFAR10, 3.8 GB for CIFAR100. `start = "uniform"` does without; imported weights always have them.
- **Batch normalisation.** The code leaves it in training mode in the sampler, in training and when it draws samples
  from a trained model. Here, too (`batch_statistics`), with one pass for each of real images, samples and labelled
  images; JEM++ makes that of real images before the sampler, which changes running means by about 1 %. As the newest
  batch has weight 0.9, running means are nearly those of the last labelled batch.
- **Samples of a trained model** may not depend on each other here. So each chain shares its statistics with chains of
  its own (`companions`, 15), whose draws depend on seed and index of the image alone; a sample costs 16 chains. With
  running means it would cost one, but such chains leave the data: on digits their FCD is 68 (JEM++) and 41 (SADA-JEM),
  beside the 6.2 and 7.0 below.
- **Sharpness-aware steps.** SADA-JEM's first step is adaptive if rho is at least 0.5, and its default is 2. The
  samples are those of the first pass. The second pass does not change running statistics.
- **Streams.** In SADA-JEM the labelled stream defines the epoch, with batches of 128, and that of p(x) has batches of
  64 without augmentation and noise. Here all streams have one `batch_size`, 64, so that an epoch has nearly twice as
  many updates.
- **Selection.** SADA-JEM trains on all training images and selects by test accuracy; here by validation accuracy.
- **Released weights** are imported by `bench import --format jem-pp` and `--format sada-jem`. The files of JEM++ have
  every layer under two names; files in which they differ are refused.

On the 8x8 digits both train in half a minute on one core, in less time than JEM needs there, with the papers' learning
rate:

```toml
[[model]]
family   = "jem-pp"
backbone = "wrn-10-1-batch"
epochs       = 14
warmup       = 0
decay_epochs = [8, 12]
[model.sampler]
buffer = 1_000

[[model]]
family   = "sada-jem"
backbone = "wrn-10-1-batch"
epochs       = 18
warmup       = 0
decay_epochs = [11, 15]
[model.sampler]
buffer = 1_000
```

On data seed 2, as means over three seeds: accuracy 98.8 % for both (98.2 to 99.2 % and 98.5 to 99.5 %); log p(x) ranks
uniform noise below digits with an AUROC of .998 and .997. Samples are recognisable, but so are the starts of the
chains, because Gaussians of 8x8 pixels are. In the features of the judge, the FCD of the starts is 13.4; that of the
buffer is 4.3 (JEM++) and 4.0 (SADA-JEM), that of fresh samples 6.2 and 7.0, and that of test images 3.0.

## What of IGEBM is the paper's, and what is not

Read were the released code, `openai/ebm_code_release`, and a re-implementation, `rosinality/igebm-pytorch`. The paper's
appendix with the settings could not be read: what is below "paper" is what the re-implementation takes from it.

- **The same**: the loss (contrast of energies, and alpha times the mean squares of both), the Langevin step in its
  order (noise, gradient, clip of its elements, step, clamp), the buffer with 5 % restarts from uniform noise, one power
  iteration of spectral normalisation for each update, Adam without a first moment and its clip of gradients.
- **Network**: a backbone of this harness with a linear head, as for every family. The paper's is a ResNet with the sum
  of features over positions in place of their mean, and with second convolutions of its blocks that begin near zero and
  whose singular values may be below 1.
- **Conditioning**: a row of the linear head for each class, E(x, y) = -(w_y phi(x) + b_y), so that one pass gives the
  energies of all classes. The paper has a scale and a bias for each class in every residual block.
- **Scale**: images are in [-1, 1] inside of models; the code has [0, 1]. Step, clip and noise are converted.
- **Buffer**: an advanced chain returns to its slot, as in every family here. The code appends to a ring of 50,000 with
  8 bits a pixel; the paper has 10,000 images. Its buffer keeps no classes: a chain continues for whatever class the
  real batch has (`sampler.chains = "any"`).
- **Classification** is the lowest energy of the image as it is. The code first takes 10 Langevin steps for each class
  within 8/255 of the image.
- **log p(x) of the conditional model** is the log-sum-exp over classes; the code's OOD score is the lowest energy.
- **Noise on real images** is uniform over a grey level in the code, and Gaussian here.
- **Not here**: training on many machines, and the losses `logsumexp` and `softplus`, which its README does not use.
- **Calibration**: energies of real images and of samples differ by about 1 at most, because alpha = 1 holds them near
  0. The probabilities of classes are therefore nearly uniform until a temperature is fitted.

On the digits of scikit-learn, in about the passes of JEM's recipe in `suites/digits.toml` for the conditional model and
half of them for the other one:

```toml
[[model]]
family   = "igebm"
backbone = "wrn-10-1"
epochs     = 25
batch_size = 64
lr         = 3e-3
schedule   = "cosine"
[model.sampler]
steps  = 8
buffer = 1_000

[[model]]
family   = "igebm-conditional"
backbone = "wrn-10-1"
epochs     = 40
batch_size = 64
lr         = 3e-3
schedule   = "cosine"
[model.sampler]
steps  = 8
buffer = 1_000
```

One training of each, data seed 2: the AUROC of log p(x) against uniform noise is 1.000 for both. The samples are
recognisable digits, those of the conditional model mostly of their class, in the buffer and after 100 steps from noise.
The conditional model classifies 92.4 % of the 397 test digits, less than the other families: its loss never compares
the classes of an image (the paper's model reaches 49.1 % on CIFAR10). On another split (data seed 0) recipes with 10
and with 5 steps reached 95.7 and 96.2 %, the latter with a buffer of unfinished images.

## Where the quoted numbers come from

`results/literature/` has one file for each source; a project's own files of that folder come first. A table of a suite
takes a whole source or one table of it: `literature = ["gmmc-2021/Table 5"]`. Each row names its table and data set,
the number of test items where it is known, and what a reader must know to use it (`caveat`).

- **`gmmc-2021`**: Tables 1, 2, 3, 5, 7, 8, 9, 10 and Fig. 4 of the GMMC paper, as printed: single runs without
  intervals. Page numbers are not given, because the text that was read has none.
- **Numbers of others in it.** Most rows of Tables 1 and 3 are not the paper's own measurements; what agrees with the
  JEM paper says so, as do softmax and JEM on CIFAR100 in Table 9, which the paper presents as its own.
- **Two accuracies.** Table 1 and Table 5 print different clean accuracies of the same models (94.08 and 94.13 % for
  GMMC), so at least two checkpoints or two evaluations are behind them. Here a model has one accuracy everywhere.
- **Numbers to be wary of.** In Table 5 GMMC's accuracy hardly falls from 4/255 to 32/255. In
  Table 7 an untargeted norm of GMMC (Gen) exceeds the targeted one. In Table 3 the maximum probability of GMMC (Gen)
  is below chance on CelebA. They are quoted as printed.
- **Table 10.** Here updates count from 0 and energies are taken before each. The paper's iteration 1 stands at update
  0: its samples have the lowest energies of all, as those of a classifier that was never updated against samples, and
  its real images have nearly the energy printed for the time before the switch. The number before the switch is a row
  of its own, `gmmc-2021/Table 10, before the switch`. The step counts over two columns and one sign were not legible
  with certainty; the row's caveat says which. One number was lost and is left out.
- **`successors`**: JEM++, SADA-JEM and DAT. `secondary` names what was read where it is not the paper of the method.
  Robust accuracies are those of AutoAttack, with a column for each threat model: `autoattack@8/255` is L_inf,
  `autoattack-l2@0.5` is L2. Numbers without a source that could be read are left out, among them SADA-JEM with more
  than 5 steps and the AUROCs of JEM++ whose score is not named.

## MMC, and the WRN with batch normalisation

Of the paper of MMC (Pang et al. 2020) the abstract could be read. The column `paper` has what is known of it from the
README of the authors' repository (P2333/Max-Mahalanobis-Training) and from others who quote it, `code` what the
repository does.

- **Factor of the loss.** The code minimises the mean of ||z - mu_y||^2, and its logits are -||z - mu_k||^2, without the
  half of GMMC; so here. A half would be a learning rate half as large and a weight decay twice as large.
- **Weight decay.** The code adds 1e-4 times the squared norm of the kernels of convolutions to the loss, 2e-4 in the
  gradient. Here the decay applies to all parameters: biases, normalisation and the linear layer, too. The README does
  not mention it, and the preset `paper` has none.
- **Schedule.** The code asks for an epoch above 100 and 150, counted from 0: the preset `code` has 101 and 151.
- **Network.** The authors train ResNet-32 and ResNet-110 (v2, 256 features) with batch normalisation, on images from
  which the mean image is subtracted. Here it is a Wide-ResNet on the [-1, 1] scale; `backbone = "wrn-28-10-batch"` has
  the normalisation. Without it the learning rate may be too large: on digits the guard of one run tripped five times,
  and not at 0.003.
- **Augmentation.** The code shifts by up to 10 %, repeats border pixels and flips; here the data set's own.
- **log p(x)** is the log-sum-exp of the logits, a mixture of Gaussians of variance 1/2 in the space of z. MMC was not
  proposed as a density. Its loss is that of GMMC (Dis) up to the factor, which the GMMC paper reads as maximum
  likelihood (Eq. 5), and so it is read here. Cross-entropy does not change if a function of x is added to all logits;
  this loss does, so training determines log p(x).
- **Attacks.** Logits are large, and cross-entropy has hardly a gradient: at 51/255 PGD with it leaves 86 % of 100
  digits and is marked masked, `adaptive` leaves none of 40. The authors, too, attack with other losses.
- **Read-outs** are those of GMMC: `code` is the softmax of the logits, `paper` has the estimated gamma^2 (GMMC paper,
  Eq. 11).

**WRN with batch normalisation.** The GMMC paper quotes its 95.8 % from the JEM paper. How that network was trained
could not be read; JEM's code has options for it (`--norm batch`, `--optimizer sgd`) and no command. The preset `wrn-bn`
of `softmax` is the training of Zagoruyko and Komodakis (2016), read in their code (szagoruyko/wide-residual-networks):
SGD with Nesterov momentum 0.9, weight decay 5e-4, learning rate 0.1, times 0.2 at 60, 120 and 160 of 200 epochs,
batches of 128, no noise. A preset does not set the network: add `backbone = "wrn-28-10-batch"`.

- Their code counts epochs from 1 and drops at the beginning of epoch 60, which is 59 counted from 0.
- The network is JEM's, not theirs: biases, LeakyReLU(0.2), PyTorch's initial weights, and batch normalisation whose
  running means give the newest batch a weight of 0.9 (theirs 0.1). They normalise by mean and standard deviation, train
  on all 50,000 images, and keep the last epoch.
- The GMMC paper states no training for this row. Deviations below tables are those from its softmax without
  normalisation.

On the 8x8 digits:

```toml
[[model]]
family       = "mmc"
backbone     = "wrn-10-1-batch"
epochs       = 20
decay_epochs = [12, 17]

[[model]]
family       = "softmax"
label        = "WRN w/ BN"
preset       = "wrn-bn"
backbone     = "wrn-10-1-batch"
epochs       = 30
decay_epochs = [15, 22, 27]
```

Of the 397 test digits of data seed 2, seeds 1, 2 and 3 of MMC classify 99.0, 99.2 and 99.2 %, those of the WRN 98.2,
99.2 and 98.7 %. The AUROC of MMC's log p(x), digits against uniform noise, is .962, .994 and .994. One seed of both
takes 20 seconds of one core. `tests/models/test_mmc_recipe.py` runs it.
"""


def main() -> None:
    """Write the file."""
    (Path(__file__).parent / "protocol.md").write_text(protocol(), encoding="utf-8")


def protocol() -> str:
    """The page."""
    parts = [HEAD]
    parts.append("## Families\n")
    parts += [f"- preset `{name}` of every family: {inline(values)}" for name, values in PRESETS_OF_ALL.items()]
    parts.append("")
    for family in FAMILIES.values():
        parts.append(f"### {family.label} (`{family.name}`)\n\n{family.summary} Source: {family.source}.\n")
        if family.presets:
            parts += [f"- preset `{name}`: {inline(values)}" for name, values in family.presets.items()]
            parts.append("")
        parts.append(_table(settings(family.config)))
    parts.append("## Evaluations\n")
    for evaluation in EVALUATIONS.values():
        parts.append(f"### `{evaluation.name}`\n\n{evaluation.summary} Source: {evaluation.source}.\n")
        parts.append(_table(settings(evaluation.Config)))
    return "\n".join(parts)


def _table(rows: list[Setting]) -> str:
    lines = ["| setting | default | what it is | paper | code | why |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [f"`{row.key}`", f"`{inline(row.default)}`", row.description, row.paper, row.code, row.why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
