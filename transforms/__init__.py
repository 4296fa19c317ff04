"""Stages of a Streamgauge pipeline: Beam-free kernels on Arrow batches, and thin PTransforms over them."""
