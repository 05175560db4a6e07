"""What names of columns and files usually mean. Names are split into words: "isClick" and "is_click" are is, click."""

from __future__ import annotations

import re


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLICK = _set("click clicked clicks clk visit visited open opened tap tapped")
CLICK_WEAK = _set("dec decision accept accepted view viewed read responded response rated engaged")
CONVERSION = _set(
    "conversion conversions converted convert conv purchase purchased purchases buy bought booking booked book order "
    "ordered orders transaction sale sold install installed signup subscribe subscribed subscription match matched pay "
    "paid payment checkout deposit"
)
CONVERSION_WEAK = _set(
    "cart like liked follow followed complete completed acknowledged acted favorite favourite fav share shared apply "
    "applied lead engage"
)
OUTCOME = _set("comment forward hate dislike dwell watch watched play played spend spent revenue gmv enter")
"""Words of columns that are usually known only after the impression, beside those of labels."""
FILLER = _set("is has was did bool flag label ind indicator y n tag binary num")
"""Words beside the word of a label that do not make it another thing."""
NOT_A_LABEL = _set(
    "id ids key hist history historical past prev previous last prior before avg mean rate ratio ctr cvr total window "
    "days price cost cat category type name code uuid"
)
LEVELS = _set("status label target outcome action event feedback result behavior behaviour stage state")
NOTHING = _set("none no nothing ignored ignore impression imp shown show exposure expose pv sent skip")
"""Words of the level of an impression without a click."""
RATING = _set("rating ratings stars star score")
TIME = _set("time timestamp ts date datetime dt day at t when epoch created ms utc")
SEQUENCE = _set("t ts time timestamp step seq sequence tick")
NOT_THE_TIME = _set(
    "birth born birthday dob release released upload uploaded publish published expire expiry updated register "
    "registered registration join joined checkin checkout first last end arrival departure age"
)
"""Words of times that are no time of the impression."""
ID = _set("id ids idx key code uuid guid no hash sk")
CATEGORY = _set(
    "categorical cat category categories type group class flag bool is has zip zipcode postcode code gender sex city "
    "country region state brand channel os segment version tab slot onehot hour hourmin weekday dow month shop store "
    "seller author profile merchant publisher advertiser site domain"
)
QUANTITY = _set(
    "num numerical number count cnt price amount score rate ratio age duration length size days distance usd eur "
    "income tuition value sum avg mean total weight height recency frequency history"
)
COUNTED = _set("numerical num count cnt price amount age")
"""Words of numbers that are quantities also where they have few different values."""
TALLY = _set("cnt count counts rate ctr cvr")
"""Words of counts and rates, of outcomes or of others."""
LISTS = _set("tags tag genres genre categories ids list seq sequence keywords features")
USER = (
    *("user", "uid", "userid", "customer", "member", "buyer", "consumer", "client", "visitor", "account", "viewer"),
    *("reader", "subscriber", "recipient", "driver", "person", "iid", "device", "cookie"),
)
ITEM = (
    *("item", "itemid", "movie", "video", "product", "goods", "prop", "property", "hotel", "listing", "ad", "creative"),
    *("adgroup", "article", "news", "song", "track", "sku", "book", "offer", "banner", "pid", "iid", "restaurant"),
    *("app", "photo", "post", "partner", "campaign"),
)
"""Best first."""
SESSION = _set("search srch session sess request query page log event transaction bag auction")
IMPRESSION = _set("impression imp log event request row record exposure")
GROUP = _set("wave week day month round period season phase")
"""Words of columns whose whole numbers are in the order of time."""
TRAIN, TEST = _set("train training tr"), _set("test testing eval holdout")
VALIDATION = _set("val valid validation dev")
PART = _set("part parts split splits fold folds kfold partition subset dataset")
"""Words of columns that divide the log into parts."""
PART_FILLER = _set("data cv k name type")
CONVERSION_TABLE = CONVERSION | _set("installs sales transactions bookings signups")


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case. Digits are words of their own.

    >>> words("isClick"), words("Email_Status"), words("signup_date2"), words("userID")
    (('is', 'click'), ('email', 'status'), ('signup', 'date', '2'), ('user', 'id'))
    """
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+", name)
    return tuple(part.lower() for part in parts)


def stage(name: str) -> tuple[str, int] | None:
    """(stage whose label a name suggests, how surely: 1 to 4), or None.

    >>> stage("is_click"), stage("booking_bool"), stage("srch_booking_window"), stage("long_view"), stage("user_id")
    (('click', 4), ('conversion', 4), None, ('click', 1), None)
    """
    mine = set(words(name))
    if mine & NOT_A_LABEL:
        return None
    strong = {"conversion": mine & CONVERSION, "click": mine & CLICK}
    weak = {"conversion": mine & CONVERSION_WEAK, "click": mine & CLICK_WEAK}
    other = mine - FILLER - CONVERSION - CLICK - CONVERSION_WEAK - CLICK_WEAK
    for found, sure in ((strong, 3), (weak, 1)):
        for name_of_stage, some in found.items():
            if some:
                return name_of_stage, sure + (not other)
    return None


def role(name: str, known: tuple[str, ...]) -> int | None:
    """How good a name is for a role: the place of its word in the list, 0 is best; None: it is another name.

    >>> role("user_id", USER), role("visitor_location_country_id", USER), role("movieId", ITEM)
    (0, None, 2)
    """
    mine = words(name)
    rest = tuple(w for w in mine if w not in ID)
    if len(rest) == 1 and rest[0] not in known and rest[0].endswith("id"):
        rest = (rest[0].removesuffix("id").rstrip("_"),)
    return known.index(rest[0]) if len(rest) == 1 and rest[0] in known else None
