"""The protocol of Burda, Grosse & Salakhutdinov (2015), up to its sixth and its seventh stage of eight."""

from dataclasses import replace

from condkl_studies.plans import LATER, Study, epoch

#: Epochs until a stage ends. A run of seven stages is one of six that goes on.
EPOCHS = {"six_stages": 364, "seven_stages": 1093}
ONE, TWO = (50,), (50, 100)
PROTOCOL = replace(
    LATER,
    data="mnist_whole",
    batch_size=20,
    learning_rate=1e-3,
    every=3000,  # an epoch
    gradient_batches=0,
    validate_every=13,
    likelihood_images=10_000,
    likelihood_samples=5000,
)
STUDY = Study(
    "The published protocol: batches of 20, all 60,000 images, a rate that falls in stages, 5,000 draws on all test "
    "images. One layer, and two layers by the full gradient and by {eq}`eq-9`, with $p(x \\given u)$ and one seed, for "
    "364 and for 1,093 of its 3,280 epochs.",
    tuple(
        replace(PROTOCOL, schedule=schedule, steps=epochs * epoch(PROTOCOL), latents=latents, objective=objective)
        for schedule, epochs in EPOCHS.items()
        for latents, objective in ((ONE, "full"), (TWO, "full"), (TWO, "modified"))
    ),
    open=True,
)
