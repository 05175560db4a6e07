"""A bundle -> scores, without torch.

from entirespace.serving.bundle import Bundle

bundle = Bundle.open("bundle")
p = bundle.predict(frame)          # p.pctr, p.pcvr, p.pctcvr: float32 (N,)
"""
