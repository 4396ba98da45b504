"""What the training loop shows by hand, one module per subject: arguments as people have them in, a site's tensors out.

Each has ``show(sites, …)``, which `run.observe.<subject>` calls: refuse wrong shapes with a sentence that says what to pass,
flatten what is right, get the site of these inputs, show it the tensors. No arithmetic: that is in `statistics/`.
"""
