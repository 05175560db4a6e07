"""The report of `compare` as one HTML file, which needs no other files, no network and no scripts."""

from __future__ import annotations

import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..text import printable
from . import plots
from .comparison import Comparison
from .diagnosis import details
from .report import configuration, sections, title
from .sections import Section

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
    "learning": """Each method's own loss on the validation part during training, relative to its first validation. If
the line goes up again, the network overfits; training then returns to the weights at the lowest point.""",
    "beyond": """AUC depends on the order of the predictions only. Log loss also depends on the probabilities; lower is
better. Predicted/observed is the sum of the predictions divided by the number of events: 1 is right on average; with
1.5, bids are 50 % too high. AUC inside users compares only impressions of the same user.""",
    "truth": """This log is simulated, so the true pCVR of every impression is known, also of impressions without a
click. No real log has it. A method that learns from clicked impressions only can be right on these and wrong on the
others: this is the sample selection bias.""",
    "calibration": """How close predicted probabilities are to observed rates. ECE (expected calibration error): the
mean difference between prediction and observed rate over 50 bins with equal numbers of impressions; 0 is best.
Normalised entropy: the log loss divided by the log loss of predicting the mean rate for every impression; below 1 is
better than that. Predicted/observed is shown with its exact Poisson interval: if 1 is outside the interval, the
difference is not explained by chance.""",
    "reliability": """The test impressions in ten groups of equal size, from the lowest to the highest prediction. On
the diagonal, the observed rate is the predicted one; below the diagonal, predictions are too high. Whiskers: 95 %
intervals of the observed rate.""",
    "deciles": """Calibration by the probability of a click: the impressions in ten groups of equal size by pCTR, the
lowest first. A method that is calibrated only on clicked impressions differs from 1 at the left, where clicks are rare.
Above 1, predictions and bids are too high.""",
    "histogram": """The distribution of the predicted pCVR on clicked and on un-clicked impressions. A method that
learns from clicked impressions only has never seen the un-clicked ones. For a simulated log, the distribution of the
true pCVR is shown, too.""",
    "segments": """Groups of impressions whose predictions differ from the observed rate significantly, those with the
largest difference first.""",
    "searched": """The methods whose rate or number of copies was chosen. Each value was trained; the tables show the
one with the best AUC on the part that the title names.""",
}


def page(comparison: Comparison) -> str:
    """The HTML page of a comparison."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    found = sections(comparison) + details(comparison)
    shown = [(s, CAPTIONS.get(s.key.split()[0], ""), _picture(comparison, s)) for s in found]
    learned = plots.learning(comparison)
    if learned:
        shown.append((Section("learning", "Learning curves", ""), CAPTIONS["learning"], learned))
    return environment.get_template("page.html").render(
        title=title(comparison),
        comparison=comparison,
        sections=shown,
        configuration=configuration(comparison),
        repeat=_repeat(comparison),
    )


def _printable(value: object) -> object:
    """A value of the page. Text from data loses its control characters; our own HTML stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _picture(comparison: Comparison, section: Section) -> str | None:
    kind, _, what = section.key.partition(" ")
    if kind == "table2":
        return plots.table2(comparison)
    if kind == "against":
        return plots.against(comparison, what)
    if kind == "curve":
        return plots.sampling_curve(comparison, what)
    if kind == "reliability":
        return plots.reliability(comparison, what)
    if kind == "deciles":
        return plots.by_decile(comparison, what)
    if kind == "truth" and what:
        return plots.over_truth_by_decile(comparison, what)
    if kind == "histogram":
        return plots.histogram(comparison)
    return None


def _repeat(comparison: Comparison) -> str:
    """The command that makes this report again, if the configuration values of the report are given to it."""
    seeds = ",".join(map(str, comparison.seeds)) + ("," if len(comparison.seeds) == 1 else "")
    methods = shlex.quote(",".join(line.label for line in comparison.methods))
    dataset = shlex.quote(comparison.dataset.path)
    words = ["entirespace compare", dataset, "-o REPORT", f"--seeds {seeds}", f"--methods {methods}"]
    if comparison.sampling_curve:
        shares = ",".join(f"{100 * point.share:g}" for point in comparison.sampling_curve)
        words.append(f"--sampling-rates {shares}")
    return " ".join(words)
