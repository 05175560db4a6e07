"""The report of `compare` as one HTML file that needs nothing else: no network, no scripts."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import plots
from .comparison import Comparison
from .diagnosis import details
from .report import configuration, sections, title
from .sections import Section

CAPTIONS = {
    "table2": """How well each method puts what will convert above what will not, for each of two tasks. AUC is the
chance that an impression that converted scores above one that did not: 50 % is guessing, 100 % is
perfect. The <b>CVR task</b> looks at clicked impressions only, as most systems do; the <b>CTCVR
task</b> looks at all impressions, the entire space, on which a bid is made. Diamonds: means over
seeds; whiskers: one standard deviation; dots: single seeds.""",
    "against": """The same AUCs as differences, seed by seed, to one method: right of the line is better. Whiskers: 95
% intervals of Student's t over seeds. Where they cross the line, another training might turn the
order round. They say nothing of whether other users would. Many tests find
something by chance: Holm's p value makes up for their number.""",
    "users": """The same differences of the AUCs' means over seeds, asked another way: if other users had come, would
the order stand? DeLong's interval with the impressions of a user taken together, for they are alike; over
impressions where the log names no user. The trained networks stay as they are.""",
    "curve": """What more data is worth (the paper's Fig. 3): each method trained on random shares of the training
impressions, always tested on the same test part. The shares are nested. Bands: one standard
deviation over seeds.""",
    "learning": """Each method's own loss on the validation part, relative to its first look. A line that turns up has
begun to learn its training data by heart; training goes back to the lowest point.""",
    "beyond": """Log loss punishes wrong probabilities, not only wrong orders. Predicted/observed is the sum of
predictions over the number of events: 1 is right in the mean, 1.5 bids half too much. AUC in users
compares only what one user saw.""",
    "truth": """This log is simulated, so the true pCVR of every impression is known, also where nobody clicked: no
real log can tell. A method that learned from clicked impressions alone may be right there and wrong
elsewhere: that is the sample selection bias.""",
    "calibration": """Is a predicted probability the rate that is observed? Expected calibration error: how far
predictions are from the observed rate, in the mean over 50 bins of equal size; 0 is best. Normalised entropy: log loss
over what predicting the mean for everyone would cost; below 1 is better than that. Predicted/observed with the
exact interval of a Poisson count: where it leaves out 1, chance does not explain the gap.""",
    "reliability": """The test impressions in ten equal groups, from the lowest prediction to the highest. On the
diagonal, what is predicted is what happens; below it, the method promises too much. Whiskers: 95 % intervals of the
observed rate.""",
    "deciles": """The same question along the axis on which selection works: the impressions in ten groups by how
likely a click is. A method that is right on clicked impressions only bends away from 1 at the left, where few click.
Above 1: too high, bids too much.""",
    "histogram": """How the predicted pCVR spreads over impressions that were clicked and over those that were not. A
model that learned from clicked impressions alone has never seen the second kind. On a simulated log
the true spread stands beside it.""",
    "segments": """Groups whose predictions are further from what was observed than chance explains, those furthest
off first.""",
    "searched": """Methods with a rate to choose were trained with each; the best on the part named above stands in the
tables.""",
}


def page(comparison: Comparison) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
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
    """The command that makes this report again, with the configuration below in report.toml."""
    seeds = ",".join(map(str, comparison.seeds)) + ("," if len(comparison.seeds) == 1 else "")
    methods = ",".join(f"'{line.label}'" for line in comparison.methods)
    words = ["entirespace compare", comparison.dataset.path, "-o REPORT", f"--seeds {seeds}", f"--methods {methods}"]
    if comparison.sampling_curve:
        shares = ",".join(f"{100 * point.share:g}" for point in comparison.sampling_curve)
        words.append(f"--sampling-rates {shares}")
    return " ".join(words)
