"""The diffusers engine: runs open-weight models on this machine's GPUs, or on the CPU.

    engine > adapters (request to call) | pool > worker > generate > pipelines   (with torch)
                                          pool > ray_workers: workers on the machines of a Ray cluster

Only the worker imports torch and diffusers; it may be another interpreter (`--python`) with `wiro_nb[local]`.
"""
