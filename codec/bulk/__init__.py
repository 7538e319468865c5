"""Archives too large for one machine: every picture below SRC becomes a .lat file below DST, or in tar shards there.

SRC and DST are fsspec paths (a folder, s3://…, gs://…). One driver; many workers, each a process of one thread:

    list SRC, less what DST has ──► batches of names ──► Worker: read ahead, encode, write, log ──► Row a picture

Only names and rows travel between driver and workers. Where workers run is the pool's business: processes of this
machine (`LocalPool`) or actors of a Ray cluster (`RayPool`). A worker that dies costs the batch it had, which is
tried again in halves, down to the picture that takes its worker along: a failed row like any other.
"""
