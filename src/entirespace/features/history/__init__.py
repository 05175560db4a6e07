"""History: the click and conversion rates of the ids of an impression, as features that do not know its outcome."""
