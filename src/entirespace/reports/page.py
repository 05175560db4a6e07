"""The report of `compare` as one HTML file, which needs no other files, no network and no scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..text import printable
from . import plots
from .comparison import Comparison
from .diagnosis import details
from .report import configuration, opening, tables, title
from .sections import Beside, Section

CAPTIONS = {
    "table2": """How well each method ranks the impressions, in two tasks. AUC is the probability that an impression
with a conversion gets a higher score than one without: 50 % is guessing, 100 % is perfect. The <b>CVR task</b> ranks
clicked impressions only. The <b>CTCVR task</b> ranks all impressions, clicked or not (the entire space): these are the
impressions that a bid is made for. Diamonds: means over seeds. Whiskers: one standard deviation. Dots: single
seeds.""",
    "against": """The AUC of each method minus the AUC of one method, seed by seed. A value above 0 (to the right of the
line) is better. Whiskers: 95 % intervals of Student's t over seeds. If they cross the line, the order may be different
after another training. They do not tell whether the order is the same for other users. Of many tests, some are
significant by chance: Holm's p value corrects for the number of tests.""",
    "users": """The same differences, of the mean AUC over seeds, tested in another way: would the order be the same for
other users? The interval is DeLong's, with all impressions of a user as one unit, because they are not independent. If
the log names no user, each impression is a unit. The trained networks are not varied here.""",
    "curve": """How AUC grows with the number of training impressions (the paper's Fig. 3). Each method is trained on
random shares of the training impressions, and always tested on the whole test part. Each share is contained in the
larger ones. Bands: one standard deviation over seeds.""",
    "learning": """Each method's loss on the validation part during training (its own, or what training.watch
names), relative to its first validation. If
the line goes up again, the network overfits; training then returns to the weights at the lowest point.""",
    "beyond": """AUC depends on the order of the predictions only. Log loss also depends on the probabilities; lower is
better. Predicted/observed is the sum of the predictions divided by the number of events: 1 is right on average; with
1.5, bids are 50 % too high. AUC inside users compares only impressions of the same user.""",
    "truth": """This log gives the true pCVR of every impression, also of impressions without a click. A method that
learns from clicked impressions only can be right on these and wrong on the others: this is the sample selection
bias.""",
    "truth-deciles": """The mean pCVR divided by the mean true pCVR, in ten groups of equal size by pCTR, the lowest
first. At 1 the method is right; above 1, its pCVR is too high. Compare the same method on impressions that were
clicked, on those that were not, and on all.""",
    "calibration": """How close predicted probabilities are to observed rates. ECE (expected calibration error): the
mean difference between prediction and observed rate over 50 bins with equal numbers of impressions; 0 is best.
Normalised entropy: the log loss divided by the log loss of predicting the mean rate for every impression; below 1 is
better than that. Predicted/observed is shown with its exact Poisson interval: if 1 is outside the interval, the
difference is not explained by chance. The pCTCVR for bids is the method's own, or, if it has none, the pCTR of the
reference CTR network times pCVR.""",
    "reliability": """The test impressions in ten groups of equal size, from the lowest to the highest prediction. On
the diagonal, the observed rate is the predicted one; below the diagonal, predictions are too high. Whiskers: 95 %
intervals of the observed rate.""",
    "deciles": """Calibration by the probability of a click: the impressions in ten groups of equal size by pCTR, the
lowest first. A method that is calibrated only on clicked impressions differs from 1 at the left, where clicks are rare.
Above 1, predictions and bids are too high.""",
    "histogram": """The distribution of the predicted pCVR on clicked and on un-clicked impressions. A method that
learns from clicked impressions only has never seen the un-clicked ones. If the log gives the true pCVR, its
distribution is shown, too.""",
    "segments": """Groups of impressions whose predictions differ from the observed rate significantly, those with the
largest difference first.""",
    "coefficients": """Two logistic regressions on the rates that were counted from the history, by the size of their
weights. A rate with a positive weight raises the probability. Rates that tell the same share their weight.""",
    "searched": """The methods whose rate or number of copies was chosen. Each value was trained; the tables show the
one with the best AUC on the part that the title names.""",
}


class Shown(NamedTuple):
    """A section as the page shows it: with a caption, a picture, or parts side by side."""

    section: Section
    caption: str
    picture: str | None
    beside: Sequence[Shown]

    @property
    def id(self) -> str:
        """The id of its element."""
        return re.sub(r"[^\w-]", "-", self.section.key)


def page(comparison: Comparison) -> str:
    """The HTML page of a comparison."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title(comparison),
        comparison=comparison,
        opening=opening(comparison),
        sections=[_shown(comparison, section) for section in [*tables(comparison), *details(comparison)]],
        configuration=configuration(comparison),
        repeat=_repeat(comparison),
    )


def _printable(value: object) -> object:
    """A value of the page. Text from data loses its control characters; our own HTML stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shown(comparison: Comparison, section: Section) -> Shown:
    beside = section.body.sections if isinstance(section.body, Beside) else ()
    parts = [_shown(comparison, part)._replace(caption="") for part in beside]
    return Shown(section, CAPTIONS.get(section.key.split()[0], ""), _picture(comparison, section), parts)


def _picture(comparison: Comparison, section: Section) -> str | None:
    match section.key.split(" ", 1):
        case ["table2"]:
            return plots.table2(comparison)
        case ["against", other]:
            return plots.against(comparison, other)
        case ["curve", task]:
            return plots.sampling_curve(comparison, task)
        case ["reliability", task]:
            return plots.reliability(comparison, task)
        case ["deciles", task]:
            return plots.by_decile(comparison, task)
        case ["truth-deciles", place]:
            return plots.over_truth_by_decile(comparison, place)
        case ["histogram"]:
            return plots.histogram(comparison)
        case ["learning"]:
            return plots.learning(comparison)
        case _:
            return None


def _repeat(comparison: Comparison) -> str:
    """The command that makes this report again, if the configuration values of the report are given to it."""
    seeds = ",".join(map(str, comparison.seeds)) + ("," if len(comparison.seeds) == 1 else "")
    methods = ",".join(line.label for line in comparison.methods)
    words = ["entirespace", "compare", comparison.dataset.path, "-o", "REPORT", "--seeds", seeds, "--methods", methods]
    if comparison.sampling_curve:
        words += ["--sampling-rates", ",".join(f"{100 * point.share:g}" for point in comparison.sampling_curve)]
    return shlex.join(words)
